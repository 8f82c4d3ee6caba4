using Vivarium.Engine.Software;
using Vivarium.Engine.Software.Privileged;

namespace Vivarium.Engine.Tests.Privileged;

public sealed unsafe class ExtendedStateTests : IDisposable
{
    private const ulong Area = 0x20_0000;
    private const ulong X87 = 1, Sse = 2, Avx = 4;

    private static readonly byte[] FxsaveRbx = [0x0F, 0xAE, 0x03];
    private static readonly byte[] FxrstorRbx = [0x0F, 0xAE, 0x0B];
    private static readonly byte[] XsaveRbx = [0x48, 0x0F, 0xAE, 0x23];
    private static readonly byte[] XrstorRbx = [0x48, 0x0F, 0xAE, 0x2B];
    private static readonly byte[] XsaveoptRbx = [0x48, 0x0F, 0xAE, 0x33];
    private static readonly byte[] XsavecRbx = [0x48, 0x0F, 0xC7, 0x23];
    private static readonly byte[] Xgetbv = [0x0F, 0x01, 0xD0];
    private static readonly byte[] Xsetbv = [0x0F, 0x01, 0xD1];

    private readonly Processor _processor;

    public ExtendedStateTests()
    {
        Assert.SkipWhen(CpuModel.Missing("x86-64-v3").Count != 0, "this host has no AVX2");
        _processor = new Processor("x86-64-v3").Long();
        S->Cr4 |= Cr4Bits.OsXsave | Cr4Bits.OsFxsr;
        S->Xcr0 = X87 | Sse | Avx;
        S->Gpr[3] = Area;
        S->Gpr[0] = ulong.MaxValue;
        S->Gpr[2] = ulong.MaxValue;
    }

    public void Dispose() => _processor?.Dispose();

    private NativeState* S => _processor.S;

    private Span<byte> Own => new(S->Xsave, _processor.Cpu.Model.XsaveSize);

    private ulong InUse
    {
        get => *(ulong*)(S->Xsave + ExtendedArea.StateBitmap);
        set => *(ulong*)(S->Xsave + ExtendedArea.StateBitmap) = value;
    }

    private uint Mxcsr => *(uint*)(S->Xsave + ExtendedArea.Mxcsr);

    /// <summary>Random registers, all components in use, and the places of what the host would record cleared.</summary>
    private byte[] Fill(int seed)
    {
        new Random(seed).NextBytes(Own);
        Own.Slice(ExtendedArea.Pointers, ExtendedArea.PointersSize).Clear();
        Own.Slice(ExtendedArea.Xmm + ExtendedArea.XmmSize, ExtendedArea.LegacySize - ExtendedArea.Xmm - ExtendedArea.XmmSize).Clear();
        Own.Slice(ExtendedArea.StateBitmap, ExtendedArea.HeaderSize).Clear();
        *(uint*)(S->Xsave + ExtendedArea.Mxcsr) = 0x1FA0;
        *(uint*)(S->Xsave + ExtendedArea.MxcsrMask) = _processor.Cpu.Model.MxcsrMask;
        InUse = X87 | Sse | Avx;
        return Own.ToArray();
    }

    public static TheoryData<string> Saves => ["xsave", "xsaveopt", "xsavec"];

    private static byte[] SaveCode(string name) => name switch
    {
        "xsave" => XsaveRbx,
        "xsaveopt" => XsaveoptRbx,
        _ => XsavecRbx,
    };

    [Theory]
    [MemberData(nameof(Saves))]
    public void What_is_saved_is_restored(string save)
    {
        byte[] before = Fill(1);
        _processor.Execute(SaveCode(save));
        Fill(2);
        _processor.Execute(XrstorRbx);
        Assert.Equal(before, Own.ToArray());
    }

    [Fact]
    public void The_compacted_format_leaves_no_gaps_and_says_so()
    {
        Fill(1);
        S->Gpr[0] = Avx;
        _processor.Execute(XsavecRbx);
        Assert.Equal(Avx, _processor.Memory.Read<ulong>(Area + 512));
        Assert.Equal(Avx | (1ul << 63), _processor.Memory.Read<ulong>(Area + 520));
        var (offset, size) = _processor.Cpu.Model.XsaveComponent(2);
        var saved = new byte[size];
        _processor.Memory.Read(Area + CpuModel.XsaveExtendedOffset, saved);
        Assert.Equal(Own.Slice(offset, size).ToArray(), saved);
        Assert.Equal(0u, _processor.Memory.Read<uint>(Area + ExtendedArea.Mxcsr));
    }

    [Fact]
    public void XSAVEOPT_does_not_write_components_that_are_initial()
    {
        Fill(1);
        InUse = Sse;
        var (offset, _) = _processor.Cpu.Model.XsaveComponent(2);
        _processor.Memory.Write(Area + (uint)offset, 0xDEAD_BEEFul);
        _processor.Execute(XsaveoptRbx);
        Assert.Equal(0xDEAD_BEEFul, _processor.Memory.Read<ulong>(Area + (uint)offset));
        Assert.Equal(Sse, _processor.Memory.Read<ulong>(Area + 512));
        _processor.Execute(XsaveRbx);
        Assert.Equal(0ul, _processor.Memory.Read<ulong>(Area + (uint)offset));
    }

    [Fact]
    public void Absent_components_become_initial_and_unrequested_ones_stay()
    {
        byte[] before = Fill(1);
        _processor.Memory.Write(Area + ExtendedArea.Mxcsr, 0x1F80u);
        S->Gpr[0] = X87 | Sse;
        _processor.Execute(XrstorRbx);
        Assert.Equal(0x37F, *(ushort*)S->Xsave);
        Assert.Equal(-1, Own.Slice(ExtendedArea.Xmm, ExtendedArea.XmmSize).IndexOfAnyExcept((byte)0));
        Assert.Equal(0x1F80u, Mxcsr);
        Assert.Equal(Avx, InUse);
        var (offset, size) = _processor.Cpu.Model.XsaveComponent(2);
        Assert.Equal(before.AsSpan(offset, size).ToArray(), Own.Slice(offset, size).ToArray());
    }

    [Fact]
    public void Outside_64_bit_mode_only_eight_registers_exist()
    {
        byte[] before = Fill(1);
        _processor.Protected();
        S->Cr4 |= Cr4Bits.OsXsave;
        _processor.Memory.Write(Area + ExtendedArea.Mxcsr, 0x1F80u);
        _processor.Execute(0x0F, 0xAE, 0x2B); // XRSTOR [EBX]
        int half = ExtendedArea.XmmSize / 2;
        Assert.Equal(-1, Own.Slice(ExtendedArea.Xmm, half).IndexOfAnyExcept((byte)0));
        Assert.Equal(before.AsSpan(ExtendedArea.Xmm + half, half).ToArray(), Own.Slice(ExtendedArea.Xmm + half, half).ToArray());
    }

    [Theory]
    [InlineData(512, 8ul)] // a component that XCR0 does not enable
    [InlineData(520, 1ul)] // standard form with a compaction bitmap
    [InlineData(528, 1ul)] // reserved
    [InlineData(24, 0x1_0000ul)] // MXCSR
    [InlineData(520, (1ul << 63) | 8)] // compacted, of a component that is not enabled
    public void XRSTOR_refuses_what_the_host_would_refuse(int offset, ulong value)
    {
        byte[] before = Fill(1);
        _processor.Execute(XsaveRbx);
        _processor.Memory.Write(Area + (uint)offset, value);
        Assert.Equal(Vector.GeneralProtection, _processor.Faults(XrstorRbx).Vector);
        Assert.Equal(before, Own.ToArray());
    }

    [Fact]
    public void Areas_are_aligned()
    {
        S->Gpr[3] = Area + 16;
        Assert.Equal(Vector.GeneralProtection, _processor.Faults(XsaveRbx).Vector);
        _processor.Execute(FxsaveRbx);
        S->Gpr[3] = Area + 8;
        Assert.Equal(Vector.GeneralProtection, _processor.Faults(FxsaveRbx).Vector);
    }

    [Fact]
    public void Task_switched_and_disabled_state_faults()
    {
        S->Cr0 |= Cr0Bits.Ts;
        Assert.Equal(Vector.DeviceNotAvailable, _processor.Faults(XsaveRbx).Vector);
        Assert.Equal(Vector.DeviceNotAvailable, _processor.Faults(FxrstorRbx).Vector);
        S->Cr4 &= ~Cr4Bits.OsXsave;
        Assert.Equal(Vector.InvalidOpcode, _processor.Faults(XrstorRbx).Vector);
        Assert.Equal(Vector.InvalidOpcode, _processor.Faults(Xgetbv).Vector);
    }

    [Fact]
    public void A_fault_in_the_area_saves_nothing()
    {
        Fill(1);
        _processor.Memory.Write(0x6010, 0ul);
        _processor.Cpu.FlushTlb(keepGlobal: false);
        S->Gpr[3] = 0x40_0000 - 0x200; // the header is in the missing page
        Assert.Equal(Vector.PageFault, _processor.Faults(XsaveRbx).Vector);
        Assert.Equal(0ul, _processor.Memory.Read<ulong>(0x40_0000 - 0x200));
    }

    [Fact]
    public void FXSAVE_hides_host_addresses_and_comes_back()
    {
        byte[] before = Fill(1);
        *(ulong*)(S->Xsave + ExtendedArea.Pointers) = 0x7F00_1234_5678;
        _processor.Execute(FxsaveRbx);
        Assert.Equal(0ul, _processor.Memory.Read<ulong>(Area + ExtendedArea.Pointers));
        Fill(2);
        _processor.Execute(FxrstorRbx);
        Assert.Equal(before.AsSpan(0, ExtendedArea.LegacySize).ToArray(), Own[..ExtendedArea.LegacySize].ToArray());
        _processor.Memory.Write(Area + ExtendedArea.Mxcsr, 0x1_0000u);
        Assert.Equal(Vector.GeneralProtection, _processor.Faults(FxrstorRbx).Vector);
    }

    [Theory]
    [InlineData(0ul, false)] // x87 is always enabled
    [InlineData(X87, true)]
    [InlineData(X87 | Sse, true)]
    [InlineData(X87 | Avx, false)]
    [InlineData(X87 | Sse | Avx, true)]
    [InlineData(X87 | Sse | (1 << 3), false)]
    [InlineData(X87 | Sse | Avx | (1 << 5), false)]
    [InlineData(X87 | (1ul << 63), false)]
    public void XCR0_takes_valid_combinations(ulong value, bool valid)
    {
        S->Gpr[0] = (uint)value;
        S->Gpr[1] = 0;
        S->Gpr[2] = value >> 32;
        if (!valid)
        {
            Assert.Equal(Vector.GeneralProtection, _processor.Faults(Xsetbv).Vector);
            return;
        }

        _processor.Execute(Xsetbv);
        _processor.Execute(Xgetbv);
        Assert.Equal(value, S->Gpr[0]);
    }
}
