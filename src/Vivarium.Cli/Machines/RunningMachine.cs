using Vivarium.Cli.Statistics;
using Vivarium.Expect;

namespace Vivarium.Cli.Machines;

/// <summary>A machine of this process, as its control socket sees it.</summary>
internal sealed class RunningMachine(VirtualMachine machine, MachineConsole line, ConsoleHub console, MachineRecord record) : IControlledMachine
{
    private static readonly TimeSpan s_balloonPatience = TimeSpan.FromSeconds(2);
    private static readonly TimeSpan s_collectPatience = TimeSpan.FromSeconds(30);

    private readonly TaskCompletionSource<EndRecord> _ended = new(TaskCreationOptions.RunContinuationsAsynchronously);

    public MachineRecord Record => record;

    public ConsoleHub Console => console;

    public Task<EndRecord> Ended => _ended.Task;

    public void PressPowerButton() => machine.PressPowerButton();

    public void Kill() => _ = machine.StopAsync();

    public async Task<BalloonStatistics> AskBalloonAsync(ulong? target, bool collect)
    {
        if (target is { } bytes)
        {
            machine.SetBalloonTarget(bytes);
        }

        // While its free pages are collected the guest has none; its figures of before say more.
        BalloonStatistics figures = await machine.ReadBalloonAsync(s_balloonPatience).ConfigureAwait(false);
        return collect ? await machine.CollectFreePagesAsync(s_collectPatience).ConfigureAwait(false) : figures;
    }

    public byte[] TakePicture()
    {
        var file = new MemoryStream();
        (machine.Screen ?? throw new InvalidInputException("this machine has no screen; a machine with --virt full has one")).SavePng(file);
        return file.ToArray();
    }

    public MachineSample Sample() => MachineSample.Take(machine.Statistics);

    public IDisposable Measure() => machine.Measure();

    public Task<FoundText?> OperateAsync(ControlOrder order, CancellationToken cancellation) => Operation.RunAsync(machine, order, cancellation);

    public bool TryType(ReadOnlySpan<byte> keys) => line.TrySend(keys);

    /// <summary>Tells everybody who waits.</summary>
    public void End(EndRecord end) => _ended.TrySetResult(end);
}
