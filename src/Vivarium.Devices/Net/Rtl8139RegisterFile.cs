using System.Buffers.Binary;

namespace Vivarium.Devices;

/// <summary>The bytes of an RTL8139C+'s registers, which of their bits a guest can write, and what they hold after a reset.</summary>
internal sealed class Rtl8139RegisterFile
{
    private static readonly byte[] s_writable = Writable();

    private readonly byte[] _bytes = new byte[Rtl8139Registers.Length];

    public ref byte this[int offset] => ref _bytes[offset];

    public ReadOnlySpan<byte> Address => _bytes.AsSpan(Rtl8139Registers.Id, EthernetFrame.MacLength);

    public ReadOnlySpan<byte> MulticastHash => _bytes.AsSpan(Rtl8139Registers.Multicast, sizeof(ulong));

    public ushort Word(int offset) => BinaryPrimitives.ReadUInt16LittleEndian(_bytes.AsSpan(offset));

    public uint Dword(int offset) => BinaryPrimitives.ReadUInt32LittleEndian(_bytes.AsSpan(offset));

    public ulong Qword(int offset) => BinaryPrimitives.ReadUInt64LittleEndian(_bytes.AsSpan(offset));

    public void Put(int offset, ushort value) => BinaryPrimitives.WriteUInt16LittleEndian(_bytes.AsSpan(offset), value);

    public void Put(int offset, uint value) => BinaryPrimitives.WriteUInt32LittleEndian(_bytes.AsSpan(offset), value);

    /// <summary>A guest's write, of which only writable bits count.</summary>
    public void Write(int offset, byte value)
    {
        var mask = s_writable[offset];
        _bytes[offset] = (byte)((_bytes[offset] & ~mask) | (value & mask));
    }

    /// <summary>Power-on: everything, also what a reset by command leaves alone.</summary>
    public void PowerOn(ReadOnlySpan<byte> mac)
    {
        _bytes.AsSpan().Clear();
        LoadAddress(mac);
        ResetTransceiver();
        Reset();
    }

    /// <summary>CR.RST (6.6): the station's and multicast addresses, and the transceiver, stay.</summary>
    public void Reset()
    {
        _bytes.AsSpan(Rtl8139Registers.TransmitStatus, Rtl8139Registers.BasicControl - Rtl8139Registers.TransmitStatus).Clear();
        _bytes.AsSpan(Rtl8139Registers.Config5).Clear();
        for (var i = 0; i < Rtl8139Registers.TransmitStatuses; i++)
            Put(Rtl8139Registers.TransmitStatus + i * sizeof(uint), Rtl8139Registers.StatusOwn);
        Put(Rtl8139Registers.TransmitConfig, Rtl8139Registers.HardwareVersion | 3 << 24);
        ResetReceiveBuffer();

        // Registers in ports and in memory; fast back-to-back transfers.
        _bytes[Rtl8139Registers.Config1] = 0x0C;
        _bytes[Rtl8139Registers.Config3] = 0x01;
    }

    /// <summary>The classic mode's buffer is empty; the guest's place is 16 bytes behind the card's (6.8).</summary>
    public void ResetReceiveBuffer()
    {
        Put(Rtl8139Registers.ReceiveWrite, (ushort)0);
        Put(Rtl8139Registers.ReceiveRead, (ushort)0xFFF0);
    }

    public void LoadAddress(ReadOnlySpan<byte> mac) => mac.CopyTo(_bytes.AsSpan(Rtl8139Registers.Id));

    /// <summary>100 Mb/s, full duplex, negotiated, link up.</summary>
    public void ResetTransceiver()
    {
        Put(Rtl8139Registers.BasicControl, (ushort)0x3100);
        Put(Rtl8139Registers.BasicStatus, (ushort)0x782D);
        Put(Rtl8139Registers.Advertisement, (ushort)0x05E1);
        Put(Rtl8139Registers.PartnerAbility, (ushort)0x45E1);
        Put(Rtl8139Registers.Expansion, (ushort)0x0001);
    }

    public byte[] Save() => [.. _bytes];

    public void Restore(byte[] bytes) => bytes.CopyTo(_bytes, 0);

    public static bool IsValid(byte[]? bytes) => bytes is { Length: Rtl8139Registers.Length };

    private static byte[] Writable()
    {
        var mask = new byte[Rtl8139Registers.Length];
        void Range(int first, int length) => mask.AsSpan(first, length).Fill(0xFF);
        Range(Rtl8139Registers.Id, EthernetFrame.MacLength);
        Range(Rtl8139Registers.Multicast, sizeof(ulong));
        Range(Rtl8139Registers.TransmitStatus, 0x20);
        Range(Rtl8139Registers.ReceiveBuffer, sizeof(uint));
        mask[Rtl8139Registers.Command] = Rtl8139Registers.CommandTransmit | Rtl8139Registers.CommandReceive;
        Range(Rtl8139Registers.ReceiveRead, sizeof(ushort));
        BinaryPrimitives.WriteUInt16LittleEndian(mask.AsSpan(Rtl8139Registers.InterruptMask), Rtl8139Registers.AllInterrupts);

        // Gap, loopback, no check sequence, burst, retries.
        BinaryPrimitives.WriteUInt32LittleEndian(mask.AsSpan(Rtl8139Registers.TransmitConfig), 0x0307_07F0);
        BinaryPrimitives.WriteUInt32LittleEndian(mask.AsSpan(Rtl8139Registers.ReceiveConfig), 0x0F03_FFBF);
        mask[Rtl8139Registers.EepromCommand] = 0xCE;
        mask[Rtl8139Registers.Config1] = 0xFD;
        Range(Rtl8139Registers.TimerInterrupt, sizeof(uint));
        mask[Rtl8139Registers.MediaStatus] = 0xC0;
        mask[Rtl8139Registers.Config3] = 0x60;
        mask[Rtl8139Registers.Config4] = 0xFF;
        Range(Rtl8139Registers.MultipleInterrupt, sizeof(ushort));
        Range(Rtl8139Registers.BasicControl, sizeof(ushort));
        Range(Rtl8139Registers.Advertisement, sizeof(ushort));

        // Chip test and transceiver parameters, wake-up frames.
        Range(0x70, 0x68);
        mask[Rtl8139Registers.Config5] = 0x7F;
        BinaryPrimitives.WriteUInt16LittleEndian(mask.AsSpan(Rtl8139Registers.PlusCommand), 0x037B);
        Range(Rtl8139Registers.ReceiveRing, sizeof(ulong));
        mask[Rtl8139Registers.EarlyTransmit] = 0x3F;
        return mask;
    }
}
