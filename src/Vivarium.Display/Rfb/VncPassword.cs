using System.Security.Cryptography;
using System.Text;

namespace Vivarium.Display.Rfb;

/// <summary>
/// VNC authentication (RFC 6143, 7.2.2): the client encrypts what the server has thought of with the password, of which eight
/// characters count. It keeps out the curious; it does not hide what is sent afterwards.
/// </summary>
internal sealed class VncPassword
{
    public const int ChallengeLength = 16;

    /// <summary>How many characters of a password count.</summary>
    public const int MostCharacters = 8;

    private readonly byte[] _key = new byte[Des.BlockLength];

    public VncPassword(string password)
    {
        byte[] bytes = Encoding.Latin1.GetBytes(password);
        for (int i = 0; i < Math.Min(bytes.Length, MostCharacters); i++)
        {
            _key[i] = Mirror(bytes[i]);
        }
    }

    /// <summary>The right answer to a challenge of 16 bytes.</summary>
    public byte[] Answer(ReadOnlySpan<byte> challenge)
    {
        byte[] answer = challenge.ToArray();
        for (int block = 0; block < answer.Length; block += Des.BlockLength)
        {
            Des.Encrypt(_key, answer.AsSpan(block, Des.BlockLength));
        }

        return answer;
    }

    public bool Accepts(ReadOnlySpan<byte> challenge, ReadOnlySpan<byte> answer) => CryptographicOperations.FixedTimeEquals(Answer(challenge), answer);

    /// <summary>The bits of a password's bytes are taken from the lowest.</summary>
    private static byte Mirror(byte value)
    {
        int mirrored = 0;
        for (int bit = 0; bit < 8; bit++)
        {
            mirrored = mirrored << 1 | (value >> bit & 1);
        }

        return (byte)mirrored;
    }
}
