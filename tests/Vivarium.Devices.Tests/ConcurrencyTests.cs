namespace Vivarium.Devices.Tests;

public class ConcurrencyTests
{
    /// <summary>A vCPU, a timer thread and two host threads at once: the lock order holds, and no interrupt hangs.</summary>
    [Fact]
    public async Task Threads_meet_in_the_interrupt_controllers_without_blocking_each_other()
    {
        var clock = new MachineClock();
        clock.Resume();
        var interrupts = new InterruptRouter();
        var ports = new PortBus();
        var mmio = new MmioBus();
        var apic = new LocalApic(0, interrupts.Apics, clock);
        var irq0 = interrupts.CreateIsaLine(0);
        var irq8 = interrupts.CreateIsaLine(8);
        var pm = new AcpiPm(clock, interrupts.CreateIsaLine(AcpiPm.SciIrq));
        var uart = new Uart16550(interrupts.CreateIsaLine(4), null);
        interrupts.Pic.Map(ports);
        interrupts.IoApic.Map(mmio);
        new Pit8254(clock, irq0).Map(ports);
        new Rtc(clock, irq8, 1 << 28, 0).Map(ports);
        new Hpet(clock, interrupts, irq0, irq8).Map(mmio);
        pm.Map(ports);
        uart.Map(ports, Uart16550.Com1, "COM1");

        // On a busy host a thread may not run at all for a while: everybody goes on until input has come, within reason.
        var (enough, deadline) = (clock.Nanoseconds + 200 * Board.Millisecond, clock.Nanoseconds + 30_000 * Board.Millisecond);
        var received = 0;
        bool GoesOn() => clock.Nanoseconds < enough || (Volatile.Read(ref received) == 0 && clock.Nanoseconds < deadline);
        void Vcpu()
        {
            apic.WriteMmio(0xF0, 4, 0x1FF);
            apic.WriteMmio(0x3E0, 4, 0xB);
            apic.WriteMmio(0x320, 4, 0x2_00EC);
            apic.WriteMmio(0x380, 4, 50_000);
            foreach (var (pin, low) in ((int, uint)[])[(2, 0x30), (4, 0x34), (9, 0x8039)])
            {
                mmio.Write(IoApic.DefaultAddress, 4, (uint)(0x10 + 2 * pin));
                mmio.Write(IoApic.DefaultAddress + 0x10, 4, low);
            }

            ports.Write(0x43, 1, 0x34);
            ports.Write(0x40, 1, 100);
            ports.Write(0x40, 1, 0);
            ports.Write(0x602, 2, 1 << 8);
            ports.Write(0x3FC, 1, 0x0B);
            ports.Write(0x3F9, 1, 0x01);
            for (var i = 0; GoesOn(); i++)
            {
                apic.Deadlines.RunDue();
                if (apic.AcknowledgeInterrupt() >= 0)
                {
                    while ((ports.Read(0x3FD, 1) & 1) != 0)
                    {
                        ports.Read(0x3F8, 1);
                        received++;
                    }

                    ports.Write(0x600, 2, 1 << 8);
                    apic.WriteMmio(0xB0, 4, 0);
                }

                if (i % 100 == 0)
                    mmio.Write(Hpet.DefaultAddress + 0x10, 4, (ulong)(i / 100 % 4));
            }
        }

        var sent = 0;
        void Host()
        {
            while (GoesOn())
            {
                sent += uart.Receive("some input"u8);
                pm.PressPowerButton();
            }
        }

        void Timers()
        {
            while (GoesOn())
                clock.Deadlines.RunDue();
        }

        var cancel = TestContext.Current.CancellationToken;
        await Task.WhenAll(Task.Run(Vcpu, cancel), Task.Run(Host, cancel), Task.Run(Timers, cancel)).WaitAsync(TimeSpan.FromSeconds(60), cancel);
        var state = uart.Save();
        Assert.Equal(sent, received + state.Received.Length + state.Waiting.Length);
        Assert.True(received > 0);
    }
}
