namespace Vivarium.Devices.Tests;

/// <summary>Who gets which interrupt command (SDM vol. 3A, 11.6 and 11.12.9-10).</summary>
public class InterruptCommandTests
{
    private const uint Vector = 0x51;
    private const uint LowestPriority = 0x100;
    private const uint Smi = 0x200;
    private const uint Nmi = 0x400;
    private const uint Init = 0x4500;
    private const uint InitDeassert = 0x8500;
    private const uint Startup = 0x4600;
    private const uint Logical = 0x800;
    private const uint Self = 1 << 18;
    private const uint All = 2 << 18;
    private const uint AllButSelf = 3 << 18;
    private const uint Everyone = 0xFFFF_FFFF;

    [Theory]
    [InlineData(0u, 0u, new[] { 0 })]
    [InlineData(2u, 0u, new[] { 2 })]
    [InlineData(4u, 0u, new int[0])]
    [InlineData(0xFFu, 0u, new[] { 0, 1, 2, 3 })]
    [InlineData(0u, Self, new[] { 1 })]
    [InlineData(0u, All, new[] { 0, 1, 2, 3 })]
    [InlineData(0u, AllButSelf, new[] { 0, 2, 3 })]
    [InlineData(2u, AllButSelf | Logical, new[] { 0, 2, 3 })]
    [InlineData(0b0101u, Logical, new[] { 0, 2 })]
    [InlineData(0b0010u, Logical, new[] { 1 })]
    [InlineData(0u, Logical, new int[0])]
    [InlineData(0xFFu, Logical, new[] { 0, 1, 2, 3 })]
    public void Flat_xapic_destinations(uint destination, uint command, int[] receivers)
    {
        var processors = new Processors(4);
        for (var i = 0; i < 4; i++)
            processors.Write(i, 0xD0, 1u << (24 + i));
        processors.Send(1, destination, command | Vector);
        Assert.Equal(receivers, processors.Take((int)Vector));
        processors.Send(1, destination, command | Nmi);
        Assert.Equal((command >> 18) == 1 ? [1] : receivers, processors.Nmis);
    }

    [Theory]
    [InlineData(0x11u, new[] { 0 })]
    [InlineData(0x13u, new[] { 0, 1 })]
    [InlineData(0x22u, new[] { 3 })]
    [InlineData(0x31u, new int[0])]
    [InlineData(0xF1u, new[] { 0, 2 })]
    [InlineData(0xFFu, new[] { 0, 1, 2, 3 })]
    public void Cluster_xapic_destinations(uint destination, int[] receivers)
    {
        var processors = new Processors(4);
        for (var i = 0; i < 4; i++)
        {
            processors.Write(i, 0xE0, 0x0FFF_FFFF);
            processors.Write(i, 0xD0, (uint)((i / 2 + 1 << 4) | 1 << i % 2) << 24);
        }

        processors.Send(2, destination, Logical | Vector);
        Assert.Equal(receivers, processors.Take((int)Vector));
    }

    [Theory]
    [InlineData(0u, 0u, new[] { 0 })]
    [InlineData(19u, 0u, new[] { 19 })]
    [InlineData(20u, 0u, new int[0])]
    [InlineData(0xFFu, 0u, new int[0])]
    [InlineData(0x0000_0009u, Logical, new[] { 0, 3 })]
    [InlineData(0x0001_000Au, Logical, new[] { 17, 19 })]
    [InlineData(0x0002_FFFFu, Logical, new int[0])]
    [InlineData(0x0000_0000u, Self, new[] { 1 })]
    public void X2apic_destinations(uint destination, uint command, int[] receivers)
    {
        var processors = new Processors(20, x2Apic: true);
        processors.Send(1, destination, command | Vector);
        Assert.Equal(receivers, processors.Take((int)Vector));
    }

    [Theory]
    [InlineData(Everyone, 0u, true)]
    [InlineData(Everyone, Logical, true)]
    [InlineData(0u, All, true)]
    [InlineData(0u, AllButSelf, false)]
    public void X2apic_broadcasts(uint destination, uint command, bool includesSender)
    {
        var processors = new Processors(20, x2Apic: true);
        processors.Send(7, destination, command | Vector);
        Assert.Equal(Enumerable.Range(0, 20).Where(i => includesSender || i != 7), processors.Take((int)Vector));
    }

    [Fact]
    public void The_self_ipi_register_is_for_the_sender_only()
    {
        var processors = new Processors(3, x2Apic: true);
        Assert.True(processors.Apics[2].WriteMsr(0x83F, Vector));
        Assert.Equal([2], processors.Take((int)Vector));
    }

    [Fact]
    public void Processors_of_equal_priority_take_turns_at_the_lowest_priority()
    {
        var processors = new Processors(3);
        HashSet<int> takers = [];
        for (var i = 0; i < 3; i++)
        {
            processors.Send(0, 0xFF, LowestPriority | Vector);
            takers.Add(Assert.Single(processors.Take((int)Vector)));
        }

        Assert.Equal(3, takers.Count);
        processors.Apics[0].TaskPriority = 9;
        processors.Apics[2].TaskPriority = 9;
        processors.Send(0, 0xFF, LowestPriority | Vector);
        Assert.Equal([1], processors.Take((int)Vector));
    }

    [Fact]
    public void A_software_disabled_apic_takes_no_interrupt_but_nmi_init_and_startup()
    {
        var processors = new Processors(2);
        processors.Write(1, 0xF0, 0xFF);
        processors.Send(0, 1, Vector);
        processors.Send(0, 1, LowestPriority | Vector);
        Assert.Empty(processors.Take((int)Vector));
        processors.Send(0, 1, Nmi);
        processors.Send(0, 1, Init);
        processors.Send(0, 1, Startup | 0x9A);
        Assert.Equal([1], processors.Nmis);
        Assert.Equal([1], processors.Inits);
        Assert.Equal(0x9A, processors.Startup(1));
    }

    [Theory]
    [InlineData(3u, Init, new[] { 3 })]
    [InlineData(0u, Init | AllButSelf, new[] { 1, 2, 3 })]
    [InlineData(3u, InitDeassert, new int[0])]
    [InlineData(0u, InitDeassert | All, new int[0])]
    public void Init_starts_those_anew_that_it_names(uint destination, uint command, int[] receivers)
    {
        var processors = new Processors(4);
        processors.Send(0, destination, command);
        Assert.Equal(receivers, processors.Inits);
    }

    [Fact]
    public void Startup_goes_to_those_that_it_names_with_its_vector()
    {
        var processors = new Processors(4);
        processors.Send(0, 0, Startup | AllButSelf | 0x08);
        Assert.Equal([1, 2, 3], processors.Startups);
        Assert.All(Enumerable.Range(1, 3), i => Assert.Equal(0x08, processors.Startup(i)));
    }

    [Fact]
    public void An_smi_and_reserved_modes_reach_nobody()
    {
        var processors = new Processors(2);
        foreach (var mode in (uint[])[Smi, 0x300, 0x700])
            processors.Send(0, 1, mode | Vector);
        Assert.Empty(processors.Take((int)Vector));
        Assert.Empty(processors.Nmis);
    }

    [Fact]
    public void Initialize_forgets_requests_and_masks_what_was_programmed()
    {
        var processors = new Processors(2);
        processors.Apics[1].WriteMmio(0x320, 4, 0xEC);
        processors.Send(0, 1, Vector);
        processors.Apics[1].Initialize();
        Assert.False(processors.Apics[1].HasInterrupt);
        Assert.Equal(0xFFul, processors.Apics[1].ReadMmio(0xF0, 4));
        Assert.Equal(0x1_0000ul, processors.Apics[1].ReadMmio(0x320, 4));
        Assert.Equal(0x0100_0000ul, processors.Apics[1].ReadMmio(0x20, 4));
        Assert.True(processors.Apics[1].OwnsMmio(LocalApic.DefaultAddress));
    }

    [Fact]
    public void Only_the_first_processor_is_the_bootstrap_processor()
    {
        var processors = new Processors(3);
        Assert.Equal([true, false, false], processors.Apics.Select(apic => apic.ReadMsr(LocalApic.ApicBaseMsr, out var value) && (value & 0x100) != 0));
    }

    [Fact]
    public void The_apic_id_cannot_be_written()
    {
        var processors = new Processors(2);
        processors.Write(1, 0x20, 0x0700_0000);
        Assert.Equal(0x0100_0000ul, processors.Apics[1].ReadMmio(0x20, 4));
        processors.Send(0, 1, Vector);
        Assert.Equal([1], processors.Take((int)Vector));
    }

    [Fact]
    public void Each_processors_timer_has_deadlines_of_its_own()
    {
        var processors = new Processors(3);
        for (var i = 0; i < 3; i++)
        {
            processors.Write(i, 0x3E0, 0xB);
            processors.Write(i, 0x320, 0xEC);
            processors.Write(i, 0x380, (uint)(1000 * (i + 1)));
        }

        Assert.Equal([1000L, 2000, 3000], processors.Apics.Select(apic => apic.Deadlines.NextDeadline));
        Assert.Equal(MachineClock.Never, processors.Clock.Deadlines.NextDeadline);
        processors.Time.Nanoseconds = 2500;
        processors.Apics[1].Deadlines.RunDue();
        Assert.Equal([1], processors.Take(0xEC));
        processors.Apics[0].Deadlines.RunDue();
        processors.Apics[2].Deadlines.RunDue();
        Assert.Equal([0], processors.Take(0xEC));
    }

    [Fact]
    public void The_tsc_deadline_follows_the_processors_own_tsc()
    {
        var processors = new Processors(2);
        ulong adjustment = 500;
        processors.Clock.TscFrequency = MachineClock.NanosecondsPerSecond;
        processors.Apics[1].TscReader = () => (ulong)processors.Time.Nanoseconds + adjustment;
        for (var i = 0; i < 2; i++)
        {
            processors.Write(i, 0x320, 0x4_00EC);
            Assert.True(processors.Apics[i].WriteMsr(LocalApic.TscDeadlineMsr, 2000));
        }

        Assert.Equal([2000L, 1500], processors.Apics.Select(apic => apic.Deadlines.NextDeadline));
        adjustment = 1200;
        processors.Apics[1].TscMoved();
        Assert.Equal(800, processors.Apics[1].Deadlines.NextDeadline);
        adjustment = 0;
        processors.Time.Nanoseconds = 1000;
        processors.Apics[1].Deadlines.RunDue();
        Assert.False(processors.Apics[1].HasInterrupt);
        Assert.Equal(2000, processors.Apics[1].Deadlines.NextDeadline);
    }

    [Fact]
    public void A_level_triggered_interrupt_comes_again_until_its_cause_has_gone()
    {
        var processors = new Processors(2);
        var mmio = new MmioBus();
        processors.Interrupts.IoApic.Map(mmio);
        void WriteIoApic(uint register, uint value)
        {
            mmio.Write(IoApic.DefaultAddress, 4, register);
            mmio.Write(IoApic.DefaultAddress + 0x10, 4, value);
        }

        // Pin 20, level-triggered, to processor 1.
        WriteIoApic(0x10 + 2 * 20 + 1, 1 << 24);
        WriteIoApic(0x10 + 2 * 20, 0x8000 | Vector);
        var line = processors.Interrupts.CreateIoApicLine(20);
        line.Raise();
        Assert.Equal([1], processors.Take((int)Vector));
        Assert.Equal([1], processors.Take((int)Vector));
        line.Lower();
        Assert.Equal([1], processors.Take((int)Vector));
        Assert.Empty(processors.Take((int)Vector));
    }
}
