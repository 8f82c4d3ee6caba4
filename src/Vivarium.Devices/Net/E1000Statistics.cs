using System.Numerics;

namespace Vivarium.Devices;

/// <summary>The statistics registers (8254x developer's manual, 13.7): they stick at their greatest value and are cleared when read.</summary>
internal sealed class E1000Statistics(E1000RegisterFile registers)
{
    public const uint ReceiveNoBuffers = 0x40A0;
    public const uint ReceiveOversize = 0x40AC;
    public const uint SegmentationContexts = 0x40F8;

    private const uint FirstReceivedSize = 0x405C;
    private const uint GoodReceived = 0x4074;
    private const uint BroadcastReceived = 0x4078;
    private const uint MulticastReceived = 0x407C;
    private const uint GoodTransmitted = 0x4080;
    private const uint GoodOctetsReceived = 0x4088;
    private const uint GoodOctetsTransmitted = 0x4090;
    private const uint TotalOctetsReceived = 0x40C0;
    private const uint TotalOctetsTransmitted = 0x40C8;
    private const uint TotalReceived = 0x40D0;
    private const uint TotalTransmitted = 0x40D4;
    private const uint FirstTransmittedSize = 0x40D8;
    private const uint MulticastTransmitted = 0x40F0;
    private const uint BroadcastTransmitted = 0x40F4;

    public void Count(uint register)
    {
        if (registers[register] != uint.MaxValue)
            registers[register]++;
    }

    public uint Take(uint register)
    {
        var value = registers[register];
        registers[register] = 0;
        return value;
    }

    public void Received(ReadOnlySpan<byte> frame)
    {
        CountSize(FirstReceivedSize, frame.Length);
        Count(GoodReceived);
        Count(TotalReceived);
        CountGroup(frame, BroadcastReceived, MulticastReceived);
        Add(GoodOctetsReceived, frame.Length);
        Add(TotalOctetsReceived, frame.Length);
    }

    public void Transmitted(ReadOnlySpan<byte> frame)
    {
        CountSize(FirstTransmittedSize, frame.Length);
        Count(GoodTransmitted);
        Count(TotalTransmitted);
        CountGroup(frame, BroadcastTransmitted, MulticastTransmitted);
        Add(GoodOctetsTransmitted, frame.Length);
        Add(TotalOctetsTransmitted, frame.Length);
    }

    /// <summary>Six counters: up to 64 octets with the check sequence, to 127, 255, 511, 1023, and more.</summary>
    private void CountSize(uint first, int length)
    {
        var octets = (uint)(length + EthernetFrame.CheckSequenceLength);
        var step = octets <= 64 ? 0 : Math.Min(BitOperations.Log2(octets) - 5, 5);
        Count(first + (uint)(step * sizeof(uint)));
    }

    private void CountGroup(ReadOnlySpan<byte> frame, uint broadcast, uint multicast)
    {
        if (EthernetFrame.IsBroadcast(frame))
            Count(broadcast);
        else if (EthernetFrame.IsGroup(frame))
            Count(multicast);
    }

    private void Add(uint low, int length)
    {
        ref var upper = ref registers[low + sizeof(uint)];
        var sum = ((ulong)upper << 32 | registers[low]) + (uint)(length + EthernetFrame.CheckSequenceLength);
        upper = (uint)(sum >> 32);
        registers[low] = (uint)sum;
    }
}
