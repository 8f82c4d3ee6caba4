using Vivarium.Memory;

namespace Vivarium.Devices.Tests;

/// <summary>Several processors, timers and host threads at one board at once, doing what no driver would.</summary>
public class BoardStressTests
{
    private const int Threads = 4;
    private const int Accesses = 20_000;
    private const ulong RamSize = 16 << 20;

    /// <summary>Nothing throws, and nobody waits for ever: the bounded work of all threads comes to its end.</summary>
    [Fact]
    public async Task Random_accesses_from_all_sides_neither_throw_nor_block()
    {
        using var memory = new GuestMemory(RamSize);
        memory.AddSlot(0, RamSize);
        var clock = new MachineClock();
        clock.Resume();
        var interrupts = new InterruptRouter();
        var ports = new PortBus();
        var mmio = new MmioBus();
        LocalApic[] apics = [.. Enumerable.Range(0, Threads).Select(id => new LocalApic((uint)id, interrupts.Apics, clock))];
        var irq0 = interrupts.CreateIsaLine(0);
        var irq8 = interrupts.CreateIsaLine(8);
        var pm = new AcpiPm(clock, interrupts.CreateIsaLine(AcpiPm.SciIrq));
        var uart = new Uart16550(interrupts.CreateIsaLine(Uart16550.Com1Irq), null);
        var host = new PciHost(new ResetControl());
        interrupts.Pic.Map(ports);
        interrupts.IoApic.Map(mmio);
        new Pit8254(clock, irq0).Map(ports);
        new Rtc(clock, irq8, RamSize, 0).Map(ports);
        new Hpet(clock, interrupts, irq0, irq8).Map(mmio);
        pm.Map(ports);
        new I8042(interrupts.CreateIsaLine(I8042.KeyboardIrq), interrupts.CreateIsaLine(I8042.AuxiliaryIrq), new A20Gate(), new Ps2Keyboard(clock), new Ps2Mouse()).Map(ports);
        new SystemControlPort(new A20Gate()).Map(ports);
        new PostCode().Map(ports);
        new DebugConsole(_ => { }).Map(ports);
        host.Map(ports);
        uart.Map(ports, Uart16550.Com1, "COM1");
        var bus = new PciBus(host, mmio, ports, interrupts);
        using var disk = new VirtioBlock(memory, new MemoryDisk(1 << 20), queues: Threads);
        using var entropy = new VirtioRng(memory);
        using var console = new VirtioConsole(memory, new VirtioConsolePort(null), new VirtioConsolePort(null, "port", isConsole: false));
        bus.Attach(new VirtioPciTransport(disk, "virtio-blk").Function);
        bus.Attach(new VirtioPciTransport(console, "virtio-console").Function);
        new VirtioMmioTransport(entropy, interrupts.CreateIoApicLine(20)).Map(mmio, 0xD000_0000, "virtio-rng");

        (ushort First, int Count, string Name)[] portRanges = [.. ports.Mappings()];
        (ulong First, ulong Size, string Name)[] mmioRanges = [.. mmio.Mappings()];
        var running = Threads;

        void Processor(int index)
        {
            var random = new Random(index);
            var apic = apics[index];
            int[] sizes = [1, 2, 4, 8];
            apic.WriteMmio(0xF0, 4, 0x1FF);
            for (var i = 0; i < Accesses; i++)
            {
                var size = sizes[random.Next(4)];
                var value = (ulong)random.NextInt64();
                switch (random.Next(8))
                {
                    case 0:
                        var range = portRanges[random.Next(portRanges.Length)];
                        ports.Write((ushort)(range.First + random.Next(range.Count)), Math.Min(size, 4), (uint)value);
                        break;
                    case 1:
                        var read = portRanges[random.Next(portRanges.Length)];
                        ports.Read((ushort)(read.First + random.Next(read.Count)), Math.Min(size, 4));
                        break;
                    case 2 or 3:
                        var window = mmioRanges[random.Next(mmioRanges.Length)];
                        mmio.Write(window.First + (ulong)random.NextInt64((long)window.Size), size, value & (ulong)random.NextInt64());
                        break;
                    case 4:
                        var seen = mmioRanges[random.Next(mmioRanges.Length)];
                        mmio.Read(seen.First + (ulong)random.NextInt64((long)seen.Size), size);
                        break;
                    case 5:
                        apic.WriteMmio((ulong)random.Next(0x40) << 4, 4, value & 0xFFFF_FFFF);
                        break;
                    case 6:
                        apic.WriteMmio(0x310, 4, value & 0xFF00_0000);
                        apic.WriteMmio(0x300, 4, value & 0xC_08FF);
                        break;
                    default:
                        if (apic.AcknowledgeInterrupt() >= 0)
                            apic.WriteMmio(0xB0, 4, 0);
                        break;
                }

                apic.Deadlines.RunDue();
                if (index == 0)
                    clock.Deadlines.RunDue();
            }

            Interlocked.Decrement(ref running);
        }

        void Host()
        {
            var random = new Random(-1);
            while (Volatile.Read(ref running) != 0)
            {
                uart.Receive("some input"u8);
                pm.PressPowerButton();
                interrupts.Apics.SignalNmi();
                interrupts.Apics.SignalMessage(0xFEE0_0000 | (ulong)random.Next(0x10_0000), (uint)random.Next(0x1000));
                disk.CapacityChanged();
            }
        }

        var cancel = TestContext.Current.CancellationToken;
        await Task.WhenAll([.. Enumerable.Range(0, Threads).Select(i => Run(() => Processor(i))), Run(Host)]).WaitAsync(TimeSpan.FromMinutes(5), cancel);
    }

    /// <summary>
    /// One interrupt goes round and round; each processor looks for it only when it is told, as a sleeping vCPU does. A
    /// request that is set while its receiver lowers its priority, and of which nobody tells, would stop it.
    /// </summary>
    [Fact]
    public async Task No_request_is_left_untold_when_priorities_fall_meanwhile()
    {
        const int processors = 3, rounds = 5_000, vector = 0x51;
        var board = new Processors(processors);
        var told = new int[processors];
        for (var i = 0; i < processors; i++)
        {
            var index = i;
            board.Apics[i].Events = new Flag(() => Volatile.Write(ref told[index], 1));
        }

        void Processor(int index)
        {
            var apic = board.Apics[index];
            for (var round = 0; round < rounds; round++)
            {
                if (index != 0 || round != 0)
                {
                    apic.TaskPriority = 15;
                    Thread.SpinWait(round % 64);
                    apic.TaskPriority = 0;
                    var spin = new SpinWait();
                    while (Interlocked.Exchange(ref told[index], 0) == 0 || apic.AcknowledgeInterrupt() != vector)
                        spin.SpinOnce(sleep1Threshold: -1);
                    apic.WriteMmio(0xB0, 4, 0);
                }

                board.Send(index, (uint)((index + 1) % processors), vector);
            }
        }

        var cancel = TestContext.Current.CancellationToken;
        await Task.WhenAll([.. Enumerable.Range(0, processors).Select(i => Run(() => Processor(i)))]).WaitAsync(TimeSpan.FromMinutes(5), cancel);
        Assert.Equal([0], board.Take(vector));
    }

    private static Task Run(Action action) => Task.Factory.StartNew(action, CancellationToken.None, TaskCreationOptions.LongRunning, TaskScheduler.Default);

    private sealed class Flag(Action interrupt) : ILocalApicEvents
    {
        public void InterruptRequested() => interrupt();

        public void NmiRequested()
        {
        }

        public void InitRequested()
        {
        }

        public void StartupRequested(byte vector)
        {
        }
    }
}
