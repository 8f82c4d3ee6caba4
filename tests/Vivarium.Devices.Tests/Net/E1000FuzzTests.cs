using static Vivarium.Devices.Tests.E1000Machine;

namespace Vivarium.Devices.Tests;

/// <summary>Guests that write anything to the card's registers and rings, while frames come.</summary>
public sealed class E1000FuzzTests
{
    private static readonly uint[] s_registers =
    [
        Ctrl, Status, Eecd, Eerd, 0x18, Mdic, Icr, Itr, Ics, Ims, Imc, Rctl, Tctl, Rdbal, Rdbal + 4, Rdlen, Rdh, Rdt, Tdbal, Tdbal + 4, Tdlen, Tdh, Tdt, Rxcsum, Mta, Ral, Ral + 4, Vfta, 0x4080, 0x38,
    ];

    [Fact]
    public void Registers_and_rings_survive_100_000_random_accesses()
    {
        var random = new Random(5);
        using var card = new E1000Machine((NetworkOffloads)random.Next(8)) { Network = { KeepsFrames = false } };
        for (var i = 0; i < 100_000; i++)
        {
            var register = s_registers[random.Next(s_registers.Length)];
            switch (random.Next(10))
            {
                case 0:
                    card.Board.Mmio.Write(0xC000_0000 + (ulong)random.Next(0x2_0000), 1 << random.Next(4), (ulong)random.NextInt64());
                    break;
                case 1:
                    card.Board.Mmio.Read(0xC000_0000 + (ulong)random.Next(0x2_0000), 1 << random.Next(4));
                    break;
                case 2:
                    card[register] = (uint)random.NextInt64();
                    break;
                case 3:
                    card[register] = Likely(random, register);
                    break;
                case 4:
                    _ = card[register];
                    break;
                case 5:
                    card.Queue(Address(card, random), (ulong)random.NextInt64());
                    break;
                case 6:
                    // A descriptor of any kind with a short buffer.
                    card.Queue(Address(card, random), (ulong)random.NextInt64() & ~0xFFF00ul);
                    break;
                case 7:
                    card.Network.Bring(new byte[random.Next(4) == 0 ? random.Next(20_000) : random.Next(1600)], new FrameOffload { Flags = (byte)random.Next(3) });
                    break;
                case 8:
                    card.Kick();
                    break;
                case 9:
                    card.Board.Pass(random.Next(100_000));
                    break;
            }
        }

        // A reset brings everything back.
        card[Ctrl] = 1 << 26;
        _ = card[Icr];
        card[Ims] = 0x80;
        card[Ics] = 0x80;
        Assert.True(card.Interrupted);
    }

    private static uint Likely(Random random, uint register) => register switch
    {
        Ctrl => random.Next(20) == 0 ? 1u << 26 : 1u << 30,
        Rctl => Enable | (uint)random.Next() & 0x0707_F0FF,
        Tctl => 2,
        Rdbal or Tdbal => (1 << 20) + (uint)random.Next(1 << 20),
        Rdbal + 4 or Tdbal + 4 => random.Next(4) == 0 ? uint.MaxValue : 0,
        Rdlen or Tdlen => (uint)random.Next(0x400),
        Rdh or Rdt or Tdh or Tdt => (uint)random.Next(64),
        _ => (uint)random.Next(256),
    };

    private static ulong Address(E1000Machine card, Random random) => random.Next(4) switch
    {
        0 => (ulong)random.NextInt64(),
        1 => VirtioMachine.RomStart + (ulong)random.Next(0x2_0000),
        2 => VirtioMachine.RamSize + VirtioMachine.HighRamStart - (ulong)random.Next(0x1000),
        _ => VirtioMachine.HighRamStart + (ulong)random.Next((int)VirtioMachine.RamSize),
    };
}
