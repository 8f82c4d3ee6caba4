using Vivarium.Cli.Verbs;

namespace Vivarium.Cli.Machines;

/// <summary>Where a machine's serial ports from COM2 on lead, until it is disposed of.</summary>
internal sealed class SerialEnds : IDisposable
{
    private readonly List<IDisposable> _ends = [];

    /// <exception cref="InvalidInputException">A file or a socket cannot be had; the message says why.</exception>
    public SerialEnds(IReadOnlyList<SerialTarget> targets, VirtualMachine machine)
    {
        try
        {
            for (int i = 0; i < targets.Count; i++)
            {
                MachineConsole line = machine.SerialLines[i + 1];
                if (targets[i].Kind == SerialKind.Socket)
                {
                    _ends.Add(PortSocket.Open(targets[i].Path!, line));
                }
                else if (targets[i].OpenOutput() is { } output)
                {
                    line.Output = output;
                    _ends.Add(output);
                }
            }
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    /// <summary>The one of them whose end is the terminal; null if none is.</summary>
    public static MachineConsole? OnTerminal(IReadOnlyList<SerialTarget> targets, VirtualMachine machine)
    {
        int index = targets.ToList().FindIndex(target => target.Kind == SerialKind.Stdio);
        return index < 0 ? null : machine.SerialLines[index + 1];
    }

    public void Dispose()
    {
        foreach (IDisposable end in _ends)
        {
            end.Dispose();
        }
    }
}
