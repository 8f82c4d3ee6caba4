using Vivarium.Storage.Host;
using Vivarium.Storage.Qcow2;

namespace Vivarium.Storage;

/// <summary>
/// Throw-away disks: a qcow2 image on top of another one, in a file without a name, so that its space is free again as soon
/// as this process ends, by whatever means. Nothing of it is ever made durable.
/// </summary>
internal static class OverlayImage
{
    /// <summary>
    /// 4 KiB, what guests' file systems write at least: a write then rarely has to be completed by what the backing file has
    /// around it.
    /// </summary>
    private const int PreferredClusterBits = 12;

    private const string DefaultFolder = "/var/tmp";

    /// <summary>An overlay, which then owns the image under it.</summary>
    /// <exception cref="IOException">The folder is missing, full, or may not be written.</exception>
    public static DiskImage Create(DiskImage backing, string? folder)
    {
        folder ??= Environment.GetEnvironmentVariable("TMPDIR") is { Length: > 0 } set ? set : DefaultFolder;
        int clusterBits = PreferredClusterBits;
        while (clusterBits < Qcow2Header.MaxClusterBits && backing.Length > Qcow2Header.MaxSize(clusterBits))
        {
            clusterBits++;
        }

        HostFile file = HostFile.CreateUnnamed(folder, $"the throw-away disk in {folder}");
        try
        {
            file.Unname();
            Qcow2Creator.Write(file, new Qcow2Header { ClusterBits = clusterBits, Size = backing.Length }, backingFile: null, backingFormat: null);
            return Qcow2Image.OpenVolatile(file, backing);
        }
        catch
        {
            file.Dispose();
            throw;
        }
    }
}
