using System.Text;

namespace Vivarium.Firmware.Boot;

/// <summary>What a multiboot loader tells the kernel (Multiboot Specification 0.6.96, 3.3): one block of memory below 1 MiB.</summary>
internal sealed class MultibootInformation
{
    public const ulong Address = 0x1_0000;

    /// <summary>The command line, and the text of each module, in bytes.</summary>
    public const int MostText = 4095;

    private const int MostBytes = 0x4_0000;
    private const int HeaderLength = 120;
    private const int MapEntryLength = 24;
    private const int ModuleLength = 16;

    // Flags: which fields are there.
    private const uint HasMemory = 1 << 0;
    private const uint HasCommandLine = 1 << 2;
    private const uint HasModules = 1 << 3;
    private const uint HasMemoryMap = 1 << 6;
    private const uint HasLoaderName = 1 << 9;

    public required string CommandLine { get; init; }

    public required IReadOnlyList<E820Entry> MemoryMap { get; init; }

    public List<(ulong Start, ulong End, string Text)> Modules { get; } = [];

    public byte[] Build()
    {
        int map = HeaderLength;
        int modules = map + (MemoryMap.Count * MapEntryLength);
        int text = modules + (Modules.Count * ModuleLength);
        var strings = new LittleEndianWriter();
        uint Place(string value, string what)
        {
            uint at = (uint)Address + (uint)(text + strings.Length);
            byte[] bytes = Encoding.UTF8.GetBytes(value);
            if (bytes.Length > MostText)
            {
                throw new BootException($"{what} has {bytes.Length} bytes, and a multiboot kernel gets at most {MostText}; shorten it");
            }

            if (value.Contains('\0'))
            {
                throw new BootException($"{what} contains a zero character; remove it");
            }

            strings.Bytes(bytes);
            strings.U8(0);
            return at;
        }

        var block = new LittleEndianWriter();
        block.U32(HasMemory | HasCommandLine | (Modules.Count == 0 ? 0 : HasModules) | HasMemoryMap | HasLoaderName);
        block.U32((uint)(PlatformLayout.ConventionalMemoryEnd >> 10));
        block.U32((uint)(MemoryMap.First(entry => entry.Start == PlatformLayout.OneMebibyte).Length >> 10));
        block.U32(0); // boot device
        block.U32(Place(CommandLine, "the kernel command line with the kernel's name"));
        block.U32((uint)Modules.Count);
        block.U32((uint)Address + (uint)modules);
        block.PadTo(44); // symbols
        block.U32((uint)(MemoryMap.Count * MapEntryLength));
        block.U32((uint)Address + (uint)map);
        block.PadTo(64); // drives, configuration table
        block.U32(Place("Vivarium", "the loader's name"));
        block.PadTo(HeaderLength);
        foreach (E820Entry entry in MemoryMap)
        {
            // The size does not count itself.
            block.U32(MapEntryLength - sizeof(uint));
            block.U64(entry.Start);
            block.U64(entry.Length);
            block.U32((uint)entry.Type);
        }

        foreach ((ulong start, ulong end, string name) in Modules)
        {
            block.U32((uint)start);
            block.U32((uint)end);
            block.U32(Place(name, $"the text of the module {name.Split(' ')[0]}"));
            block.U32(0);
        }

        block.Bytes(strings.Written);
        return block.Length <= MostBytes ? block.ToArray() : throw new BootException("what the kernel is told of its modules is too long; give fewer modules");
    }
}
