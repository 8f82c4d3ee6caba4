namespace Vivarium.Devices.Tests;

/// <summary>A board with an RTL8139C+, seen through its registers and rings as a driver sees it.</summary>
internal sealed class Rtl8139Machine : IDisposable
{
    public const int Descriptors = 4;

    // Registers.
    public const int Idr = 0x00, Mar = 0x08, Tsd = 0x10, Tsad = 0x20, Rbstart = 0x30, Cr = 0x37, Capr = 0x38, Cbr = 0x3A, Imr = 0x3C, Isr = 0x3E;
    public const int Tcr = 0x40, Rcr = 0x44, Tctr = 0x48, Cr9346 = 0x50, Config1 = 0x52, TimerInt = 0x54, Tsads = 0x60, Bmcr = 0x62, Bmsr = 0x64;
    public const int Tppoll = 0xD9, Cpcr = 0xE0, Rdsar = 0xE4;

    public const uint Own = 1u << 31, End = 1 << 30, First = 1 << 29, Last = 1 << 28;

    public static readonly byte[] Mac = [0x52, 0x54, 0x00, 0x12, 0x34, 0x56];

    public const ulong Registers = 0xC000_0000;
    public const ushort Ports = 0xC000;

    private readonly VirtioMachine _machine = new();

    public Rtl8139Machine(NetworkOffloads offloads = NetworkOffloads.Checksum | NetworkOffloads.Tso4 | NetworkOffloads.Tso6)
    {
        Network = new TestNetwork(_machine.Memory, strict: false) { Offloads = offloads };
        Card = new Rtl8139(_machine.Memory, Network, Board.Clock, Mac);
        Device = _machine.Pci.Attach(Card.Function);
        _machine.WritePci(Device, 0x04, 2, 7);
        TransmitRing = _machine.Allocate(64 * 16, 256);
        ReceiveRing = _machine.Allocate(64 * 16, 256);
        Buffer = _machine.Allocate((64 << 10) + 16 + 2048, 16);
    }

    public Rtl8139 Card { get; }

    public int Device { get; }

    public TestNetwork Network { get; }

    public ulong TransmitRing { get; }

    public ulong ReceiveRing { get; }

    /// <summary>The classic mode's receive buffer.</summary>
    public ulong Buffer { get; }

    public Board Board => _machine.Board;

    public VirtioMachine Machine => _machine;

    public bool Interrupted => Card.Function.Interrupt;

    public byte Byte(int register) => (byte)Board.Mmio.Read(Registers + (ulong)register, 1);

    public ushort Word(int register) => (ushort)Board.Mmio.Read(Registers + (ulong)register, 2);

    public uint Dword(int register) => (uint)Board.Mmio.Read(Registers + (ulong)register, 4);

    public void Byte(int register, int value) => Board.Mmio.Write(Registers + (ulong)register, 1, (byte)value);

    public void Word(int register, int value) => Board.Mmio.Write(Registers + (ulong)register, 2, (ushort)value);

    public void Dword(int register, uint value) => Board.Mmio.Write(Registers + (ulong)register, 4, value);

    /// <summary>The classic mode, with a ring buffer of a length code (8 KiB doubled so often), for all that is ours and broadcasts.</summary>
    public void StartClassic(int lengthCode = 0, bool wrap = false)
    {
        Byte(Cr, 0x10);
        Dword(Rbstart, (uint)Buffer);
        Byte(Cr, 0x0C);
        Dword(Rcr, 0x0A | (uint)lengthCode << 11 | (wrap ? 0x80u : 0));
    }

    /// <summary>The C+ mode, with rings of four descriptors and a buffer for each that receives.</summary>
    public void StartPlus(uint bufferLength = 1536, ushort features = 0)
    {
        Byte(Cr, 0x10);
        Word(Cpcr, 3 | features);
        Byte(Cr, 0x0C);
        Dword(Rcr, 0x0A);
        Dword(Tsad, (uint)TransmitRing);
        Dword(Rdsar, (uint)ReceiveRing);
        for (var i = 0; i < Descriptors; i++)
        {
            _machine.Memory.Write(ReceiveRing + (ulong)i * 16 + 8, _machine.Allocate(4096));
            GiveBuffer(i, bufferLength);
        }
    }

    public void GiveBuffer(int index, uint length = 1536) => _machine.Memory.Write(ReceiveRing + (ulong)index * 16, Own | length | (index == Descriptors - 1 ? End : 0));

    /// <summary>Puts a descriptor into the ring for sending.</summary>
    public void Queue(int index, ReadOnlySpan<byte> data, uint flags, uint tag = 0)
    {
        var descriptor = TransmitRing + (ulong)index * 16;
        _machine.Memory.Write(descriptor + 4, tag);
        _machine.Memory.Write(descriptor + 8, _machine.Put(data));
        _machine.Memory.Write(descriptor, Own | flags | (uint)data.Length | (index == Descriptors - 1 ? End : 0));
    }

    public uint TransmitControl(int index) => _machine.Memory.Read<uint>(TransmitRing + (ulong)index * 16);

    /// <summary>What a descriptor for receiving says, its tag, and what its buffer holds.</summary>
    public (uint Control, uint Tag, byte[] Bytes) Received(int index, int length)
    {
        var descriptor = ReceiveRing + (ulong)index * 16;
        return (_machine.Memory.Read<uint>(descriptor), _machine.Memory.Read<uint>(descriptor + 4), _machine.Get(_machine.Memory.Read<ulong>(descriptor + 8), length));
    }

    public void Dispose()
    {
        Card.Dispose();
        _machine.Dispose();
    }
}
