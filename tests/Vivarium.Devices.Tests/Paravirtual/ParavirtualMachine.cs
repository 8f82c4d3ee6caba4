using Vivarium.Memory;

namespace Vivarium.Devices.Tests;

/// <summary>Processors with the paravirtual interface, and memory with RAM, ROM and holes; time and TSC are moved by hand.</summary>
internal sealed class ParavirtualMachine : IDisposable
{
    public const ulong RamEnd = 0x10_0000;
    public const ulong Rom = 0x20_0000;
    public const ulong RomEnd = 0x21_0000;

    // Register numbers as guests know them.
    public const uint WallClockMsr = 0x4B56_4D00;
    public const uint SystemTimeMsr = 0x4B56_4D01;
    public const uint StealTimeMsr = 0x4B56_4D03;
    public const uint EoiMsr = 0x4B56_4D04;
    public const uint PollControlMsr = 0x4B56_4D05;
    public const uint MigrationControlMsr = 0x4B56_4D08;

    private const ulong TscAtStart = 1ul << 60;

    public ParavirtualMachine(int processors = 2, ulong tscFrequency = 2_445_424_000)
    {
        Memory = new GuestMemory(RamEnd + RomEnd - Rom);
        Memory.AddSlot(0, RamEnd);
        Memory.AddSlot(Rom, RomEnd - Rom, readOnly: true);
        Clock = new MachineClock(Time) { TscFrequency = tscFrequency };
        Platform = new ParavirtualPlatform(Memory, Clock, Interrupts.Apics, () => HostTsc);
        TscOffsets = new ulong[processors];
        RunDelays = new long[processors];
        Unhalts = new int[processors];
        for (var i = 0; i < processors; i++)
        {
            var index = i;
            var apic = new LocalApic((uint)i, Interrupts.Apics, Clock) { Events = new Listener(this) };
            apic.WriteMmio(0xF0, 4, 0x1FF);
            Apics.Add(apic);
            Cpus.Add(new ParavirtualCpu(Platform, apic, () => TscOffsets[index])
            {
                RunDelay = () => RunDelays[index],
                UnhaltRequested = () => Unhalts[index]++,
            });
        }

        Clock.Resume();
    }

    public GuestMemory Memory { get; }

    public ManualTime Time { get; } = new();

    public MachineClock Clock { get; }

    public InterruptRouter Interrupts { get; } = new();

    public ParavirtualPlatform Platform { get; }

    public List<LocalApic> Apics { get; } = [];

    public List<ParavirtualCpu> Cpus { get; } = [];

    public ulong[] TscOffsets { get; }

    public long[] RunDelays { get; }

    public int[] Unhalts { get; }

    /// <summary>How often a processor was told to ask for interrupts.</summary>
    public int Requests { get; set; }

    public int Nmis { get; set; }

    public ulong HostTsc => TscAtStart + (ulong)((UInt128)(ulong)Time.Nanoseconds * Clock.TscFrequency / 1_000_000_000);

    public ParavirtualCpu Cpu => Cpus[0];

    public LocalApic Apic => Apics[0];

    public ulong Read(uint msr, int cpu = 0)
    {
        Assert.True(Cpus[cpu].ReadMsr(msr, out var value));
        return value;
    }

    public void Write(uint msr, ulong value, int cpu = 0) => Assert.True(Cpus[cpu].WriteMsr(msr, value));

    public long Call(ulong number, ulong a0 = 0, ulong a1 = 0, ulong a2 = 0, ulong a3 = 0, bool is64Bit = true, int cpl = 0) =>
        Cpu.Hypercall(number, a0, a1, a2, a3, is64Bit, cpl);

    /// <summary>The time that a guest computes from its structure (the kernel's <c>pvclock-abi.h</c>).</summary>
    public ulong GuestTime(ulong area, int cpu = 0)
    {
        Assert.Equal(0u, Memory.Read<uint>(area) & 1);
        var ticks = HostTsc + TscOffsets[cpu] - Memory.Read<ulong>(area + 8);
        var shift = Memory.Read<sbyte>(area + 28);
        ticks = shift < 0 ? ticks >> -shift : ticks << shift;
        return Memory.Read<ulong>(area + 16) + (ulong)((UInt128)ticks * Memory.Read<uint>(area + 24) >> 32);
    }

    public bool InService(byte vector) => ((uint)Apic.ReadMmio(0x100 + (vector / 32u * 16), 4) >> (vector % 32) & 1) != 0;

    public void Dispose()
    {
        foreach (var cpu in Cpus)
            cpu.Dispose();
        Memory.Dispose();
    }

    private sealed class Listener(ParavirtualMachine machine) : ILocalApicEvents
    {
        public void InterruptRequested() => machine.Requests++;

        public void NmiRequested() => machine.Nmis++;

        public void InitRequested()
        {
        }

        public void StartupRequested(byte vector)
        {
        }
    }
}
