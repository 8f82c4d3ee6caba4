using Vivarium.Share;

namespace Vivarium.Shares;

/// <summary>A shared folder of a machine, open from the machine's making to its end; devices come and go with power cycles.</summary>
internal sealed class MachineShare : IDisposable
{
    private readonly FuseServer _server;

    private MachineShare(ShareSpec spec, FuseServer server)
    {
        Spec = spec;
        _server = server;
        Backend = new ShareBackend(server);
    }

    public ShareSpec Spec { get; }

    public ShareBackend Backend { get; }

    /// <param name="descriptors">The most descriptors that the guest can make this process hold for the share.</param>
    /// <exception cref="InvalidInputException">The folder cannot be shared; the message says why.</exception>
    public static MachineShare Open(ShareSpec spec, int descriptors)
    {
        try
        {
            return new MachineShare(spec, FuseServer.Open(spec.Path, spec.ReadOnly, descriptors));
        }
        catch (ShareException e)
        {
            throw new InvalidInputException(e.Message, e);
        }
    }

    public void Dispose() => _server.Dispose();
}
