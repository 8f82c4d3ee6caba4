using Vivarium.Cli.Verbs;

namespace Vivarium.Cli.Machines;

/// <summary>The sockets of all ports of a machine, there until they are disposed of.</summary>
internal sealed class PortSockets : IDisposable
{
    private readonly List<PortSocket> _sockets = [];

    /// <exception cref="InvalidInputException">A socket cannot be made; the message says why.</exception>
    public PortSockets(IReadOnlyList<PortOption> ports, VirtualMachine machine)
    {
        try
        {
            foreach (PortOption port in ports)
            {
                _sockets.Add(PortSocket.Open(port.Socket, machine.Ports[port.Name]));
            }
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    public void Dispose()
    {
        foreach (PortSocket socket in _sockets)
        {
            socket.Dispose();
        }
    }
}
