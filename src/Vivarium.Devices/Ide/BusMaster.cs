using System.Buffers.Binary;
using Vivarium.Memory;

namespace Vivarium.Devices;

/// <summary>
/// One channel's bus master (Programming Interface for Bus Master IDE Controller, revision 1.0): its registers, and the
/// list of physical regions. Called under the channel's lock.
/// </summary>
internal sealed unsafe class BusMaster(GuestMemory memory)
{
    /// <summary>Ports of a channel.</summary>
    public const int Ports = 8;

    private const int CommandRegister = 0;
    private const int StatusRegister = 2;
    private const int TableRegister = 4;

    // Command.
    private const byte StartBit = 1 << 0;

    /// <summary>The bus master writes to memory: the device is read.</summary>
    private const byte ToMemoryBit = 1 << 3;

    // Status.
    private const byte ActiveBit = 1 << 0;
    private const byte ErrorBit = 1 << 1;
    private const byte InterruptBit = 1 << 2;
    private const byte CapableBits = 3 << 5;

    // Physical region descriptor: base address, byte count (0 for 64 KiB), end of table in the uppermost bit.
    private const int DescriptorLength = 8;
    private const int DescriptorCount = 4;
    private const int DescriptorFlags = 7;
    private const byte EndOfTable = 1 << 7;
    private const uint MaxRegion = 0x1_0000;

    /// <summary>A table does not cross a multiple of 64 KiB.</summary>
    private const uint TableBoundary = 0xFFFF;

    private readonly SegmentList _segments = new();
    private ulong _gathered;
    private bool _endsWithTransfer;
    private byte _command;
    private byte _status;
    private uint _table;

    /// <summary>The guest has started the bus master, and the end of the list has not been reached.</summary>
    public bool IsActive => (_status & ActiveBit) != 0;

    /// <summary>The direction that the guest has told.</summary>
    public DmaDirection Direction => (_command & ToMemoryBit) != 0 ? DmaDirection.ToMemory : DmaDirection.FromMemory;

    /// <summary>What <see cref="Gather"/> has found, and how many bytes that is.</summary>
    public ReadOnlyMemory<IoSegment> Segments => _segments.Segments;

    public ulong Gathered => _gathered;

    /// <summary>Counts starts and stops: a transfer that has been stopped meanwhile changes nothing when it ends.</summary>
    public int Generation { get; private set; }

    /// <summary>Firmware has found a device that can do DMA.</summary>
    public void SetCapable(int device) => _status |= (byte)(1 << (5 + device));

    public byte Read(int register) => register switch
    {
        CommandRegister => _command,
        StatusRegister => _status,
        >= TableRegister => (byte)(_table >> (8 * (register - TableRegister))),
        _ => 0,
    };

    public void Write(int register, byte value)
    {
        switch (register)
        {
            case CommandRegister:
                WriteCommand(value);
                break;
            case StatusRegister:
                _status = (byte)((_status & ~CapableBits | value & CapableBits) & ~(value & (ErrorBit | InterruptBit)));
                break;
            case >= TableRegister:
                var shift = 8 * (register - TableRegister);
                _table = (_table & ~(0xFFu << shift) | (uint)value << shift) & ~3u;
                break;
        }
    }

    /// <summary>The device has asserted INTRQ.</summary>
    public void NoteInterrupt() => _status |= InterruptBit;

    /// <summary>
    /// Walks the list for at most <paramref name="wanted"/> bytes. False, and an error in the status, if it cannot be
    /// read, names what is not RAM, or has no end.
    /// </summary>
    public bool Gather(ulong wanted)
    {
        _segments.Clear();
        _gathered = 0;
        _endsWithTransfer = false;
        Span<byte> descriptor = stackalloc byte[DescriptorLength];
        ulong address = _table;
        while (_gathered < wanted)
        {
            if (address > (_table | TableBoundary) - (DescriptorLength - 1) || !memory.TryRead(address, descriptor))
                return Fault();
            var region = BinaryPrimitives.ReadUInt32LittleEndian(descriptor) & ~1u;
            var length = BinaryPrimitives.ReadUInt16LittleEndian(descriptor[DescriptorCount..]) & ~1u;
            if (length == 0)
                length = MaxRegion;
            var part = Math.Min(length, wanted - _gathered);
            if (!TryAdd(region, part))
                return Fault();
            _gathered += part;
            if ((descriptor[DescriptorFlags] & EndOfTable) != 0)
            {
                _endsWithTransfer = part == length;
                break;
            }

            address += DescriptorLength;
        }

        return true;
    }

    /// <summary>Leaves whole multiples of <paramref name="unit"/>: a device moves sectors.</summary>
    public void RoundDown(uint unit)
    {
        var excess = _gathered % unit;
        _gathered -= excess;
        _segments.DropEnd(excess);
    }

    /// <summary>The regions have been used, unless the guest has stopped the bus master meanwhile.</summary>
    public void Finish(int generation)
    {
        if (_endsWithTransfer && generation == Generation)
            _status &= unchecked((byte)~ActiveBit);
    }

    public BusMasterState Save() => new() { Command = _command, Status = _status, Table = _table };

    public void Restore(BusMasterState state)
    {
        _command = (byte)(state.Command & (StartBit | ToMemoryBit));
        _status = (byte)(state.Status & (ActiveBit | ErrorBit | InterruptBit | CapableBits));
        _table = state.Table & ~3u;
        Generation++;
    }

    private void WriteCommand(byte value)
    {
        var was = _command;
        _command = (byte)(value & (StartBit | ToMemoryBit));
        if (((was ^ value) & StartBit) == 0)
            return;
        Generation++;
        if ((value & StartBit) != 0)
            _status |= ActiveBit;
        else
            _status &= unchecked((byte)~ActiveBit);
    }

    private bool TryAdd(ulong address, ulong length)
    {
        while (length != 0)
        {
            var host = memory.TryGetRam(address, length, out var contiguous);
            if (host == null)
                return false;
            _segments.Add(host, contiguous);
            address += contiguous;
            length -= contiguous;
        }

        return true;
    }

    private bool Fault()
    {
        _status = (byte)((_status | ErrorBit) & ~ActiveBit);
        return false;
    }
}
