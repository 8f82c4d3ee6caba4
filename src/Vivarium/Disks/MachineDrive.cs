using Vivarium.Devices;
using Vivarium.Storage;

namespace Vivarium.Disks;

/// <summary>
/// A drive with a removable medium, from the machine's making to its end; the device that the guest sees comes and goes with
/// power cycles, the medium stays. Called by one thread at a time.
/// </summary>
internal sealed class MachineDrive : IDisposable
{
    /// <summary>What the first CD drive and the first floppy drive are called.</summary>
    public const string Cd = "cd", Floppy = "floppy";

    private readonly Func<string, DiskImage> _open;
    private DiskImage? _image;

    /// <param name="name">What people call it: cd, cd2, floppy, floppy2.</param>
    /// <param name="bus">How a CD drive is connected.</param>
    /// <param name="open">Opens and checks a medium for this drive.</param>
    /// <param name="path">The first medium, or null.</param>
    public MachineDrive(string name, DiskBus? bus, Func<string, DiskImage> open, string? path)
    {
        Name = name;
        Bus = bus;
        _open = open;
        if (path is not null)
        {
            Take(open(path));
        }
    }

    public string Name { get; }

    public DiskBus? Bus { get; }

    /// <summary>The medium; null if the drive is empty.</summary>
    public DiskBackend? Medium { get; private set; }

    /// <summary>Where the medium stands on the host.</summary>
    public string? Path => _image?.Path;

    /// <summary>The tray is out: also over a reset, as with other people's drives.</summary>
    public bool IsOpen { get; set; }

    /// <summary>What the guest sees in this power cycle.</summary>
    public IRemovableDrive? Device { get; set; }

    /// <summary>The first of a kind has no number, the second is 2.</summary>
    public static string NameOf(string kind, int index) => index == 0 ? kind : $"{kind}{index + 1}";

    /// <exception cref="InvalidInputException">The file is no medium for this drive; the old one is still in.</exception>
    public void Insert(string path)
    {
        DiskImage? old = _image;
        if (old is { IsReadOnly: false })
        {
            // The same file may be wanted again, and it is locked.
            Remove();
            old = null;
        }

        Take(_open(path));
        Device?.Insert(Medium!);
        IsOpen = false;
        old?.Dispose();
    }

    /// <exception cref="VivariumException">The guest has locked the drive, and was asked now to let the medium go.</exception>
    public void Eject(bool force)
    {
        if (Device is { } device && !device.Eject(force))
        {
            throw new VivariumException($"the guest has locked the drive '{Name}', as it does while the disc is mounted; it was told that you want the disc: unmount it there and try again, or force it");
        }

        Release();
    }

    public void Dispose() => Release();

    private void Remove()
    {
        _ = Device?.Eject(force: true);
        Release();
    }

    private void Release()
    {
        DiskImage? old = _image;
        _image = null;
        Medium = null;
        IsOpen = true;
        if (old is { IsReadOnly: false })
        {
            old.Flush();
        }

        old?.Dispose();
    }

    private void Take(DiskImage image)
    {
        _image = image;
        Medium = new DiskBackend(image);
    }
}
