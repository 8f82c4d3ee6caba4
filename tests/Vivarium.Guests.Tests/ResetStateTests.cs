using Vivarium.Cpu;
using Vivarium.Engine;
using Xunit;

namespace Vivarium.Guests.Tests;

/// <summary>The table of states after power-up and INIT (SDM vol. 3A, 10.1.1), and where a start-up message leads.</summary>
public sealed class ResetStateTests
{
    private const uint Signature = 0x00A0_0F11;
    private const uint Pat = 0x277;

    [Fact]
    public void Power_up_is_real_mode_at_the_reset_vector()
    {
        CpuState state = ResetState.PowerUp(Signature);
        Assert.Equal(0xFFF0ul, state.Rip);
        Assert.Equal(0xF000, state.Segments[1].Selector);
        Assert.Equal(0xFFFF_0000ul, state.Segments[1].Base);
        Assert.Equal(0x6000_0010ul, state.Cr0);
        Assert.Equal(Signature, state.Gpr[2]);
        Assert.Equal(2ul, state.Rflags);
        Assert.Equal(0x7F, state.Xsave[0]);
        Assert.Equal(0x0007_0406_0007_0406ul, state.Msrs[Pat]);
    }

    [Fact]
    public void Init_leaves_extended_state_and_model_specific_registers_alone()
    {
        var state = new CpuState
        {
            Cr0 = 0xC000_0033,
            Cr3 = 0x1000,
            Cr4 = 0x20,
            Efer = 0x500,
            Xcr0 = 7,
            Halted = true,
            NmiBlocked = true,
            NmiPending = true,
            InterruptShadow = true,
        };
        state.Gpr[4] = 5;
        state.Xsave[100] = 1;
        state.Msrs[0x10] = 12345;
        state.Dr[0] = 1;
        ResetState.Initialize(state, Signature);
        Assert.Equal(0x4000_0010ul, state.Cr0);
        Assert.Equal((0ul, 0ul, 0ul), (state.Cr3, state.Cr4, state.Efer));
        Assert.Equal(7ul, state.Xcr0);
        Assert.Equal(1, state.Xsave[100]);
        Assert.Equal(0ul, state.Gpr[4]);
        Assert.Equal((0ul, 0xFFFF_0FF0ul, 0x400ul), (state.Dr[0], state.Dr[6], state.Dr[7]));
        Assert.False(state.Halted || state.NmiBlocked || state.NmiPending || state.InterruptShadow);

        // What the record does not name keeps its value, the time-stamp counter to the tick.
        Assert.Empty(state.Msrs);
    }

    [Theory]
    [InlineData(0x00, 0x0000, 0ul)]
    [InlineData(0x9A, 0x9A00, 0x9_A000ul)]
    [InlineData(0xFF, 0xFF00, 0xF_F000ul)]
    public void A_start_up_message_leads_to_its_page(byte vector, ushort selector, ulong address)
    {
        CpuState state = ResetState.PowerUp(Signature);
        ResetState.Start(state, vector);
        Assert.Equal(0ul, state.Rip);
        Assert.Equal(selector, state.Segments[1].Selector);
        Assert.Equal(address, state.Segments[1].Base);
        Assert.Equal(0xFFFFu, state.Segments[1].Limit);
    }
}
