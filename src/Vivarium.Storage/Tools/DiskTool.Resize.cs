using Vivarium.Storage.Host;
using Vivarium.Storage.Qcow2;

namespace Vivarium.Storage.Tools;

public static partial class DiskTool
{
    /// <summary>Makes a disk larger, with zeroes at the end; or smaller, which loses what is there.</summary>
    /// <param name="path">The image.</param>
    /// <param name="size">The new size in bytes, rounded up to whole sectors.</param>
    /// <param name="format">Its format; null to find it from its content (<see cref="ImageProbe"/>).</param>
    /// <param name="shrink">Whether it may become smaller.</param>
    /// <returns>The sizes before and after.</returns>
    /// <exception cref="DiskImageException">The image cannot be used, or the size is not possible or not allowed.</exception>
    /// <exception cref="IOException">The host fails.</exception>
    public static (long Before, long After) Resize(string path, long size, ImageFormat? format = null, bool shrink = false)
    {
        if (size is <= 0 or > long.MaxValue - DiskImage.SectorSize)
        {
            throw new DiskImageException($"a disk of {size} bytes cannot be made; its size must be more than 0 and fit in 63 bits");
        }

        size = (size + DiskImage.SectorSize - 1) / DiskImage.SectorSize * DiskImage.SectorSize;
        long before;
        using (DiskImage image = DiskImage.Open(path, new DiskImageOptions { Format = format }))
        {
            before = image.Length;
            if (size < before && !shrink)
            {
                throw new DiskImageException($"{path} has {before} bytes and would lose its end; make the file systems on it smaller first, then say --shrink");
            }

            switch (image)
            {
                case Qcow2Image qcow2:
                    qcow2.Resize(size);
                    break;
                case RawImage raw:
                    raw.Resize(size);
                    break;
            }
        }

        if (size > before)
        {
            HideBacking(path, format, before);
        }

        return (before, size);
    }

    /// <summary>What a longer backing file has past the old end must not come to light.</summary>
    private static void HideBacking(string path, ImageFormat? format, long before)
    {
        using DiskImage image = DiskImage.Open(path, new DiskImageOptions { Format = format });
        if (image is Qcow2Image { Backing: { } backing } && backing.Length > before)
        {
            image.WriteZeroes(before, Math.Min(image.Length, backing.Length) - before, mayUnmap: true);
            image.Flush();
        }
    }
}
