using Vivarium.Storage;

namespace Vivarium.Disks;

/// <summary>What can be put into a CD drive.</summary>
internal static class CdImage
{
    private const int BlockSize = 2048;

    /// <summary>ECMA-119, 6.7.1, and ECMA-167, 2/8.3: volume descriptors begin at block 16, with an identifier at byte 1.</summary>
    private const int FirstDescriptor = 16 * BlockSize;
    private const int IdentifierLength = 5;

    /// <param name="path">The image or block device; it is only read.</param>
    /// <param name="warn">Takes a sentence if there is no file system on it that a CD has.</param>
    /// <exception cref="InvalidInputException">It cannot be a disc; the message says why.</exception>
    public static DiskImage Open(string path, Action<string> warn)
    {
        DiskImage image;
        try
        {
            image = DiskImage.Open(path, new DiskImageOptions { Format = ImageFormat.Raw, ReadOnly = true });
        }
        catch (Exception e) when (e is DiskImageException or IOException)
        {
            throw new InvalidInputException(e.Message, e);
        }

        try
        {
            Check(path, image, warn);
            return image;
        }
        catch
        {
            image.Dispose();
            throw;
        }
    }

    private static void Check(string path, DiskImage image, Action<string> warn)
    {
        var file = new FileInfo(path);
        bool isFile = file.Exists && (file.Attributes & FileAttributes.Device) == 0 && file.Length != 0;
        long length = isFile ? file.Length : image.Length;
        if (length == 0)
        {
            throw new InvalidInputException($"'{path}' is empty and cannot be a CD; give an ISO image");
        }

        if (length % BlockSize != 0)
        {
            throw new InvalidInputException($"'{path}' has {length} bytes, and a CD has a multiple of {BlockSize}; it is no ISO image, or not all of one");
        }

        Span<byte> identifier = stackalloc byte[IdentifierLength];
        if (length > FirstDescriptor)
        {
            image.Read(FirstDescriptor + 1, identifier);
        }

        if (!identifier.SequenceEqual("CD001"u8) && !identifier.SequenceEqual("BEA01"u8))
        {
            warn($"'{path}' has no file system of a CD (neither ISO 9660 nor UDF); the guest gets it as it is");
        }
    }
}
