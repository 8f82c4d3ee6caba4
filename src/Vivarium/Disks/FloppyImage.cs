using Vivarium.Devices;
using Vivarium.Storage;

namespace Vivarium.Disks;

/// <summary>What can be put into a floppy drive.</summary>
internal static class FloppyImage
{
    /// <exception cref="InvalidInputException">It cannot be a floppy disk; the message says why.</exception>
    public static DiskImage Open(string path, FloppySpec spec)
    {
        DiskImage image;
        try
        {
            image = DiskImage.Open(path, new DiskImageOptions { Format = ImageFormat.Raw, ReadOnly = spec.ReadOnly, Overlay = spec.Overlay });
        }
        catch (Exception e) when (e is DiskImageException or IOException)
        {
            throw new InvalidInputException(e.Message, e);
        }

        var file = new FileInfo(path);
        bool isFile = file.Exists && (file.Attributes & FileAttributes.Device) == 0;
        long length = isFile ? file.Length : image.Length;
        if (FloppyGeometry.Of((ulong)length) is null)
        {
            image.Dispose();
            throw new InvalidInputException($"'{path}' has {length} bytes, and no floppy disk has; they have {FloppyGeometry.Sizes}");
        }

        return image;
    }
}
