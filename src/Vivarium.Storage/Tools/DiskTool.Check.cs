using Vivarium.Storage.Host;
using Vivarium.Storage.Qcow2;

namespace Vivarium.Storage.Tools;

public static partial class DiskTool
{
    /// <summary>Looks whether a qcow2 image's tables agree with each other, and makes them if asked to.</summary>
    /// <exception cref="DiskImageException">The image is in use, no qcow2 image, or too damaged to be looked at.</exception>
    /// <exception cref="IOException">The host fails.</exception>
    public static CheckReport Check(string path, bool repair)
    {
        using HostFile file = HostFile.Open(path, readOnly: !repair);
        file.Lock(exclusive: repair);
        return ImageProbe.Detect(file) == ImageFormat.Qcow2
            ? Qcow2Check.Run(file, Qcow2Header.Read(file), repair)
            : throw new DiskImageException($"{path} is no qcow2 image; a raw disk has nothing that could be checked");
    }
}
