using Vivarium.Storage;

namespace Vivarium.Disks;

/// <summary>A disk of a machine, open from the machine's making to its end; devices come and go with power cycles.</summary>
internal sealed class MachineDisk : IDisposable
{
    private readonly DiskImage _image;

    private MachineDisk(DiskSpec spec, DiskBus bus, DiskImage image)
    {
        Spec = spec;
        Bus = bus;
        _image = image;
        Backend = new DiskBackend(image);
    }

    public DiskSpec Spec { get; }

    public DiskBus Bus { get; }

    public DiskBackend Backend { get; }

    public string Serial => Spec.Serial ?? "";

    /// <exception cref="InvalidInputException">The image cannot be used; the message says why.</exception>
    public static MachineDisk Open(DiskSpec spec, DiskBus bus)
    {
        try
        {
            return new MachineDisk(spec, bus, DiskImage.Open(spec.Path, new DiskImageOptions { Format = spec.Format, ReadOnly = spec.ReadOnly, Overlay = spec.Overlay }));
        }
        catch (Exception e) when (e is DiskImageException or IOException)
        {
            throw new InvalidInputException(e.Message, e);
        }
    }

    /// <summary>Brings what the guest has written to the host's disk.</summary>
    /// <exception cref="IOException">The host cannot; what was flushed before is there.</exception>
    public void Flush() => _image.Flush();

    public void Dispose() => _image.Dispose();
}
