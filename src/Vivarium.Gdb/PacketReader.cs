namespace Vivarium.Gdb;

/// <summary>What a client has sent.</summary>
internal enum Token
{
    /// <summary>Nothing complete yet.</summary>
    None,

    /// <summary>A packet whose checksum is right.</summary>
    Packet,

    /// <summary>A packet with a wrong checksum: to be asked for again.</summary>
    Damaged,

    /// <summary>A packet longer than any that we accept.</summary>
    TooLong,

    /// <summary>03H, outside of packets: stop the machine.</summary>
    Interrupt,

    /// <summary>'+'.</summary>
    Acknowledged,

    /// <summary>'-': our last packet is to be sent again.</summary>
    Refused,
}

/// <summary>
/// Finds packets in a stream of bytes (GDB manual, "Overview" of the remote protocol): <c>$data#checksum</c>. Everything else
/// between packets is skipped. Holds one packet, of <see cref="MaxLength"/> bytes at most, whatever comes.
/// </summary>
internal sealed class PacketReader
{
    /// <summary>Most bytes between '$' and '#'; told to the client as PacketSize.</summary>
    public const int MaxLength = 0x4000;

    private const byte InterruptByte = 0x03;

    private readonly byte[] _packet = new byte[MaxLength];
    private State _state;
    private int _length;
    private bool _tooLong;
    private byte _sum;
    private int _high;

    private enum State
    {
        Between,
        Data,
        FirstDigit,
        SecondDigit,
    }

    /// <summary>The packet as it was sent, escapes included; until the next <see cref="Take"/>.</summary>
    public ReadOnlySpan<byte> Packet => _packet.AsSpan(0, _length);

    /// <summary>Takes bytes until something is complete, and says what.</summary>
    /// <param name="bytes">What has arrived.</param>
    /// <param name="taken">How many of them were used.</param>
    public Token Take(ReadOnlySpan<byte> bytes, out int taken)
    {
        for (taken = 0; taken < bytes.Length;)
        {
            Token token = Take(bytes[taken++]);
            if (token != Token.None)
            {
                return token;
            }
        }

        return Token.None;
    }

    private Token Take(byte value)
    {
        switch (_state)
        {
            case State.Between:
                switch (value)
                {
                    case (byte)'$':
                        Begin();
                        return Token.None;
                    case InterruptByte:
                        return Token.Interrupt;
                    case (byte)'+':
                        return Token.Acknowledged;
                    case (byte)'-':
                        return Token.Refused;
                    default:
                        return Token.None;
                }

            case State.Data when value == '#':
                _state = State.FirstDigit;
                return Token.None;
            case State.Data when value == '$':
                // The rest of the last one was lost.
                Begin();
                return Token.None;
            case State.Data:
                _sum += value;
                if (_length == MaxLength)
                {
                    _tooLong = true;
                }
                else
                {
                    _packet[_length++] = value;
                }

                return Token.None;
            case State.FirstDigit:
                _high = Hex.Digit(value);
                _state = State.SecondDigit;
                return Token.None;
            default:
                _state = State.Between;
                int low = Hex.Digit(value);
                return _high < 0 || low < 0 || ((_high << 4) | low) != _sum ? Token.Damaged : _tooLong ? Token.TooLong : Token.Packet;
        }
    }

    private void Begin()
    {
        _state = State.Data;
        _length = 0;
        _tooLong = false;
        _sum = 0;
    }
}
