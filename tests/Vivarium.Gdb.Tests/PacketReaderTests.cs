using System.Text;

namespace Vivarium.Gdb.Tests;

/// <summary>Packets in a stream of bytes.</summary>
public sealed class PacketReaderTests
{
    private readonly PacketReader _reader = new();

    /// <summary>What comes out of a text, packets with their content.</summary>
    private List<string> Read(string text)
    {
        ReadOnlySpan<byte> bytes = Encoding.Latin1.GetBytes(text);
        List<string> found = [];
        while (!bytes.IsEmpty)
        {
            Token token = _reader.Take(bytes, out int taken);
            bytes = bytes[taken..];
            if (token != Token.None)
            {
                found.Add(token == Token.Packet ? Encoding.Latin1.GetString(_reader.Packet) : token.ToString());
            }
        }

        return found;
    }

    [Theory]
    [InlineData("$g#67", "g")]
    [InlineData("+$g#67", "Acknowledged,g")]
    [InlineData("-\u0003$#00", "Refused,Interrupt,")]
    [InlineData("$m0,4#FD$m0,4#fd", "m0,4,m0,4")]
    [InlineData("$g#68$g#67", "Damaged,g")]
    [InlineData("$g#6x", "Damaged")]
    [InlineData("$ab$g#67", "g")]
    [InlineData("noise$g#67noise", "g")]
    [InlineData("$a\u0003b#c6", "a\u0003b")]
    public void Tokens(string text, string expected) => Assert.Equal(expected, string.Join(',', Read(text)));

    [Fact]
    public void APacketMayComeInPieces()
    {
        Assert.Empty(Read("$m0,"));
        Assert.Empty(Read("4#f"));
        Assert.Equal(["m0,4"], Read("d"));
    }

    [Theory]
    [InlineData(0, "aaa")]
    [InlineData(1, "TooLong")]
    public void ThereIsALongestPacket(int more, string expected)
    {
        string data = new('a', PacketReader.MaxLength + more);
        string sum = ((byte)data.Sum(character => character)).ToString("x2");
        string found = Assert.Single(Read($"${data}#{sum}"));
        Assert.StartsWith(expected, found);
        Assert.Equal(["g"], Read("$g#67"));
    }
}
