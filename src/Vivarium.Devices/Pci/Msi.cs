using System.Buffers.Binary;

namespace Vivarium.Devices;

/// <summary>One message-signalled interrupt with a 64-bit address (PCI 3.0, 6.8.1). Its state is the configuration space's.</summary>
public sealed class Msi : PciCapability
{
    public const byte CapabilityId = 0x05;

    private const int CapabilityLength = 14;
    private const int ControlRegister = 2;
    private const int AddressRegister = 4;
    private const int UpperAddressRegister = 8;
    private const int DataRegister = 12;
    private const ushort EnableBit = 1 << 0;
    private const ushort Is64Bit = 1 << 7;

    private readonly Lock _lock = new();
    private readonly PciFunction _function;
    private bool _enabled;
    private uint _address;
    private uint _upperAddress;
    private ushort _data;
    private ApicBus? _apics;

    internal Msi(PciFunction function)
        : base(CapabilityId, CapabilityLength)
    {
        _function = function;
    }

    /// <summary>The guest uses the message; INTx is off.</summary>
    public bool Enabled
    {
        get
        {
            lock (_lock)
                return _enabled;
        }
    }

    /// <summary>Sends the message, if the guest uses it.</summary>
    public void Signal()
    {
        // Any address may be written there; only those of the local APICs are messages.
        const uint messages = 0xFEE0_0000, messagesMask = 0xFFF0_0000;
        lock (_lock)
        {
            if (_enabled && _function.IsBusMaster && _upperAddress == 0 && (_address & messagesMask) == messages)
                _apics?.SignalMessage(_address, _data);
        }
    }

    public override void Initialize(Span<byte> registers, Span<byte> writable)
    {
        BinaryPrimitives.WriteUInt16LittleEndian(registers[ControlRegister..], Is64Bit);
        BinaryPrimitives.WriteUInt16LittleEndian(writable[ControlRegister..], EnableBit);
        BinaryPrimitives.WriteUInt32LittleEndian(writable[AddressRegister..], ~3u);
        BinaryPrimitives.WriteUInt32LittleEndian(writable[UpperAddressRegister..], ~0u);
        BinaryPrimitives.WriteUInt16LittleEndian(writable[DataRegister..], ushort.MaxValue);
    }

    public override void Written(Span<byte> registers, int offset, int size)
    {
        TakeRegisters(registers);
        _function.InterruptModeChanged();
    }

    internal void Connect(ApicBus apics) => _apics = apics;

    /// <summary>Reads the registers; again after the configuration space has been restored.</summary>
    internal void TakeRegisters(ReadOnlySpan<byte> registers)
    {
        lock (_lock)
        {
            _enabled = (BinaryPrimitives.ReadUInt16LittleEndian(registers[ControlRegister..]) & EnableBit) != 0;
            _address = BinaryPrimitives.ReadUInt32LittleEndian(registers[AddressRegister..]);
            _upperAddress = BinaryPrimitives.ReadUInt32LittleEndian(registers[UpperAddressRegister..]);
            _data = BinaryPrimitives.ReadUInt16LittleEndian(registers[DataRegister..]);
        }
    }
}
