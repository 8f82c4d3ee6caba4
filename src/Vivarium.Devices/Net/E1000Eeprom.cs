using System.Buffers.Binary;

namespace Vivarium.Devices;

/// <summary>
/// The card's serial EEPROM of 64 words (93C46; 8254x developer's manual, 5), read bit by bit through EECD or word by word
/// through EERD. What a guest writes is acknowledged and not kept.
/// </summary>
internal sealed class E1000Eeprom
{
    public const int Words = 64;

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

    // A command: a start bit, an opcode of two bits, an address of six.
    private const int CommandBits = 9;
    private const int AddressMask = Words - 1;
    private const int Opcode = 3;
    private const int ReadOpcode = 2;

    private const int SumWord = 63;
    private const ushort Sum = 0xBABA;

    private readonly ushort[] _words = new ushort[Words];
    private uint _control;
    private uint _read;

    /// <summary>The bits since the start bit, which is the first.</summary>
    private int _shift;
    private int _bits;

    /// <summary>What is being read, the next bit on top; zero bits follow.</summary>
    private uint _output;
    private bool _isReading;

    public E1000Eeprom(ReadOnlySpan<byte> mac, PciIdentity identity)
    {
        for (var i = 0; i < 3; i++)
            _words[i] = BinaryPrimitives.ReadUInt16LittleEndian(mac[(2 * i)..]);

        // Word 3: compatibility; 8 and 9: the board's number; 0Ah: initialization control 1, with the identifiers valid.
        _words[0x03] = 0x0200;
        _words[0x08] = 0xFFFF;
        _words[0x09] = 0xFFFF;
        _words[0x0A] = 0x640A;
        _words[0x0B] = identity.SubsystemId;
        _words[0x0C] = identity.SubsystemVendorId;
        _words[0x0D] = identity.DeviceId;
        _words[0x0E] = identity.VendorId;
        _words[0x0F] = 0x0002;
        ushort sum = 0;
        foreach (var word in _words)
            sum += word;
        _words[SumWord] = (ushort)(Sum - sum);
    }

    public uint ReadControl()
    {
        // After a write or an erasure the device says at once that it is ready.
        var output = !_isReading || (_output & 1u << 31) != 0;
        return _control | Present | ((_control & Request) != 0 ? Grant : 0) | (output ? DataOut : 0);
    }

    public void WriteControl(uint value)
    {
        var rises = (value & ~_control & Clock) != 0;
        _control = value & (Pins | Request);
        if ((value & Select) == 0)
        {
            _shift = 0;
            _bits = 0;
            _isReading = false;
        }
        else if (rises)
        {
            Shift((value & DataIn) != 0 ? 1 : 0);
        }
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
        var word = address < Words ? _words[address] : (ushort)0xFFFF;
        _read = (value & ~(Start | 0xFFFFu << DataShift)) | Done | (uint)word << DataShift;
    }

    public E1000EepromState Save() => new() { Control = _control, Read = _read, Shift = _shift, Bits = _bits, Output = _output, IsReading = _isReading };

    public void Restore(E1000EepromState state)
    {
        _control = state.Control & (Pins | Request);
        _read = state.Read;
        _shift = state.Shift;
        _bits = Math.Clamp(state.Bits, 0, CommandBits);
        _output = state.Output;
        _isReading = state.IsReading;
    }

    private void Shift(int bit)
    {
        if (_isReading)
        {
            _output <<= 1;
            return;
        }

        if (_bits == CommandBits || (_bits == 0 && bit == 0))
            return;
        _shift = _shift << 1 | bit;
        if (++_bits != CommandBits || (_shift >> 6 & Opcode) != ReadOpcode)
            return;

        // A zero bit comes first, while the address' last bit is clocked in.
        _output = (uint)_words[_shift & AddressMask] << 15;
        _isReading = true;
    }
}
