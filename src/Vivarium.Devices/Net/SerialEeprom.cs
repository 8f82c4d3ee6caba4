namespace Vivarium.Devices;

/// <summary>
/// A serial EEPROM of 64 words (93C46), read bit by bit through its pins. What a guest writes is acknowledged and not kept.
/// </summary>
internal sealed class SerialEeprom
{
    public const int Words = 64;

    // A command: a start bit, an opcode of two bits, an address of six.
    private const int CommandBits = 9;
    private const int AddressMask = Words - 1;
    private const int AddressBits = 6;
    private const int Opcode = 3;
    private const int ReadOpcode = 2;

    private readonly ushort[] _words;
    private bool _clock;

    /// <summary>The bits since the start bit, which is the first.</summary>
    private int _shift;
    private int _bits;

    /// <summary>What is being read, the next bit on top; zero bits follow.</summary>
    private uint _output;
    private bool _isReading;

    public SerialEeprom(ushort[] words)
    {
        ArgumentOutOfRangeException.ThrowIfNotEqual(words.Length, Words);
        _words = words;
    }

    /// <summary>A word by its address; all ones where there is none.</summary>
    public ushort this[int address] => address < Words ? _words[address] : (ushort)0xFFFF;

    /// <summary>The output pin. After a write or an erasure the device says at once that it is ready.</summary>
    public bool DataOut => !_isReading || (_output & 1u << 31) != 0;

    /// <summary>Sets the input pins: a bit goes in when the clock rises.</summary>
    public void Drive(bool select, bool clock, bool dataIn)
    {
        var rises = clock && !_clock;
        _clock = clock;
        if (!select)
        {
            _shift = 0;
            _bits = 0;
            _isReading = false;
        }
        else if (rises)
        {
            Shift(dataIn ? 1 : 0);
        }
    }

    public SerialEepromState Save() => new() { Clock = _clock, Shift = _shift, Bits = _bits, Output = _output, IsReading = _isReading };

    public void Restore(SerialEepromState state)
    {
        _clock = state.Clock;
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
        if (++_bits != CommandBits || (_shift >> AddressBits & Opcode) != ReadOpcode)
            return;

        // A zero bit comes first, while the address' last bit is clocked in.
        _output = (uint)_words[_shift & AddressMask] << 15;
        _isReading = true;
    }
}

/// <summary>The state of the serial interface to an EEPROM.</summary>
public sealed record SerialEepromState
{
    public bool Clock { get; init; }
    public int Shift { get; init; }
    public int Bits { get; init; }
    public uint Output { get; init; }
    public bool IsReading { get; init; }
}
