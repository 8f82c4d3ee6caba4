using System.Buffers.Binary;
using System.Text;
using Vivarium.Memory;

namespace Vivarium.Devices;

/// <summary>
/// The firmware configuration device (QEMU Firmware Configuration Device specification, docs/specs/fw_cfg): how firmware made
/// for a virtual board learns what the board has. Items are selected by number at port 0x510 and read byte by byte at 0x511, or
/// copied to memory by a request whose address is written to 0x514-0x51B, high half first. Files are items with names.
/// </summary>
public sealed class FwCfg : IPortDevice
{
    public const ushort Port = 0x510;

    private const int Ports = 12;
    private const int SelectorOffset = 0;
    private const int DataOffset = 1;
    private const int DmaHighOffset = 4;
    private const int DmaLowOffset = 8;

    // Items that are not files.
    private const ushort SignatureItem = 0x00;
    private const ushort IdItem = 0x01;
    private const ushort ProcessorsItem = 0x05;
    private const ushort BootMenuItem = 0x0E;
    private const ushort MostProcessorsItem = 0x0F;
    private const ushort DirectoryItem = 0x19;
    private const ushort FirstFile = 0x20;

    /// <summary>Item numbers have 14 bits; the others ask for writing and for items of the architecture's own.</summary>
    private const ushort ItemMask = 0xBFFF;

    private const uint IdTraditional = 1 << 0;
    private const uint IdDma = 1 << 1;

    /// <summary>"QEMU CFG", which the address register reads as.</summary>
    private const ulong DmaSignature = 0x5145_4D55_2043_4647;

    // A request: control, length, address, all big-endian.
    private const int RequestLength = 16;
    private const uint DmaError = 1 << 0;
    private const uint DmaRead = 1 << 1;
    private const uint DmaSkip = 1 << 2;
    private const uint DmaSelect = 1 << 3;
    private const uint DmaWrite = 1 << 4;
    private const int DmaItemShift = 16;

    /// <summary>Longer than any item; a request for more, which would be zeros, fails.</summary>
    private const uint MostDmaBytes = 64 << 20;

    private const int FileNameLength = 56;
    private const int DirectoryEntryLength = 64;

    private readonly Lock _lock = new();
    private readonly GuestMemory _memory;
    private readonly Dictionary<ushort, ReadOnlyMemory<byte>> _items = [];
    private readonly Func<IReadOnlyDictionary<string, ReadOnlyMemory<byte>>> _files;
    private ushort _selected;
    private uint _offset;
    private uint _dmaHigh;

    /// <param name="processors">How many the machine has.</param>
    /// <param name="files">
    /// Names, of at most 55 ASCII characters, and contents. They are asked for each time that a file is selected, because they tell
    /// what firmware has done meanwhile; names and lengths stay the same.
    /// </param>
    public FwCfg(GuestMemory memory, int processors, Func<IReadOnlyDictionary<string, ReadOnlyMemory<byte>>> files)
    {
        _memory = memory;
        _files = files;
        _items[SignatureItem] = "QEMU"u8.ToArray();
        _items[IdItem] = BitConverter.GetBytes(IdTraditional | IdDma);
        _items[ProcessorsItem] = BitConverter.GetBytes((ushort)processors);
        _items[MostProcessorsItem] = BitConverter.GetBytes((ushort)processors);
        _items[BootMenuItem] = BitConverter.GetBytes((ushort)0);
        var known = InOrder(files());
        var directory = new byte[sizeof(uint) + known.Length * DirectoryEntryLength];
        BinaryPrimitives.WriteInt32BigEndian(directory, known.Length);
        var item = FirstFile;
        foreach (var (name, contents) in known)
        {
            ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual(name.Length, FileNameLength);
            var entry = directory.AsSpan(sizeof(uint) + (item - FirstFile) * DirectoryEntryLength, DirectoryEntryLength);
            BinaryPrimitives.WriteInt32BigEndian(entry, contents.Length);
            BinaryPrimitives.WriteUInt16BigEndian(entry[4..], item);
            Encoding.ASCII.GetBytes(name, entry[8..]);
            _items[item++] = contents;
        }

        _items[DirectoryItem] = directory;
    }

    private static KeyValuePair<string, ReadOnlyMemory<byte>>[] InOrder(IReadOnlyDictionary<string, ReadOnlyMemory<byte>> files) =>
        [.. files.OrderBy(file => file.Key, StringComparer.Ordinal)];

    public void Map(PortBus ports) => ports.Map(Port, Ports, this, "firmware configuration");

    public uint ReadPort(ushort offset, int size)
    {
        lock (_lock)
        {
            if (offset >= DmaHighOffset)
            {
                // Big-endian, as what is written there.
                Span<byte> signature = stackalloc byte[sizeof(ulong)];
                BinaryPrimitives.WriteUInt64BigEndian(signature, DmaSignature);
                uint value = 0;
                for (var i = 0; i < size && offset - DmaHighOffset + i < sizeof(ulong); i++)
                    value |= (uint)signature[offset - DmaHighOffset + i] << (8 * i);
                return value;
            }

            return offset == DataOffset && size == 1 ? NextByte() : 0u;
        }
    }

    public void WritePort(ushort offset, int size, uint value)
    {
        lock (_lock)
        {
            switch (offset, size)
            {
                case (SelectorOffset, 2):
                    Select((ushort)value);
                    break;
                case (DmaHighOffset, 4):
                    _dmaHigh = BinaryPrimitives.ReverseEndianness(value);
                    break;
                case (DmaLowOffset, 4):
                    var request = (ulong)_dmaHigh << 32 | BinaryPrimitives.ReverseEndianness(value);
                    _dmaHigh = 0;
                    Serve(request);
                    break;
            }
        }
    }

    public FwCfgState Save()
    {
        lock (_lock)
            return new() { Selected = _selected, Offset = _offset, DmaHigh = _dmaHigh };
    }

    public void Restore(FwCfgState state)
    {
        StateFormat.Require(state.Version == FwCfgState.CurrentVersion, "firmware configuration device");
        lock (_lock)
            (_selected, _offset, _dmaHigh) = (state.Selected, state.Offset, state.DmaHigh);
    }

    private void Select(ushort item)
    {
        _selected = (ushort)(item & ItemMask);
        _offset = 0;
        if (_selected >= FirstFile && _items.ContainsKey(_selected))
            _items[_selected] = InOrder(_files())[_selected - FirstFile].Value;
    }

    /// <summary>Of an item that is not there, and behind the end of any, there are zeros.</summary>
    private ReadOnlySpan<byte> Rest()
    {
        var item = _items.GetValueOrDefault(_selected).Span;
        return _offset < item.Length ? item[(int)_offset..] : default;
    }

    private byte NextByte()
    {
        var rest = Rest();
        if (rest.IsEmpty)
            return 0;
        _offset++;
        return rest[0];
    }

    private void Serve(ulong address)
    {
        Span<byte> request = stackalloc byte[RequestLength];
        if (!_memory.TryRead(address, request))
            return;
        var control = BinaryPrimitives.ReadUInt32BigEndian(request);
        var length = BinaryPrimitives.ReadUInt32BigEndian(request[4..]);
        var target = BinaryPrimitives.ReadUInt64BigEndian(request[8..]);
        if ((control & DmaSelect) != 0)
            Select((ushort)(control >> DmaItemShift));
        var failed = (control & DmaRead) != 0
            ? !CopyOut(target, length)
            : (control & DmaSkip) != 0 ? !Skip(length) : (control & DmaWrite) != 0;
        BinaryPrimitives.WriteUInt32BigEndian(request, failed ? DmaError : 0);
        _memory.TryWriteRam(address, request[..sizeof(uint)]);
    }

    private bool CopyOut(ulong target, uint length)
    {
        if (length > MostDmaBytes)
            return false;
        var rest = Rest();
        var there = rest[..(int)Math.Min((uint)rest.Length, length)];
        if (!_memory.TryWriteRam(target, there))
            return false;
        target += (uint)there.Length;
        Span<byte> zeros = stackalloc byte[4096];
        zeros.Clear();
        for (var left = length - (uint)there.Length; left != 0;)
        {
            var part = (int)Math.Min(left, (uint)zeros.Length);
            if (!_memory.TryWriteRam(target, zeros[..part]))
                return false;
            target += (uint)part;
            left -= (uint)part;
        }

        return Skip(length);
    }

    private bool Skip(uint length)
    {
        _offset += Math.Min(length, uint.MaxValue - _offset);
        return true;
    }
}
