using System.Buffers.Binary;

namespace Vivarium.Devices;

/// <summary>
/// The card's serial EEPROM (8254x developer's manual, 5), read bit by bit through EECD or word by word through EERD.
/// </summary>
internal sealed class E1000Eeprom
{
    // EECD.
    private const uint Clock = 1 << 0;
    private const uint Select = 1 << 1;
    private const uint DataIn = 1 << 2;
    private const uint DataOut = 1 << 3;
    private const uint Request = 1 << 6;
    private const uint Grant = 1 << 7;
    private const uint Present = 1 << 8;
    private const uint Pins = Clock | Select | DataIn;

    // EERD.
    private const uint Start = 1 << 0;
    private const uint Done = 1 << 4;
    private const int AddressShift = 8;
    private const int DataShift = 16;

    private const int SumWord = 63;
    private const ushort Sum = 0xBABA;

    private readonly SerialEeprom _chip;
    private uint _control;
    private uint _read;

    public E1000Eeprom(ReadOnlySpan<byte> mac, PciIdentity identity)
    {
        var words = new ushort[SerialEeprom.Words];
        for (var i = 0; i < 3; i++)
            words[i] = BinaryPrimitives.ReadUInt16LittleEndian(mac[(2 * i)..]);

        // Word 3: compatibility; 8 and 9: the board's number; 0Ah: initialization control 1, with the identifiers valid.
        words[0x03] = 0x0200;
        words[0x08] = 0xFFFF;
        words[0x09] = 0xFFFF;
        words[0x0A] = 0x640A;
        words[0x0B] = identity.SubsystemId;
        words[0x0C] = identity.SubsystemVendorId;
        words[0x0D] = identity.DeviceId;
        words[0x0E] = identity.VendorId;
        words[0x0F] = 0x0002;
        ushort sum = 0;
        foreach (var word in words)
            sum += word;
        words[SumWord] = (ushort)(Sum - sum);
        _chip = new SerialEeprom(words);
    }

    public uint ReadControl() => _control | Present | ((_control & Request) != 0 ? Grant : 0) | (_chip.DataOut ? DataOut : 0);

    public void WriteControl(uint value)
    {
        _control = value & (Pins | Request);
        _chip.Drive((value & Select) != 0, (value & Clock) != 0, (value & DataIn) != 0);
    }

    public uint ReadWord() => _read;

    public void StartRead(uint value)
    {
        if ((value & Start) == 0)
        {
            _read = 0;
            return;
        }

        var address = (int)(value >> AddressShift) & 0xFF;
        _read = (value & ~(Start | 0xFFFFu << DataShift)) | Done | (uint)_chip[address] << DataShift;
    }

    public E1000EepromState Save() => new() { Control = _control, Read = _read, Chip = _chip.Save() };

    public void Restore(E1000EepromState state)
    {
        _control = state.Control & (Pins | Request);
        _read = state.Read;
        _chip.Restore(state.Chip!);
    }
}
