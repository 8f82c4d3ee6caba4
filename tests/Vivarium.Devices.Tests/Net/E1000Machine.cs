using System.Buffers.Binary;

namespace Vivarium.Devices.Tests;

/// <summary>A board with an e1000, seen through its registers and rings as a driver sees it.</summary>
internal sealed class E1000Machine : IDisposable
{
    public const int RingLength = 8;

    // Registers.
    public const uint Ctrl = 0, Status = 8, Eecd = 0x10, Eerd = 0x14, Mdic = 0x20, Icr = 0xC0, Itr = 0xC4, Ics = 0xC8, Ims = 0xD0, Imc = 0xD8;
    public const uint Rctl = 0x100, Tctl = 0x400, Rdbal = 0x2800, Rdlen = 0x2808, Rdh = 0x2810, Rdt = 0x2818, Tdbal = 0x3800, Tdlen = 0x3808, Tdh = 0x3810, Tdt = 0x3818;
    public const uint Rxcsum = 0x5000, Mta = 0x5200, Ral = 0x5400, Vfta = 0x5600;

    // RCTL.
    public const uint Enable = 1 << 1, Unicast = 1 << 3, Multicast = 1 << 4, Long = 1 << 5, Broadcast = 1 << 15, VlanFilter = 1 << 18, Strip = 1 << 26;

    public static readonly byte[] Mac = [0x52, 0x54, 0x00, 0x12, 0x34, 0x56];

    private const ulong Registers = 0xC000_0000;
    private const byte Vector = 0x40;

    private readonly VirtioMachine _machine = new();
    private readonly ulong[] _buffers = new ulong[RingLength];
    private readonly ulong _receiveRing;
    private readonly ulong _transmitRing;
    private uint _transmitTail;
    private uint _receiveHead;

    public E1000Machine(NetworkOffloads offloads = NetworkOffloads.Checksum | NetworkOffloads.Tso4 | NetworkOffloads.Tso6)
    {
        Network = new TestNetwork(_machine.Memory, strict: false) { Offloads = offloads };
        Card = new E1000(_machine.Memory, Network, Board.Clock, Mac);
        Device = _machine.Pci.Attach(Card.Function);
        _machine.WritePci(Device, 0x04, 2, 7);
        Board.Redirect(16 + Device % 4, Vector | 1 << 15);
        _receiveRing = _machine.Allocate(RingLength * 16, 128);
        _transmitRing = _machine.Allocate(RingLength * 16, 128);
        for (var i = 0; i < RingLength; i++)
        {
            _buffers[i] = _machine.Allocate(2048);
            _machine.Memory.Write(_receiveRing + (ulong)i * 16, _buffers[i]);
        }

        this[Rdbal] = (uint)_receiveRing;
        this[Rdlen] = RingLength * 16;
        this[Rdt] = RingLength - 1;
        this[Tdbal] = (uint)_transmitRing;
        this[Tdlen] = RingLength * 16;
        this[Tctl] = 2;
    }

    public E1000 Card { get; }

    public int Device { get; }

    public TestNetwork Network { get; }

    public Board Board => _machine.Board;

    public VirtioMachine Machine => _machine;

    public uint this[uint register]
    {
        get => (uint)Board.Mmio.Read(Registers + register, 4);
        set => Board.Mmio.Write(Registers + register, 4, value);
    }

    public static byte[] Frame(ReadOnlySpan<byte> destination, int length = 100, ushort type = 0x0800)
    {
        var frame = new byte[length];
        new Random(length).NextBytes(frame);
        destination.CopyTo(frame);
        BinaryPrimitives.WriteUInt16BigEndian(frame.AsSpan(12), type);
        return frame;
    }

    /// <summary>The line is high, as the local APIC sees it.</summary>
    public bool Interrupted => Card.Function.Interrupt;

    /// <summary>Puts a descriptor into the ring without telling.</summary>
    public uint Queue(ulong low, ulong high)
    {
        var index = _transmitTail;
        _machine.Memory.Write(_transmitRing + index * 16, low);
        _machine.Memory.Write(_transmitRing + index * 16 + 8, high);
        _transmitTail = (index + 1) % RingLength;
        return index;
    }

    public uint QueueLegacy(ReadOnlySpan<byte> data, byte command = 0x09, byte checksumOffset = 0, byte checksumStart = 0, ushort special = 0) =>
        Queue(_machine.Put(data), (uint)data.Length | (ulong)checksumOffset << 16 | (ulong)command << 24 | (ulong)checksumStart << 40 | (ulong)special << 48);

    public void Kick() => this[Tdt] = _transmitTail;

    public byte TransmitStatus(uint index) => _machine.Memory.Read<byte>(_transmitRing + index * 16 + 12);

    /// <summary>The next frame that was received and its descriptor's status, errors and special field; null if there is none.</summary>
    public (byte[] Bytes, byte Status, ushort Special)? Received()
    {
        var bytes = new List<byte>();
        while (true)
        {
            var descriptor = _receiveRing + _receiveHead * 16;
            var status = _machine.Memory.Read<byte>(descriptor + 12);
            if ((status & 1) == 0)
            {
                Assert.Empty(bytes);
                return null;
            }

            bytes.AddRange(_machine.Get(_buffers[_receiveHead], _machine.Memory.Read<ushort>(descriptor + 8)));
            var special = _machine.Memory.Read<ushort>(descriptor + 14);
            _machine.Memory.Write<byte>(descriptor + 12, 0);
            _receiveHead = (_receiveHead + 1) % RingLength;
            if ((status & 2) != 0)
                return ([.. bytes], status, special);
        }
    }

    /// <summary>Gives all buffers back to the card.</summary>
    public void Refill() => this[Rdt] = (_receiveHead + RingLength - 1) % RingLength;

    public void Dispose()
    {
        Card.Dispose();
        _machine.Dispose();
    }
}
