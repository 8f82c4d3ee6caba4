namespace Vivarium.Devices.Tests;

public class LocalApicTests
{
    private const ulong Tpr = 0x80;
    private const ulong Ppr = 0xA0;
    private const ulong Esr = 0x280;
    private const ulong IcrLow = 0x300;
    private const ulong IcrHigh = 0x310;
    private const ulong LvtTimer = 0x320;
    private const ulong LvtLint0 = 0x350;
    private const ulong LvtError = 0x370;
    private const ulong InitialCount = 0x380;
    private const ulong CurrentCount = 0x390;
    private const ulong Divide = 0x3E0;
    private const uint DivideBy1 = 0xB;
    private const uint Masked = 1 << 16;
    private const uint Periodic = 1 << 17;
    private const uint TscDeadline = 1 << 18;
    private const uint Self = 1 << 18;

    private readonly Board _board = new();

    private void SelfIpi(byte vector) => _board.WriteApic(IcrLow, Self | vector);

    [Fact]
    public void After_reset_it_is_there_but_software_disabled()
    {
        Assert.True(_board.Apic.ReadMsr(0x1B, out var apicBase));
        Assert.Equal(0xFEE0_0900UL, apicBase);
        Assert.True(_board.Apic.OwnsMmio(0xFEE0_0FFF));
        Assert.False(_board.Apic.OwnsMmio(0xFEE0_1000));
        Assert.Equal(0xFFu, _board.ReadApic(0xF0));
        Assert.Equal(Masked, _board.ReadApic(LvtTimer));
        Assert.Equal(0x14u, _board.ReadApic(0x30) & 0xFF);
        SelfIpi(0x40);
        Assert.False(_board.Apic.HasInterrupt);
        _board.WriteApic(LvtTimer, 0x40);
        Assert.Equal(Masked | 0x40, _board.ReadApic(LvtTimer));
    }

    [Fact]
    public void Interrupts_nest_by_priority_class()
    {
        _board.EnableApic();
        SelfIpi(0x51);
        SelfIpi(0x5F);
        SelfIpi(0x31);
        Assert.Equal(0x5F, _board.Apic.AcknowledgeInterrupt());
        Assert.Equal(0x50u, _board.ReadApic(Ppr));
        Assert.False(_board.Apic.HasInterrupt);
        SelfIpi(0x61);
        Assert.Equal(0x61, _board.Apic.AcknowledgeInterrupt());
        _board.EndOfInterrupt();
        Assert.Equal(-1, _board.Apic.AcknowledgeInterrupt());
        _board.EndOfInterrupt();
        Assert.Equal(0x51, _board.Apic.AcknowledgeInterrupt());
        _board.EndOfInterrupt();
        Assert.Equal(0x31, _board.Apic.AcknowledgeInterrupt());
        _board.EndOfInterrupt();
        Assert.Equal(0u, _board.ReadApic(Ppr));
        _board.EndOfInterrupt();
    }

    [Fact]
    public void The_task_priority_holds_back_its_class_and_lower_ones()
    {
        _board.EnableApic();
        _board.Apic.TaskPriority = 5;
        Assert.Equal(0x50u, _board.ReadApic(Tpr));
        SelfIpi(0x5F);
        Assert.Equal(0, _board.Requests);
        _board.WriteApic(Tpr, 0x4F);
        Assert.Equal(4, _board.Apic.TaskPriority);
        Assert.Equal(1, _board.Requests);
        Assert.Equal(0x5F, _board.Apic.AcknowledgeInterrupt());
    }

    [Fact]
    public void What_remains_after_an_acknowledge_is_told_again()
    {
        _board.InitializePic();
        SelfIpi(0x40);
        Assert.Equal(1, _board.Requests);
        _board.Interrupts.CreateIsaLine(1).Raise();
        Assert.Equal(0x21, _board.Apic.AcknowledgeInterrupt());
        Assert.Equal(3, _board.Requests);
        Assert.Equal(0x40, _board.Apic.AcknowledgeInterrupt());
    }

    [Fact]
    public void The_8259_reaches_the_processor_around_a_disabled_apic_and_not_through_a_masked_lint0()
    {
        _board.InitializePic();
        _board.WriteApic(LvtLint0, Masked | 0x700);
        _board.Interrupts.CreateIsaLine(3).Raise();
        Assert.False(_board.Apic.HasInterrupt);
        Assert.True(_board.Apic.WriteMsr(0x1B, 0xFEE0_0100));
        Assert.Equal(0x23, _board.Apic.AcknowledgeInterrupt());
    }

    [Fact]
    public void Lint0_as_a_fixed_interrupt_takes_the_edge_of_the_8259()
    {
        _board.InitializePic();
        _board.WriteApic(LvtLint0, 0x61);
        _board.Interrupts.CreateIsaLine(0).Pulse();
        Assert.Equal(0x61, _board.Apic.AcknowledgeInterrupt());
        _board.EndOfInterrupt();
        Assert.False(_board.Apic.HasInterrupt);
    }

    [Fact]
    public void The_one_shot_timer_fires_once()
    {
        _board.EnableApic();
        _board.WriteApic(Divide, DivideBy1);
        _board.WriteApic(LvtTimer, 0xEC);
        _board.WriteApic(InitialCount, 1000);
        _board.Pass(400);
        Assert.Equal(600u, _board.ReadApic(CurrentCount));
        Assert.False(_board.Apic.HasInterrupt);
        _board.Pass(600);
        Assert.Equal(0xEC, _board.Apic.AcknowledgeInterrupt());
        _board.EndOfInterrupt();
        Assert.Equal(0u, _board.ReadApic(CurrentCount));
        _board.Run(10000);
        Assert.False(_board.Apic.HasInterrupt);
    }

    [Fact]
    public void The_periodic_timer_divides_its_clock_and_can_be_stopped()
    {
        _board.EnableApic();
        _board.WriteApic(Divide, 0x3);
        _board.WriteApic(LvtTimer, Periodic | 0xEC);
        _board.WriteApic(InitialCount, 62_500);
        for (var i = 0; i < 5; i++)
        {
            _board.Run(Board.Millisecond);
            Assert.Equal(0xEC, _board.Apic.AcknowledgeInterrupt());
            _board.EndOfInterrupt();
            Assert.False(_board.Apic.HasInterrupt);
        }

        _board.Pass(Board.Millisecond / 2);
        Assert.Equal(31_250u, _board.ReadApic(CurrentCount));
        _board.WriteApic(InitialCount, 0);
        _board.Run(10 * Board.Millisecond);
        Assert.False(_board.Apic.HasInterrupt);
        Assert.Equal(MachineClock.Never, _board.NextDeadline);
    }

    [Fact]
    public void A_masked_timer_counts_but_wakes_nobody()
    {
        _board.EnableApic();
        _board.WriteApic(Divide, DivideBy1);
        _board.WriteApic(LvtTimer, Masked | 0xEC);
        _board.WriteApic(InitialCount, 0xFFFF_FFFF);
        Assert.Equal(MachineClock.Never, _board.NextDeadline);
        _board.Pass(Board.Second);
        Assert.Equal(0xFFFF_FFFF - 1_000_000_000, _board.ReadApic(CurrentCount));
    }

    [Fact]
    public void A_tiny_period_does_not_keep_the_host_busy()
    {
        _board.EnableApic();
        _board.WriteApic(Divide, DivideBy1);
        _board.WriteApic(LvtTimer, Periodic | 0xEC);
        _board.WriteApic(InitialCount, 1);
        _board.Pass(1);
        Assert.True(_board.Apic.HasInterrupt);
        Assert.True(_board.NextDeadline >= 10 * Board.Microsecond);
    }

    [Fact]
    public void The_tsc_deadline_fires_when_the_tsc_gets_there()
    {
        _board.Clock.TscFrequency = 3_000_000_000;
        _board.Clock.TscReader = () => (ulong)_board.Time.Nanoseconds * 3;
        _board.EnableApic();
        Assert.True(_board.Apic.WriteMsr(0x6E0, 500));
        Assert.True(_board.Apic.ReadMsr(0x6E0, out var deadline));
        Assert.Equal(0UL, deadline);
        _board.WriteApic(LvtTimer, TscDeadline | 0xEC);
        _board.Apic.WriteMsr(0x6E0, 3000);
        _board.Apic.ReadMsr(0x6E0, out deadline);
        Assert.Equal(3000UL, deadline);
        _board.Pass(999);
        Assert.False(_board.Apic.HasInterrupt);
        _board.Pass(1);
        Assert.Equal(0xEC, _board.Apic.AcknowledgeInterrupt());
        _board.EndOfInterrupt();
        _board.Apic.ReadMsr(0x6E0, out deadline);
        Assert.Equal(0UL, deadline);
        _board.Apic.WriteMsr(0x6E0, 1);
        _board.Pass(0);
        Assert.Equal(0xEC, _board.Apic.AcknowledgeInterrupt());
    }

    [Fact]
    public void Changing_to_another_timer_mode_disarms_the_deadline()
    {
        _board.EnableApic();
        _board.WriteApic(LvtTimer, TscDeadline | 0xEC);
        _board.Apic.WriteMsr(0x6E0, 1000);
        _board.WriteApic(LvtTimer, 0xEC);
        _board.WriteApic(LvtTimer, TscDeadline | 0xEC);
        _board.Run(5000);
        Assert.False(_board.Apic.HasInterrupt);
    }

    [Fact]
    public void Illegal_vectors_and_registers_are_reported()
    {
        _board.EnableApic();
        _board.WriteApic(LvtError, 0xFE);
        SelfIpi(0x0F);
        Assert.Equal(0u, _board.ReadApic(Esr));
        Assert.Equal(0xFE, _board.Apic.AcknowledgeInterrupt());
        _board.ReadApic(0x3A0);
        _board.WriteApic(Esr, 0);
        Assert.Equal(0xA0u, _board.ReadApic(Esr));
        _board.WriteApic(Esr, 0);
        Assert.Equal(0u, _board.ReadApic(Esr));
    }

    [Fact]
    public void Interrupt_commands_find_their_destinations()
    {
        var board = new Board(3);
        board.EnableApic();
        foreach (var other in board.Others)
            other.WriteMmio(0xF0, 4, 0x1FF);
        board.Others[0].WriteMmio(0xD0, 4, 0x0200_0000);
        board.Others[1].WriteMmio(0xD0, 4, 0x0400_0000);

        board.WriteApic(IcrHigh, 0x0200_0000);
        board.WriteApic(IcrLow, 0x40);
        Assert.Equal([false, true], board.Others.Select(other => other.HasInterrupt));
        Assert.Equal(0x40, board.Others[1].AcknowledgeInterrupt());

        board.WriteApic(IcrLow, 0x0800 | 0x50);
        Assert.Equal(0x50, board.Others[0].AcknowledgeInterrupt());
        Assert.False(board.Others[1].HasInterrupt);

        board.WriteApic(IcrHigh, 0xFF00_0000);
        board.WriteApic(IcrLow, 0x60);
        Assert.Equal([0x60, 0x60], board.Others.Select(other => other.AcknowledgeInterrupt()));
        Assert.Equal(0x60, board.Apic.AcknowledgeInterrupt());

        board.WriteApic(IcrLow, 0xC_0070);
        Assert.Equal([0x70, 0x70], board.Others.Select(other => other.AcknowledgeInterrupt()));
        Assert.Equal(-1, board.Apic.AcknowledgeInterrupt());
    }

    [Fact]
    public void Cluster_destinations_match_cluster_and_member()
    {
        var board = new Board(3);
        foreach (var other in board.Others)
        {
            other.WriteMmio(0xF0, 4, 0x1FF);
            other.WriteMmio(0xE0, 4, 0x0FFF_FFFF);
        }

        board.Others[0].WriteMmio(0xD0, 4, 0x1200_0000);
        board.Others[1].WriteMmio(0xD0, 4, 0x2200_0000);
        board.WriteApic(IcrHigh, 0x2300_0000);
        board.WriteApic(IcrLow, 0x0840);
        Assert.Equal([false, true], board.Others.Select(other => other.HasInterrupt));
        board.WriteApic(IcrHigh, 0xF200_0000);
        board.WriteApic(IcrLow, 0x0850);
        Assert.Equal([true, true], board.Others.Select(other => other.HasInterrupt));
    }

    [Fact]
    public void Lowest_priority_goes_to_one_and_avoids_the_busy()
    {
        var board = new Board(2);
        board.EnableApic();
        board.Others[0].WriteMmio(0xF0, 4, 0x1FF);
        board.Apic.TaskPriority = 3;
        board.WriteApic(IcrHigh, 0xFF00_0000);
        board.WriteApic(IcrLow, 0x0100 | 0x40);
        Assert.False(board.Apic.HasInterrupt);
        Assert.True(board.Others[0].HasInterrupt);
    }

    [Fact]
    public void Nmi_init_and_startup_reach_the_processor()
    {
        var board = new Board(2);
        var sender = board.Others[0];
        sender.WriteMmio(IcrHigh, 4, 0);
        sender.WriteMmio(IcrLow, 4, 0x0400);
        Assert.Equal(1, board.Nmis);
        board.EnableApic();
        sender.WriteMmio(IcrLow, 4, 0xC500);
        sender.WriteMmio(IcrLow, 4, 0x8500);
        Assert.Equal(1, board.Inits);
        Assert.Equal(0xFFu, board.ReadApic(0xF0));
        sender.WriteMmio(IcrLow, 4, 0x0699);
        Assert.Equal([(byte)0x99], board.Startups);
        board.Interrupts.Apics.SignalNmi();
        Assert.Equal(1, board.Nmis);
        board.Apic.EnterVirtualWireMode();
        board.Interrupts.Apics.SignalNmi();
        Assert.Equal(2, board.Nmis);
    }

    [Fact]
    public void X2apic_is_entered_and_left_by_the_allowed_ways_only()
    {
        Assert.False(_board.Apic.ReadMsr(0x802, out _));
        Assert.False(_board.Apic.WriteMsr(0x1B, 0xFEE0_0400));
        Assert.True(_board.Apic.WriteMsr(0x1B, 0xFEE0_0000));
        Assert.False(_board.Apic.WriteMsr(0x1B, 0xFEE0_0C00));
        Assert.True(_board.Apic.WriteMsr(0x1B, 0xFEE0_0800));
        Assert.True(_board.Apic.WriteMsr(0x1B, 0xFEE0_0C00));
        Assert.False(_board.Apic.WriteMsr(0x1B, 0xFEE0_0800));
        Assert.False(_board.Apic.WriteMsr(0x1B, 0xFEE0_0C01));
        Assert.False(_board.Apic.OwnsMmio(0xFEE0_0000));
        _board.Apic.ReadMsr(0x1B, out var value);
        Assert.Equal(0xFEE0_0D00UL, value);
    }

    [Fact]
    public void X2apic_registers_check_what_is_written()
    {
        var apic = new Board(20).Others[17];
        apic.WriteMsr(0x1B, 0xFEE0_0C00);
        Assert.True(apic.ReadMsr(0x802, out var id));
        Assert.Equal(18UL, id);
        Assert.True(apic.ReadMsr(0x80D, out var logical));
        Assert.Equal(0x0001_0004UL, logical);
        Assert.True(apic.WriteMsr(0x80F, 0x1FF));
        Assert.False(apic.WriteMsr(0x802, 0));
        Assert.False(apic.WriteMsr(0x80B, 1));
        Assert.False(apic.WriteMsr(0x828, 1));
        Assert.False(apic.WriteMsr(0x808, 0x100));
        Assert.False(apic.WriteMsr(0x80E, 0));
        Assert.False(apic.ReadMsr(0x831, out _));
        Assert.False(apic.ReadMsr(0x8FF, out _));
        Assert.True(apic.WriteMsr(0x83F, 0x44));
        Assert.True(apic.ReadMsr(0x822, out var requests));
        Assert.Equal(0x10UL, requests);
        Assert.Equal(0x44, apic.AcknowledgeInterrupt());
        Assert.True(apic.WriteMsr(0x80B, 0));
        Assert.True(apic.WriteMsr(0x830, 18UL << 32 | 0x45));
        Assert.Equal(0x45, apic.AcknowledgeInterrupt());
        Assert.True(apic.WriteMsr(0x830, 0x0001_0004UL << 32 | 0x0846));
        Assert.False(apic.HasInterrupt);
        apic.WriteMsr(0x80B, 0);
        Assert.Equal(0x46, apic.AcknowledgeInterrupt());
    }

    [Fact]
    public void Message_signalled_interrupts_arrive()
    {
        _board.EnableApic();
        _board.Interrupts.Apics.SignalMessage(0xFEE0_0000, 0x4073);
        Assert.Equal(0x73, _board.Apic.AcknowledgeInterrupt());
        _board.Interrupts.Apics.SignalMessage(0xFEE0_1000, 0x4083);
        Assert.False(_board.Apic.HasInterrupt);
    }

    [Fact]
    public void The_state_survives_a_round_trip_with_the_timer_running()
    {
        _board.EnableApic();
        _board.WriteApic(Divide, DivideBy1);
        _board.WriteApic(LvtTimer, Periodic | 0xEC);
        _board.WriteApic(InitialCount, 1_000_000);
        SelfIpi(0x51);
        _board.Apic.AcknowledgeInterrupt();
        SelfIpi(0x61);
        _board.Pass(300_000);
        var state = _board.Apic.Save();

        var copy = new Board();
        copy.Clock.Pause();
        copy.Clock.Restore(_board.Clock.Save());
        copy.Clock.Resume();
        copy.Apic.Restore(state);
        Assert.Equal(1, copy.Requests);
        Assert.Equal(700_000u, copy.ReadApic(CurrentCount));
        Assert.Equal(0x61, copy.Apic.AcknowledgeInterrupt());
        copy.EndOfInterrupt();
        copy.EndOfInterrupt();
        Assert.False(copy.Apic.HasInterrupt);
        copy.Run(700_000);
        Assert.Equal(0xEC, copy.Apic.AcknowledgeInterrupt());
        Assert.Throws<InvalidDataException>(() => copy.Apic.Restore(state with { Requests = [] }));
        Assert.Throws<InvalidDataException>(() => copy.Apic.Restore(state with { Version = 99 }));
    }
}
