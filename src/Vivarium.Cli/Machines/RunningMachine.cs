namespace Vivarium.Cli.Machines;

/// <summary>A machine of this process, as its control socket sees it.</summary>
internal sealed class RunningMachine(VirtualMachine machine, MachineConsole line, ConsoleHub console, MachineRecord record) : IControlledMachine
{
    private readonly TaskCompletionSource<EndRecord> _ended = new(TaskCreationOptions.RunContinuationsAsynchronously);

    public MachineRecord Record => record;

    public ConsoleHub Console => console;

    public Task<EndRecord> Ended => _ended.Task;

    public void PressPowerButton() => machine.PressPowerButton();

    public void Kill() => _ = machine.StopAsync();

    public bool TryType(ReadOnlySpan<byte> keys) => line.TrySend(keys);

    /// <summary>Tells everybody who waits.</summary>
    public void End(EndRecord end) => _ended.TrySetResult(end);
}
