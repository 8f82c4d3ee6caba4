using Vivarium.Engine.Software;
using Vivarium.Engine.Software.Privileged;

namespace Vivarium.Engine.Tests.Privileged;

public sealed unsafe class MsrTests : IDisposable
{
    private readonly Processor _processor = new Processor().Long();

    public void Dispose() => _processor.Dispose();

    private bool Write(uint index, ulong value)
    {
        _processor.S->Gpr[0] = (uint)value | 0xABCD_0000_0000_0000; // the upper halves are ignored
        _processor.S->Gpr[1] = index | 0xABCD_0000_0000_0000;
        _processor.S->Gpr[2] = value >> 32;
        _processor.Execute(0x0F, 0x30);
        return !Raised();
    }

    private ulong? Read(uint index)
    {
        _processor.S->Gpr[1] = index;
        _processor.Execute(0x0F, 0x32);
        return Raised() ? null : (_processor.S->Gpr[2] << 32) | _processor.S->Gpr[0];
    }

    private bool Raised()
    {
        bool raised = _processor.Cpu.RaisedFault.Raised;
        _processor.Cpu.RaisedFault = default;
        return raised;
    }

    [Theory]
    [InlineData(MsrIndex.Star, 0x0023_0010_1234_5678ul)]
    [InlineData(MsrIndex.Lstar, 0xFFFF_8000_0000_1000ul)]
    [InlineData(MsrIndex.SyscallMask, 0x47700ul)]
    [InlineData(MsrIndex.FsBase, 0x7FFF_0000_1000ul)]
    [InlineData(MsrIndex.KernelGsBase, 0xFFFF_8880_0000_0000ul)]
    [InlineData(MsrIndex.SysenterEip, 0xFFFF_FFFF_8100_0000ul)]
    [InlineData(MsrIndex.TscAux, 0x1003ul)]
    [InlineData(MsrIndex.Pat, 0x0007_0106_0007_0406ul)]
    [InlineData(MsrIndex.MtrrPhysicalBase0, 0xC000_0000ul)]
    public void Registers_keep_what_is_written(uint index, ulong value)
    {
        Assert.True(Write(index, value));
        Assert.Equal(value, Read(index));
    }

    [Theory]
    [InlineData(MsrIndex.Lstar, 0x0000_8000_0000_0000ul)] // not canonical
    [InlineData(MsrIndex.GsBase, 0x0000_8000_0000_0000ul)]
    [InlineData(MsrIndex.SyscallMask, 0x1_0000_0000ul)]
    [InlineData(MsrIndex.TscAux, 0x1_0000_0000ul)]
    [InlineData(MsrIndex.Pat, 2ul)] // a reserved memory type
    [InlineData(MsrIndex.MtrrDefaultType, 7ul)]
    [InlineData(MsrIndex.MtrrPhysicalBase0, 1ul << CpuModel.PhysicalAddressBits)]
    [InlineData(MsrIndex.MtrrCapabilities, 0ul)] // read-only
    [InlineData(MsrIndex.Efer, 1ul << 1)]
    [InlineData(0xDEADu, 0ul)]
    public void Invalid_values_and_unknown_registers_are_refused(uint index, ulong value)
    {
        ulong? before = Read(index);
        Assert.False(Write(index, value));
        Assert.Equal(before, Read(index));
    }

    [Fact]
    public void EFER_keeps_LMA_and_does_not_change_LME_under_paging()
    {
        Assert.False(Write(MsrIndex.Efer, 0));
        Assert.True(Write(MsrIndex.Efer, EferBits.Lme | EferBits.Sce)); // LMA written as 0 stays
        Assert.Equal(EferBits.Lme | EferBits.Lma | EferBits.Sce, Read(MsrIndex.Efer));
    }

    [Fact]
    public void The_TSC_and_its_adjustment_move_together()
    {
        Assert.True(Write(MsrIndex.Tsc, 0));
        ulong adjust = Read(MsrIndex.TscAdjust)!.Value;
        Assert.NotEqual(0ul, adjust);
        Assert.InRange(Read(MsrIndex.Tsc)!.Value, 0ul, 20_000_000_000ul);
        Assert.True(Write(MsrIndex.TscAdjust, adjust + (1ul << 40)));
        Assert.InRange(Read(MsrIndex.Tsc)!.Value, 1ul << 40, (1ul << 40) + 20_000_000_000ul);
    }

    [Fact]
    public void They_are_for_ring_0()
    {
        _processor.Long(3);
        Assert.Equal(Vector.GeneralProtection, _processor.Faults(0x0F, 0x32).Vector);
        Assert.Equal(Vector.GeneralProtection, _processor.Faults(0x0F, 0x30).Vector);
    }

    [Fact]
    public void State_survives_saving_and_loading()
    {
        Assert.True(Write(MsrIndex.Lstar, 0x1234));
        Assert.True(Write(MsrIndex.MtrrPhysicalBase0, 0xC000_0000));
        SortedDictionary<uint, ulong> saved = [];
        _processor.Cpu.SaveMsrs(saved);
        using var other = new Processor();
        other.Cpu.LoadMsrs(saved);
        SortedDictionary<uint, ulong> again = [];
        other.Cpu.SaveMsrs(again);
        Assert.InRange(again[MsrIndex.Tsc] - saved[MsrIndex.Tsc], 0ul, 20_000_000_000ul);
        saved[MsrIndex.Tsc] = again[MsrIndex.Tsc];
        Assert.Equal(saved, again);
    }
}
