using System.Runtime.InteropServices;
using Vivarium.Cli.Machines.Host;

namespace Vivarium.Cli.Machines;

/// <summary>Ends a machine for certain: its process is asked to pull the plug, and where it does not answer it is killed.</summary>
internal static class MachineKiller
{
    public static readonly TimeSpan Patience = TimeSpan.FromSeconds(10);

    /// <exception cref="VivariumException">The process cannot be killed.</exception>
    public static EndRecord Kill(MachineRegistry registry, MachineEntry machine)
    {
        if (AskToEnd(machine) is { } end && registry.WaitUntilGone(machine, Patience))
        {
            return end;
        }

        KillProcess(registry, machine);
        return registry.WaitUntilGone(machine, Patience)
            ? new EndRecord(128 + Linux.SignalKill, "its process was killed")
            : throw new VivariumException($"the process of machine {machine.Described} does not die; it may wait for a disk that does not answer");
    }

    /// <summary>Null if the process does not answer, or not within the time.</summary>
    private static EndRecord? AskToEnd(MachineEntry machine)
    {
        try
        {
            using ControlClient waiter = ControlClient.Connect(machine);
            using ControlClient asker = ControlClient.Connect(machine);
            _ = waiter.Ask(ControlVerb.Wait);
            _ = asker.Ask(ControlVerb.Kill);
            return waiter.Receive(Patience)?.Ended;
        }
        catch (VivariumException)
        {
            return null;
        }
    }

    private static void KillProcess(MachineRegistry registry, MachineEntry machine)
    {
        int pid = (MachineFolder.Read(machine.Folder) ?? machine.Record)?.Pid ?? throw new VivariumException($"machine '{machine.Name}' is just starting; try again in a moment");

        // The number may have gone to another process since; the lock tells that this one still holds the machine.
        int process = Linux.OpenProcess(pid, 0);
        if (process < 0)
        {
            return;
        }

        try
        {
            if (registry.IsHeld(machine.Folder) && Linux.SendSignal(process, Linux.SignalKill, 0, 0) != 0 && Marshal.GetLastPInvokeError() != Linux.NoSuchProcess)
            {
                throw new VivariumException($"cannot kill process {pid} of machine '{machine.Name}': {Marshal.GetLastPInvokeErrorMessage()}");
            }
        }
        finally
        {
            _ = Linux.Close(process);
        }
    }
}
