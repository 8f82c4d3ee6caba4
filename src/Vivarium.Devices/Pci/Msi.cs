using System.Buffers.Binary;

namespace Vivarium.Devices;

/// <summary>
/// One message-signalled interrupt (PCI 3.0, 6.8.1) with a 64-bit address and without mask: while it is on, the function's interrupt
/// is a message each time that it is asserted, and no level.
/// </summary>
public sealed class Msi : PciCapability
{
    public const byte CapabilityId = 0x05;

    private const int CapabilityLength = 14;
    private const int ControlRegister = 2;
    private const int AddressLow = 4;
    private const int AddressHigh = 8;
    private const int Data = 12;
    private const ushort EnableBit = 1 << 0;
    private const ushort Address64 = 1 << 7;

    private readonly PciFunction _function;
    private ApicBus? _apics;
    private ushort _control;
    private ulong _address;
    private ushort _data;

    internal Msi(PciFunction function)
        : base(CapabilityId, CapabilityLength) => _function = function;

    /// <summary>The guest uses messages; INTx is off.</summary>
    public bool Enabled => (Volatile.Read(ref _control) & EnableBit) != 0;

    public override void Initialize(Span<byte> registers, Span<byte> writable)
    {
        BinaryPrimitives.WriteUInt16LittleEndian(registers[ControlRegister..], Address64);
        BinaryPrimitives.WriteUInt16LittleEndian(writable[ControlRegister..], EnableBit);
        BinaryPrimitives.WriteUInt32LittleEndian(writable[AddressLow..], ~3u);
        BinaryPrimitives.WriteUInt32LittleEndian(writable[AddressHigh..], uint.MaxValue);
        BinaryPrimitives.WriteUInt16LittleEndian(writable[Data..], ushort.MaxValue);
    }

    public override void Written(Span<byte> registers, int offset, int size)
    {
        TakeRegisters(registers);
        _function.InterruptModeChanged();
    }

    internal void Connect(ApicBus apics) => _apics = apics;

    /// <summary>Reads the registers again after the configuration space has changed.</summary>
    internal void TakeRegisters(ReadOnlySpan<byte> registers)
    {
        Volatile.Write(ref _address, BinaryPrimitives.ReadUInt64LittleEndian(registers[AddressLow..]));
        Volatile.Write(ref _data, BinaryPrimitives.ReadUInt16LittleEndian(registers[Data..]));
        Volatile.Write(ref _control, BinaryPrimitives.ReadUInt16LittleEndian(registers[ControlRegister..]));
    }

    internal void Send()
    {
        // Any address may be written there; only those of the local APICs are messages.
        const ulong messages = 0xFEE0_0000, messagesMask = 0xFFFF_FFFF_FFF0_0000;
        var address = Volatile.Read(ref _address);
        if (_function.IsBusMaster && (address & messagesMask) == messages)
            _apics?.SignalMessage((uint)address, Volatile.Read(ref _data));
    }
}
