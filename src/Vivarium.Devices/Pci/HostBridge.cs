using System.Buffers.Binary;

namespace Vivarium.Devices;

/// <summary>
/// The 82441FX host bridge (Intel 440FX data sheet, 290549, 3.2): identity, command and status, the programmable attribute map
/// (PAM), and the control of SMRAM. There is no system management mode: SMRAM can be opened and closed, and nothing else. The
/// other registers of its own are storage.
/// </summary>
public sealed class HostBridge : IPciFunction
{
    public const int ConfigSize = 256;

    private const int VendorId = 0x00;
    private const int DeviceId = 0x02;
    private const int Command = 0x04;
    private const int Status = 0x06;
    private const int Revision = 0x08;
    private const int ClassCode = 0x0A;
    private const int SubsystemVendorId = 0x2C;
    private const int SubsystemId = 0x2E;
    private const int FirstOwnRegister = 0x50;

    /// <summary>PAM0; six more follow. Each has two segments but the first, which has only the last one in its upper half.</summary>
    private const int AttributeMap = 0x59;
    private const int AttributeMaps = 7;
    private const byte ReadEnable = 1 << 0;
    private const byte WriteEnable = 1 << 1;
    private const byte AttributeMapWritable = 0x33;
    private const int NibbleBits = 4;

    private const int SmramControl = 0x72;
    private const byte SmramOpen = 1 << 6;
    private const byte SmramClosed = 1 << 5;
    private const byte SmramLocked = 1 << 4;
    private const byte SmramEnabled = 1 << 3;
    private const byte SmramBaseSegment = 2;
    private const byte SmramWritable = SmramOpen | SmramClosed | SmramLocked | SmramEnabled;

    private const ushort Intel = 0x8086;
    private const ushort Device82441FX = 0x1237;
    private const byte RevisionValue = 0x02;
    private const ushort HostBridgeClass = 0x0600;
    private const ushort StatusMediumDevsel = 0x0200;

    /// <summary>Memory and bus mastering are always on; only SERR and parity can be switched.</summary>
    private const ushort CommandFixed = 0x0006;
    private const ushort CommandWritable = 0x0140;

    private readonly Lock _lock = new();
    private readonly byte[] _config = new byte[ConfigSize];
    private readonly LegacyArea? _area;

    /// <param name="area">What the attribute map and SMRAM control lead; null where low memory is RAM throughout.</param>
    /// <param name="subsystem">Vendor and device that the board says it is, by which firmware made for a board knows it.</param>
    public HostBridge(LegacyArea? area = null, (ushort Vendor, ushort Device) subsystem = default)
    {
        _area = area;
        BinaryPrimitives.WriteUInt16LittleEndian(_config.AsSpan(VendorId), Intel);
        BinaryPrimitives.WriteUInt16LittleEndian(_config.AsSpan(DeviceId), Device82441FX);
        BinaryPrimitives.WriteUInt16LittleEndian(_config.AsSpan(Command), CommandFixed);
        BinaryPrimitives.WriteUInt16LittleEndian(_config.AsSpan(Status), StatusMediumDevsel);
        _config[Revision] = RevisionValue;
        BinaryPrimitives.WriteUInt16LittleEndian(_config.AsSpan(ClassCode), HostBridgeClass);
        BinaryPrimitives.WriteUInt16LittleEndian(_config.AsSpan(SubsystemVendorId), subsystem.Vendor);
        BinaryPrimitives.WriteUInt16LittleEndian(_config.AsSpan(SubsystemId), subsystem.Device);
        _config[SmramControl] = SmramBaseSegment;
    }

    public uint ReadConfig(int offset, int size)
    {
        uint value = 0;
        lock (_lock)
        {
            for (var i = 0; i < size; i++)
                value |= (uint)_config[offset + i] << (8 * i);
        }

        return value;
    }

    public void WriteConfig(int offset, int size, uint value)
    {
        lock (_lock)
        {
            for (var i = 0; i < size; i++)
                WriteByte(offset + i, (byte)(value >> (8 * i)));
        }
    }

    /// <summary>Leads all segments as after reset: to the bus.</summary>
    public void Reset()
    {
        lock (_lock)
        {
            for (var register = AttributeMap; register < AttributeMap + AttributeMaps; register++)
                _config[register] = 0;
            _config[SmramControl] = SmramBaseSegment;
            RouteAll();
        }
    }

    /// <summary>Leads all segments to RAM, as firmware leaves it that a boot loader stands in for.</summary>
    public void ShadowAll()
    {
        lock (_lock)
        {
            for (var register = AttributeMap; register < AttributeMap + AttributeMaps; register++)
                _config[register] = AttributeMapWritable;
            RouteAll();
        }
    }

    public byte[] Save() => [.. _config];

    /// <summary>Takes the registers that a guest can write; the rest is what this chip is.</summary>
    public void Restore(ReadOnlySpan<byte> config)
    {
        config[FirstOwnRegister..].CopyTo(_config.AsSpan(FirstOwnRegister));
        WriteCommand(Command, config[Command]);
        WriteCommand(Command + 1, config[Command + 1]);
        RouteAll();
    }

    private void WriteByte(int register, byte bits)
    {
        switch (register)
        {
            case Command or Command + 1:
                WriteCommand(register, bits);
                break;
            case >= AttributeMap and < AttributeMap + AttributeMaps:
                var changed = _config[register] ^ bits;
                _config[register] = (byte)(bits & AttributeMapWritable);
                Route(register, changed);
                break;
            case SmramControl:
                WriteSmram(bits);
                break;
            case >= FirstOwnRegister:
                _config[register] = bits;
                break;
        }
    }

    /// <summary>Once it is locked, SMRAM stays closed until the next reset.</summary>
    private void WriteSmram(byte bits)
    {
        var before = _config[SmramControl];
        if ((before & SmramLocked) != 0)
            return;
        if ((bits & SmramLocked) != 0)
            bits &= unchecked((byte)~SmramOpen);
        _config[SmramControl] = (byte)(bits & SmramWritable | SmramBaseSegment);
        if (IsOpen(before) != IsOpen(_config[SmramControl]))
            _area?.OpenWindow(IsOpen(_config[SmramControl]));
    }

    private static bool IsOpen(byte smram) => (smram & (SmramOpen | SmramEnabled | SmramClosed)) == (SmramOpen | SmramEnabled);

    private void RouteAll()
    {
        for (var register = AttributeMap; register < AttributeMap + AttributeMaps; register++)
            Route(register, AttributeMapWritable);
        _area?.OpenWindow(IsOpen(_config[SmramControl]));
    }

    private void Route(int register, int changed)
    {
        for (var half = 0; half < 2; half++)
        {
            var bits = _config[register] >> (half * NibbleBits);
            if ((changed >> (half * NibbleBits) & (ReadEnable | WriteEnable)) == 0)
                continue;
            var segment = register != AttributeMap ? (register - AttributeMap - 1) * 2 + half : half == 1 ? LegacyArea.Segments - 1 : -1;
            if (segment >= 0)
                _area?.Route(segment, (bits & ReadEnable) != 0, (bits & WriteEnable) != 0);
        }
    }

    private void WriteCommand(int index, byte bits)
    {
        var shift = (index - Command) * 8;
        _config[index] = (byte)((bits & CommandWritable >> shift) | (CommandFixed >> shift));
    }
}
