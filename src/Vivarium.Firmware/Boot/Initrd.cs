using Vivarium.Memory;

namespace Vivarium.Firmware.Boot;

/// <summary>An initial RAM disk: bytes that the loader puts into guest memory and the kernel unpacks.</summary>
public sealed class Initrd : IDisposable
{
    private readonly ImageFile _file;

    private Initrd(ImageFile file) => _file = file;

    /// <summary>What to call it in a message.</summary>
    public string Name => _file.Name;

    /// <summary>Size in bytes.</summary>
    public ulong Length => _file.Length;

    /// <exception cref="BootException">The file is missing, empty or unreadable.</exception>
    public static Initrd Load(string path)
    {
        ImageFile file = ImageFile.Open(path, "initrd");
        if (file.Length == 0)
        {
            file.Dispose();
            throw new BootException($"{path} is empty; give an initrd with content or none at all");
        }

        return new Initrd(file);
    }

    /// <summary>An initrd made in memory.</summary>
    public static Initrd FromBytes(string name, ReadOnlyMemory<byte> bytes) => new(new ImageFile(name, bytes));

    public void Dispose() => _file.Dispose();

    internal byte[] Read() => _file.ReadPart(0, Length);

    internal void Place(GuestMemory memory, ulong gpa) => _file.CopyTo(memory, gpa, 0, Length);

    /// <summary>Chooses the highest page-aligned place in [<paramref name="floor"/>, <paramref name="limit"/>).</summary>
    internal ulong PlaceBelow(ulong floor, ulong limit, ulong ramEnd)
    {
        const ulong pageMask = GuestMemory.PageMask;
        floor = (floor + pageMask) & ~pageMask;
        ulong end = Math.Min(limit, ramEnd) & ~pageMask;
        ulong size = Length + pageMask & ~pageMask;
        if (end > floor && size <= end - floor)
        {
            return end - size;
        }

        string room = $"the initrd {Name} ({ByteSize.Text(Length)}) does not fit above the kernel, where {ByteSize.Text(end > floor ? end - floor : 0)} are free";
        ulong needed = floor + size;
        throw new BootException(needed <= limit && needed <= PlatformLayout.PciHoleStart - PlatformLayout.AcpiAreaSize
            ? $"{room}; give the machine at least {ByteSize.RoundedUp(needed + PlatformLayout.AcpiAreaSize)} of memory or use a smaller initrd"
            : $"{room} and more memory does not help, for this kernel looks for it below 0x{limit:x}; use a smaller initrd");
    }
}
