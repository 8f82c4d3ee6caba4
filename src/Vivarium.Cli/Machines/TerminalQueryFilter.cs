namespace Vivarium.Cli.Machines;

/// <summary>
/// Takes out of a terminal's byte stream what asks the terminal for an answer (ECMA-48: DSR, <c>CSI ... n</c>; DA, <c>CSI ... c</c>).
/// Several viewers would all answer, and a replayed question would be answered long after it was put: the guest would read that as typed.
/// </summary>
internal sealed class TerminalQueryFilter
{
    private const byte EscapeCode = 0x1B;

    /// <summary>Longer ones ask for nothing that we know, and go through.</summary>
    public const int LongestQuery = 16;

    private readonly byte[] _pending = new byte[LongestQuery];
    private int _length;

    /// <summary>Copies what is to be shown; the start of a sequence is kept back until its end is there.</summary>
    /// <param name="input">What the guest wrote.</param>
    /// <param name="output">Longer than the input by <see cref="LongestQuery"/> at least.</param>
    /// <returns>How many bytes of the output are filled.</returns>
    public int Filter(ReadOnlySpan<byte> input, Span<byte> output)
    {
        int written = 0;
        foreach (byte next in input)
        {
            if (_length == 0 && next != EscapeCode)
            {
                output[written++] = next;
                continue;
            }

            if (_length == LongestQuery || (_length > 0 && next == EscapeCode))
            {
                written += Release(output[written..]);
                if (next != EscapeCode)
                {
                    output[written++] = next;
                    continue;
                }
            }

            _pending[_length++] = next;
            if (_length >= 2 && !IsInside(next))
            {
                if (_pending[1] == '[' && next is (byte)'n' or (byte)'c')
                {
                    _length = 0;
                }
                else
                {
                    written += Release(output[written..]);
                }
            }
        }

        return written;
    }

    /// <summary>The introducer, or a parameter byte after it.</summary>
    private bool IsInside(byte next) => _length == 2 ? next == '[' : next is >= 0x30 and <= 0x3F;

    private int Release(Span<byte> output)
    {
        _pending.AsSpan(0, _length).CopyTo(output);
        int length = _length;
        _length = 0;
        return length;
    }
}
