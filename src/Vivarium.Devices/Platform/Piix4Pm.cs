namespace Vivarium.Devices;

/// <summary>
/// Function 3 of the 82371AB (PIIX4 data sheet, 290562, 7): where the ACPI registers and the SMBus controller answer, as firmware says.
/// There is no system management mode: APMC's SMI counts as switched on from the start, so that firmware does not set it up.
/// </summary>
public sealed class Piix4Pm
{
    public const int FunctionNumber = 3;

    private const int PmBase = 0x40;
    private const int DeviceActivityB = 0x58;
    private const int PmRegMisc = 0x80;
    private const int SmbBase = 0x90;
    private const int SmbHostConfig = 0xD2;
    private const uint IoSpaceIndicator = 1;
    private const uint PmBaseMask = 0xFFC0;
    private const uint SmbBaseMask = 0xFFF0;
    private const uint ApmcSmiEnable = 1 << 25;
    private const byte IoEnable = 1;

    private static readonly PciIdentity s_identity = new(
        VendorId: 0x8086, DeviceId: 0x7113, Revision: 0x03, ClassCode: 0x06_80_00, SubsystemVendorId: 0, SubsystemId: 0);

    private readonly Lock _lock = new();
    private readonly PortBus _ports;
    private readonly AcpiPm _pm;
    private readonly Smbus _smbus = new();
    private ushort? _pmAt;
    private ushort? _smbusAt;

    /// <param name="pm">The registers; not mapped yet.</param>
    public Piix4Pm(PortBus ports, AcpiPm pm)
    {
        _ports = ports;
        _pm = pm;

        // The pin is wired to nothing: the SCI is IRQ 9.
        Function = new PciFunction("PIIX4 power management", s_identity, hasInterrupt: false);
        Function.AddRegisters(PmBase, Dword(IoSpaceIndicator), Dword(PmBaseMask), Moved);
        Function.AddRegisters(DeviceActivityB, Dword(ApmcSmiEnable), Dword(uint.MaxValue));
        Function.AddRegisters(PmRegMisc, [0], [IoEnable], Moved);
        Function.AddRegisters(SmbBase, Dword(IoSpaceIndicator), Dword(SmbBaseMask), Moved);
        Function.AddRegisters(SmbHostConfig, [0], [0x0F], Moved);
    }

    public PciFunction Function { get; }

    /// <summary>The first port of the ACPI registers; null while they are nowhere.</summary>
    public ushort? Base
    {
        get
        {
            lock (_lock)
                return _pmAt;
        }
    }

    /// <summary>Puts the ACPI registers where the tables say that they are, as firmware does.</summary>
    public void Configure(ushort pmBase)
    {
        Function.WriteConfig(PmBase, sizeof(uint), pmBase);
        Function.WriteConfig(PmRegMisc, 1, IoEnable);
    }

    public Piix4PmState Save() => new() { Function = Function.Save(), Smbus = _smbus.Save() };

    /// <summary>The ranges of ports move to where they were, if no other device is there.</summary>
    public void Restore(Piix4PmState state)
    {
        StateFormat.Require(state is { Version: Piix4PmState.CurrentVersion, Function: not null, Smbus.Length: Smbus.Ports }, "PIIX4 power management");
        _smbus.Restore(state.Smbus);
        Function.Restore(state.Function!);
    }

    private static byte[] Dword(uint value) => BitConverter.GetBytes(value);

    /// <summary>A range that another device occupies is not mapped.</summary>
    private void Moved(PciFunction function)
    {
        lock (_lock)
        {
            Move(ref _pmAt, Wanted(function, PmRegMisc, PmBase, PmBaseMask), _pm, AcpiPm.Ports, "ACPI power management");
            Move(ref _smbusAt, Wanted(function, SmbHostConfig, SmbBase, SmbBaseMask), _smbus, Smbus.Ports, "SMBus");
        }
    }

    /// <summary>0 while it is switched off.</summary>
    private static uint Wanted(PciFunction function, int enable, int at, uint mask) =>
        (function.ReadConfig(enable, 1) & IoEnable) != 0 ? function.ReadConfig(at, sizeof(uint)) & mask : 0;

    private void Move(ref ushort? at, uint wanted, IPortDevice device, int count, string name)
    {
        if (at == wanted)
            return;
        if (at is { } before)
            _ports.Unmap(before);
        at = wanted != 0 && _ports.TryMap((ushort)wanted, count, device, name) is null ? (ushort)wanted : null;
    }

    /// <summary>The SMBus host controller with nothing on its bus: every transfer ends in an error (PIIX4 data sheet, 7.3).</summary>
    private sealed class Smbus : IPortDevice
    {
        public const int Ports = 16;

        private const int HostStatus = 0;
        private const int HostControl = 2;
        private const byte DeviceError = 1 << 2;
        private const byte Start = 1 << 6;

        private readonly byte[] _registers = new byte[Ports];

        public byte[] Save() => [.. _registers];

        public void Restore(ReadOnlySpan<byte> registers)
        {
            registers.CopyTo(_registers);
            _registers[HostControl] &= unchecked((byte)~Start);
        }

        public uint ReadPort(ushort offset, int size) => size == 1 ? Volatile.Read(ref _registers[offset]) : uint.MaxValue;

        public void WritePort(ushort offset, int size, uint value)
        {
            if (offset == HostStatus)
                _registers[HostStatus] &= (byte)~value;
            else
                _registers[offset] = (byte)(offset == HostControl ? value & ~(uint)Start : value);
            if (offset == HostControl && (value & Start) != 0)
                _registers[HostStatus] |= DeviceError;
        }
    }
}
