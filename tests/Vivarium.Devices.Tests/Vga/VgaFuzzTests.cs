namespace Vivarium.Devices.Tests;

/// <summary>A guest that writes nonsense everywhere: 400,000 accesses, a picture after every 500th.</summary>
public sealed class VgaFuzzTests
{
    private const int Accesses = 100_000, PictureEvery = 500;

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    [InlineData(4)]
    public void Nonsense_hurts_nobody(int seed)
    {
        using var board = new VgaBoard();
        var random = new Random(seed);
        for (var i = 0; i < Accesses; i++)
        {
            var port = random.Next(6) switch
            {
                0 => (ushort)random.Next(0x1CE, 0x1D1),
                1 => (ushort)random.Next(0x3B0, 0x3BC),
                _ => (ushort)random.Next(0x3C0, 0x3E0),
            };
            var size = 1 << random.Next(3);
            var address = VgaBoard.Window + (ulong)random.Next(0x20000);
            var value = (ulong)random.NextInt64();
            switch (random.Next(8))
            {
                case 0:
                    board.Ports.Read(port, size);
                    break;
                case 1:
                    board.Mmio.Read(address, 1 << random.Next(4));
                    break;
                case 2 or 3:
                    board.Mmio.Write(address, 1 << random.Next(4), value);
                    break;
                case 4:
                    // Modes that work are where most can go wrong.
                    board.Dispi((ushort)random.Next(12), (ushort)(random.Next(2) == 0 ? random.Next(64) : (int)value & 0xFFFF));
                    break;
                default:
                    board.Ports.Write(port, size, (uint)value);
                    break;
            }

            board.Time.Nanoseconds += random.Next(1_000_000);
            if (i % PictureEvery == 0)
            {
                board.Card.Refresh(board.Frame);
                board.Card.Refresh(board.TextFrame);
                Assert.InRange(board.Frame.Width * board.Frame.Height, 1, 4096 * 4096);
                Assert.NotNull(board.Card.ReadText());
            }
        }
    }
}
