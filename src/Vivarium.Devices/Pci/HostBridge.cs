using System.Buffers.Binary;

namespace Vivarium.Devices;

/// <summary>
/// The 82441FX host bridge (Intel 440FX data sheet, 3.2) as far as systems look at it: identity, command and status, and
/// its own registers as storage. Memory mapping attributes have no effect: low memory is RAM throughout.
/// </summary>
internal sealed class HostBridge : IPciFunction
{
    public const int ConfigSize = 256;

    private const int VendorId = 0x00;
    private const int DeviceId = 0x02;
    private const int Command = 0x04;
    private const int Status = 0x06;
    private const int Revision = 0x08;
    private const int ClassCode = 0x0A;
    private const int FirstOwnRegister = 0x50;

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

    public HostBridge()
    {
        BinaryPrimitives.WriteUInt16LittleEndian(_config.AsSpan(VendorId), Intel);
        BinaryPrimitives.WriteUInt16LittleEndian(_config.AsSpan(DeviceId), Device82441FX);
        BinaryPrimitives.WriteUInt16LittleEndian(_config.AsSpan(Command), CommandFixed);
        BinaryPrimitives.WriteUInt16LittleEndian(_config.AsSpan(Status), StatusMediumDevsel);
        _config[Revision] = RevisionValue;
        BinaryPrimitives.WriteUInt16LittleEndian(_config.AsSpan(ClassCode), HostBridgeClass);
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
            {
                var index = offset + i;
                var bits = (byte)(value >> (8 * i));
                if (index >= FirstOwnRegister)
                    _config[index] = bits;
                else if (index is Command or Command + 1)
                    WriteCommand(index, bits);
            }
        }
    }

    public byte[] Save() => [.. _config];

    /// <summary>Takes the registers that a guest can write; the rest is what this chip is.</summary>
    public void Restore(ReadOnlySpan<byte> config)
    {
        config[FirstOwnRegister..].CopyTo(_config.AsSpan(FirstOwnRegister));
        WriteCommand(Command, config[Command]);
        WriteCommand(Command + 1, config[Command + 1]);
    }

    private void WriteCommand(int index, byte bits)
    {
        var shift = (index - Command) * 8;
        _config[index] = (byte)((bits & CommandWritable >> shift) | (CommandFixed >> shift));
    }
}
