using System.Buffers.Binary;

namespace Vivarium.Devices;

/// <summary>The tally counters that an RTL8139C+ dumps to memory (data sheet, 6.4). Nothing fails on this wire, so most are zero.</summary>
internal sealed class Rtl8139Counters
{
    public const int Length = 64;

    private ulong _transmitted;
    private ulong _received;
    private ulong _physical;
    private ulong _broadcast;
    private uint _multicast;

    public void Transmitted() => _transmitted++;

    public void Received(FrameKind kind)
    {
        _received++;
        switch (kind)
        {
            case FrameKind.Physical:
                _physical++;
                break;
            case FrameKind.Broadcast:
                _broadcast++;
                break;
            case FrameKind.Multicast:
                _multicast++;
                break;
        }
    }

    public void Clear() => Restore(new());

    public void Dump(Span<byte> block)
    {
        block.Clear();
        BinaryPrimitives.WriteUInt64LittleEndian(block, _transmitted);
        BinaryPrimitives.WriteUInt64LittleEndian(block[8..], _received);
        BinaryPrimitives.WriteUInt64LittleEndian(block[40..], _physical);
        BinaryPrimitives.WriteUInt64LittleEndian(block[48..], _broadcast);
        BinaryPrimitives.WriteUInt32LittleEndian(block[56..], _multicast);
    }

    public Rtl8139CounterState Save() =>
        new() { Transmitted = _transmitted, Received = _received, Physical = _physical, Broadcast = _broadcast, Multicast = _multicast };

    public void Restore(Rtl8139CounterState state)
    {
        _transmitted = state.Transmitted;
        _received = state.Received;
        _physical = state.Physical;
        _broadcast = state.Broadcast;
        _multicast = state.Multicast;
    }
}
