using static Vivarium.Devices.Tests.Rtl8139Machine;

namespace Vivarium.Devices.Tests;

/// <summary>Guests that write anything to the card's registers and rings, while frames come.</summary>
public sealed class Rtl8139FuzzTests
{
    [Theory]
    [InlineData(5)]
    [InlineData(6)]
    public void Registers_and_rings_survive_100_000_random_accesses(int seed)
    {
        var random = new Random(seed);
        using var card = new Rtl8139Machine((NetworkOffloads)random.Next(8)) { Network = { KeepsFrames = false } };
        for (var i = 0; i < 100_000; i++)
        {
            var register = random.Next(0x100);
            switch (random.Next(11))
            {
                case 0 or 1:
                    card.Board.Mmio.Write(Registers + (ulong)register, 1 << random.Next(4), (ulong)random.NextInt64());
                    break;
                case 2:
                    card.Board.Mmio.Read(Registers + (ulong)register, 1 << random.Next(4));
                    break;
                case 3:
                    card.Board.Ports.Write((ushort)(Ports + register), 1 << random.Next(3), (uint)random.NextInt64());
                    break;
                case 4:
                    card.Board.Ports.Read((ushort)(Ports + register), 1 << random.Next(3));
                    break;
                case 5:
                    // The modes in which something happens.
                    card.Byte(Cr, random.Next(8) == 0 ? 0x1C : 0x0C);
                    card.Word(Cpcr, random.Next(4) | random.Next(4) << 5);
                    card.Dword(Rcr, (uint)random.Next() & 0x188F | 1);
                    break;
                case 6:
                    card.Dword(Tsad + random.Next(4) * 4, Address(random));
                    card.Dword(Tsd + random.Next(4) * 4, (uint)random.Next(0x2000));
                    break;
                case 7:
                    card.Dword(random.Next(3) switch { 0 => Rbstart, 1 => Rdsar, _ => Tsad }, Address(random));
                    card.Byte(Tppoll, random.Next(256));
                    break;
                case 8:
                    // Descriptors of any kind in the rings that a driver would have.
                    var ring = random.Next(2) == 0 ? card.TransmitRing : card.ReceiveRing;
                    var descriptor = ring + (ulong)random.Next(64) * 16;
                    card.Machine.Memory.Write(descriptor + 8, (ulong)Address(random));
                    card.Machine.Memory.Write(descriptor, Own | (uint)random.NextInt64() & 0xF807_1FFF);
                    card.Dword(Tsad, (uint)card.TransmitRing);
                    card.Dword(Rdsar + 4, 0);
                    card.Dword(Rdsar, (uint)card.ReceiveRing);
                    card.Byte(Tppoll, 0x40);
                    break;
                case 9:
                    card.Network.Bring(new byte[random.Next(4) == 0 ? random.Next(20_000) : random.Next(1600)], new FrameOffload { Flags = (byte)random.Next(3) });
                    break;
                case 10:
                    card.Board.Pass(random.Next(100_000));
                    break;
            }
        }

        // A reset brings everything back.
        card.Machine.WritePci(card.Device, 0x04, 2, 7);
        card.Byte(Cr, 0x10);
        card.Word(Imr, 0x100);
        card.Byte(Tppoll, 1);
        Assert.True(card.Interrupted);
    }

    private static uint Address(Random random) => random.Next(4) switch
    {
        0 => (uint)random.NextInt64(),
        1 => (uint)VirtioMachine.RomStart + (uint)random.Next(0x2_0000),
        2 => (uint)(VirtioMachine.RamSize + VirtioMachine.HighRamStart) - (uint)random.Next(0x1000),
        _ => (uint)VirtioMachine.HighRamStart + (uint)random.Next((int)VirtioMachine.RamSize),
    };
}
