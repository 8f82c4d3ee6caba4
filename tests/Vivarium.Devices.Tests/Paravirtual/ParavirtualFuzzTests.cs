using static Vivarium.Devices.Tests.ParavirtualMachine;

namespace Vivarium.Devices.Tests;

public sealed class ParavirtualFuzzTests
{
    private const int Cases = 200_000;

    private static readonly ulong[] s_interesting =
        [0, 1, 0x1000, 0x5000, RamEnd - 64, RamEnd - 32, RamEnd, Rom - 1, Rom, RomEnd - 8, RomEnd, 1ul << 32, 1ul << 63, ulong.MaxValue - 63, ulong.MaxValue];

    /// <summary>Whatever a guest writes and asks, nothing throws, answers are errors or counts, and ROM stays as it is.</summary>
    [Fact]
    public void Any_use_of_registers_and_hypercalls_is_survived()
    {
        var random = new Random(20);
        using var machine = new ParavirtualMachine(processors: 3);
        long[] errors = [-1, -14, -22, -95, -1000];
        for (var i = 0; i < Cases; i++)
        {
            var cpu = machine.Cpus[random.Next(3)];
            var apic = machine.Apics[random.Next(3)];
            switch (random.Next(12))
            {
                case < 4:
                    _ = cpu.WriteMsr(Msr(), Value());
                    break;
                case 4:
                    _ = cpu.ReadMsr(Msr(), out _);
                    break;
                case < 8:
                    var answer = cpu.Hypercall(random.Next(8) == 0 ? Value() : (ulong)random.Next(16), Value(), Value(), Value(), Value(), random.Next(2) == 0, random.Next(4) / 3);
                    Assert.True(answer is >= 0 and <= 128 || errors.Contains(answer), $"{answer}");
                    break;
                case 8:
                    machine.Time.Nanoseconds += random.Next(20_000_000);
                    cpu.EnterGuest();
                    break;
                case 9:
                    cpu.BeginSleep();
                    _ = cpu.EndSleep();
                    cpu.TscMoved();
                    break;
                case 10:
                    machine.Clock.Pause();
                    machine.Clock.Resume();
                    break;
                default:
                    machine.Interrupts.Apics.SignalMessage(0xFEE0_0000 | (ulong)random.Next(3) << 12, (uint)random.Next(16, 256));
                    _ = apic.AcknowledgeInterrupt();
                    apic.WriteMmio(0xB0, 4, 0);
                    break;
            }
        }

        var rom = new byte[RomEnd - Rom];
        machine.Memory.Read(Rom, rom);
        Assert.Equal(new byte[rom.Length], rom);

        uint Msr() => random.Next(8) == 0 ? (uint)random.Next(0x10, 0x14) : 0x4B56_4D00 + (uint)random.Next(12);

        ulong Value() => random.Next(3) switch
        {
            0 => (ulong)random.NextInt64(),
            1 => (ulong)random.NextInt64((long)RomEnd),
            _ => s_interesting[random.Next(s_interesting.Length)] + (ulong)random.Next(-4, 5),
        } | (random.Next(2) == 0 ? 1ul : 0);
    }
}
