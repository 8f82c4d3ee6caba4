using System.Runtime.CompilerServices;
using Iced.Intel;
using static Vivarium.Engine.Software.Privileged.ExtendedArea;

namespace Vivarium.Engine.Software.Privileged;

/// <summary>
/// FXSAVE, FXRSTOR, XSAVE, XSAVEOPT, XSAVEC, XRSTOR, XGETBV, XSETBV (SDM vol. 1, chapter 13). While C# runs, the guest's
/// x87 and vector state stands in the vCPU's own area in standard format, so these are checked copies. The host loads that area with
/// its own XRSTOR, which must never fault: nothing gets into its MXCSR and header unchecked.
/// </summary>
internal static unsafe class ExtendedState
{
    private const int Rax = 0, Rcx = 1, Rdx = 2;
    private const ulong LegacyComponents = 3;

    public static void Register(delegate*<SoftwareVcpu, in Instruction, void>[] table)
    {
        table[(int)Mnemonic.Fxsave] = &Fxsave;
        table[(int)Mnemonic.Fxsave64] = &Fxsave;
        table[(int)Mnemonic.Fxrstor] = &Fxrstor;
        table[(int)Mnemonic.Fxrstor64] = &Fxrstor;
        table[(int)Mnemonic.Xsave] = &Xsave;
        table[(int)Mnemonic.Xsave64] = &Xsave;
        table[(int)Mnemonic.Xsaveopt] = &Xsaveopt;
        table[(int)Mnemonic.Xsaveopt64] = &Xsaveopt;
        table[(int)Mnemonic.Xsavec] = &Xsavec;
        table[(int)Mnemonic.Xsavec64] = &Xsavec;
        table[(int)Mnemonic.Xrstor] = &Xrstor;
        table[(int)Mnemonic.Xrstor64] = &Xrstor;
        table[(int)Mnemonic.Xgetbv] = &Xgetbv;
        table[(int)Mnemonic.Xsetbv] = &Xsetbv;
        table[(int)Mnemonic.Wait] = &Wait;
    }

    /// <summary>XINUSE: the components that are not in their initial configuration.</summary>
    private static ref ulong InUse(SoftwareVcpu cpu) => ref *(ulong*)(cpu.S->Xsave + StateBitmap);

    private static ref uint MxcsrOf(SoftwareVcpu cpu) => ref *(uint*)(cpu.S->Xsave + Mxcsr);

    /// <summary>WAIT: unlike other x87 instructions it heeds CR0.TS only with CR0.MP, and CR0.EM not at all (SDM vol. 3A, table 9-3).</summary>
    private static void Wait(SoftwareVcpu cpu, in Instruction insn)
    {
        const int statusWord = 2;
        const ushort exceptionSummary = 1 << 7;
        if ((~cpu.S->Cr0 & (Cr0Bits.Ts | Cr0Bits.Mp)) == 0)
        {
            throw new GuestException(Vector.DeviceNotAvailable);
        }

        if ((*(ushort*)(cpu.S->Xsave + statusWord) & exceptionSummary) != 0 && (InUse(cpu) & (1ul << X87)) != 0)
        {
            throw new GuestException(Vector.X87);
        }
    }

    private static void Fxsave(SoftwareVcpu cpu, in Instruction insn)
    {
        const ulong alignment = 16;
        CheckFxAvailable(cpu);
        ulong area = Operand(cpu, insn, LegacySize, alignment, Access.Write);
        Materialize(cpu);
        cpu.Probe(area, LegacySize, Access.Write);
        var target = new SaveTarget(cpu, area, LegacySize);
        StoreX87(cpu, target);
        StoreMxcsr(cpu, target);
        StoreXmm(cpu, target);
    }

    private static void Fxrstor(SoftwareVcpu cpu, in Instruction insn)
    {
        const ulong alignment = 16;
        CheckFxAvailable(cpu);
        ulong area = Operand(cpu, insn, LegacySize, alignment, Access.Read);
        Span<byte> image = stackalloc byte[LegacySize];
        cpu.LoadBytes(area, image);
        uint mxcsr = Unsafe.ReadUnaligned<uint>(ref image[Mxcsr]);
        CheckMxcsr(cpu, mxcsr);

        Materialize(cpu);
        LoadX87(cpu, image);
        LoadXmm(cpu, image);
        MxcsrOf(cpu) = mxcsr;
        InUse(cpu) |= LegacyComponents;
    }

    private static void Xsave(SoftwareVcpu cpu, in Instruction insn) => SaveStandard(cpu, insn, ulong.MaxValue);

    /// <summary>As XSAVE, but components in their initial configuration are not written (the init optimization).</summary>
    private static void Xsaveopt(SoftwareVcpu cpu, in Instruction insn) => SaveStandard(cpu, insn, InUse(cpu));

    private static void SaveStandard(SoftwareVcpu cpu, in Instruction insn, ulong written)
    {
        ulong requested = Requested(cpu);
        int size = cpu.Model.StandardXsaveSize(requested);
        ulong area = XsaveOperand(cpu, insn, size, Access.Write);
        cpu.Probe(area, size, Access.Write);
        ulong oldBitmap = cpu.Load(area + StateBitmap, 8);
        Materialize(cpu);
        var target = new SaveTarget(cpu, area, size);
        StoreLegacy(cpu, target, requested & written);
        if ((requested & (1ul << Sse | 1ul << Avx)) != 0)
        {
            StoreMxcsr(cpu, target);
        }

        for (int i = Avx; i <= Hi16Zmm; i++)
        {
            if ((requested & written & (1ul << i)) != 0)
            {
                StoreComponent(cpu, target, i, cpu.Model.XsaveComponent(i).Offset);
            }
        }

        target.Store(StateBitmap, (oldBitmap & ~requested) | (InUse(cpu) & requested));
    }

    private static void Xsavec(SoftwareVcpu cpu, in Instruction insn)
    {
        ulong requested = Requested(cpu);
        int size = cpu.Model.CompactedXsaveSize(requested);
        ulong area = XsaveOperand(cpu, insn, size, Access.Write);
        cpu.Probe(area, size, Access.Write);
        ulong saved = InUse(cpu) & requested;
        if (MxcsrOf(cpu) != InitialMxcsr)
        {
            saved |= requested & (1ul << Sse);
        }

        Materialize(cpu);
        var target = new SaveTarget(cpu, area, size);
        StoreLegacy(cpu, target, saved);
        if ((saved & (1ul << Sse)) != 0)
        {
            StoreMxcsr(cpu, target);
        }

        for (int i = Avx; i <= Hi16Zmm; i++)
        {
            if ((saved & (1ul << i)) != 0)
            {
                StoreComponent(cpu, target, i, CompactedOffset(cpu.Model, requested, i));
            }
        }

        target.Store(StateBitmap, saved);
        target.Store(CompactionBitmap, requested | Compacted);
    }

    private static void Xrstor(SoftwareVcpu cpu, in Instruction insn)
    {
        ulong requested = Requested(cpu);
        ulong area = XsaveOperand(cpu, insn, CpuModel.XsaveExtendedOffset, Access.Read);
        Span<byte> image = stackalloc byte[CpuModel.MaxXsaveSize];
        cpu.LoadBytes(area, image[..CpuModel.XsaveExtendedOffset]);
        ulong present = Unsafe.ReadUnaligned<ulong>(ref image[StateBitmap]);
        ulong compaction = Unsafe.ReadUnaligned<ulong>(ref image[CompactionBitmap]);
        bool compacted = CheckHeader(cpu, present, compaction, image.Slice(StateBitmap, HeaderSize));
        ulong layout = compaction & ~Compacted;
        int size = compacted ? cpu.Model.CompactedXsaveSize(layout) : cpu.Model.StandardXsaveSize(requested & present);
        if (size > CpuModel.XsaveExtendedOffset)
        {
            cpu.LoadBytes(
                cpu.LinearAddress(insn, size, Access.Read) + CpuModel.XsaveExtendedOffset,
                image[CpuModel.XsaveExtendedOffset..size]);
        }

        uint mxcsr = NewMxcsr(cpu, image, requested, present, compacted);
        CheckMxcsr(cpu, mxcsr);

        // From here on nothing can fail.
        Materialize(cpu);
        MxcsrOf(cpu) = mxcsr;
        RestoreLegacy(cpu, image, requested, present);
        for (int i = Avx; i <= Hi16Zmm; i++)
        {
            if ((requested & (1ul << i)) != 0)
            {
                int offset = compacted ? CompactedOffset(cpu.Model, layout, i) : cpu.Model.XsaveComponent(i).Offset;
                RestoreComponent(cpu, image, i, (present & (1ul << i)) != 0 ? offset : -1);
            }
        }

        // Outside 64-bit mode the registers above 7 keep their values, whatever the image says.
        ulong kept = cpu.Code64 ? InUse(cpu) & ~requested : InUse(cpu);
        InUse(cpu) = kept | (present & requested);
    }

    private static void Xgetbv(SoftwareVcpu cpu, in Instruction insn)
    {
        CheckOsXsave(cpu);
        ulong value = (uint)cpu.S->Gpr[Rcx] switch
        {
            0 => cpu.S->Xcr0,
            1 when cpu.Model.Has(CpuFeature.Xgetbv1) => cpu.S->Xcr0 & InUse(cpu),
            _ => throw GuestException.Protection(),
        };
        cpu.WriteGpr(Rax, 4, value);
        cpu.WriteGpr(Rdx, 4, value >> 32);
    }

    private static void Xsetbv(SoftwareVcpu cpu, in Instruction insn)
    {
        const ulong avx = 1ul << Avx, sse = 1ul << Sse, avx512 = 7ul << Opmask;
        CheckOsXsave(cpu);
        cpu.RequireRing0();
        ulong value = EdxEax(cpu);
        bool valid = (uint)cpu.S->Gpr[Rcx] == 0
            && (value & (1ul << X87)) != 0
            && (value & ~cpu.Model.XsaveMask) == 0
            && ((value & avx) == 0 || (value & sse) != 0)
            && ((value & avx512) == 0 || (value & (avx512 | avx)) == (avx512 | avx));
        if (!valid)
        {
            throw GuestException.Protection();
        }

        cpu.S->Xcr0 = value;
        cpu.UpdateMode();
    }

    private static void CheckFxAvailable(SoftwareVcpu cpu)
    {
        if ((cpu.S->Cr0 & Cr0Bits.Em) != 0)
        {
            throw GuestException.Undefined();
        }

        CheckTaskSwitched(cpu);
    }

    private static void CheckOsXsave(SoftwareVcpu cpu)
    {
        if ((cpu.S->Cr4 & Cr4Bits.OsXsave) == 0)
        {
            throw GuestException.Undefined();
        }
    }

    private static void CheckTaskSwitched(SoftwareVcpu cpu)
    {
        if ((cpu.S->Cr0 & Cr0Bits.Ts) != 0)
        {
            throw new GuestException(Vector.DeviceNotAvailable);
        }
    }

    private static void CheckMxcsr(SoftwareVcpu cpu, uint mxcsr)
    {
        if ((mxcsr & ~cpu.Model.MxcsrMask) != 0)
        {
            throw GuestException.Protection();
        }
    }

    /// <summary>XRSTOR's rules for the header (SDM vol. 1, 13.8). Returns whether the area is compacted.</summary>
    private static bool CheckHeader(SoftwareVcpu cpu, ulong present, ulong compaction, ReadOnlySpan<byte> header)
    {
        const int standardReserved = 8, standardReservedEnd = 24, compactedReserved = 16;
        bool compacted = (compaction & Compacted) != 0;
        ulong allowed = cpu.S->Xcr0;
        bool valid = compacted
            ? cpu.Model.Has(CpuFeature.XsaveC)
                && (compaction & ~Compacted & ~allowed) == 0
                && (present & ~compaction) == 0
                && header[compactedReserved..].IndexOfAnyExcept((byte)0) < 0
            : header[standardReserved..standardReservedEnd].IndexOfAnyExcept((byte)0) < 0;
        if (!valid || (present & ~allowed) != 0)
        {
            throw GuestException.Protection();
        }

        return compacted;
    }

    /// <summary>The standard form loads MXCSR with either SSE or AVX, whether present or not; the compacted form treats it as part of SSE.</summary>
    private static uint NewMxcsr(SoftwareVcpu cpu, ReadOnlySpan<byte> image, ulong requested, ulong present, bool compacted)
    {
        uint inImage = Unsafe.ReadUnaligned<uint>(in image[Mxcsr]);
        if (compacted)
        {
            return (requested & (1ul << Sse)) == 0 ? MxcsrOf(cpu)
                : (present & (1ul << Sse)) != 0 ? inImage
                : InitialMxcsr;
        }

        return (requested & (1ul << Sse | 1ul << Avx)) != 0 ? inImage : MxcsrOf(cpu);
    }

    /// <summary>RFBM: what EDX:EAX asks for of what XCR0 enables.</summary>
    private static ulong Requested(SoftwareVcpu cpu) => EdxEax(cpu) & cpu.S->Xcr0;

    private static ulong EdxEax(SoftwareVcpu cpu) => (cpu.S->Gpr[Rdx] << 32) | (uint)cpu.S->Gpr[Rax];

    private static ulong XsaveOperand(SoftwareVcpu cpu, in Instruction insn, int size, Access access)
    {
        const ulong alignment = 64;
        CheckOsXsave(cpu);
        CheckTaskSwitched(cpu);
        return Operand(cpu, insn, size, alignment, access);
    }

    private static ulong Operand(SoftwareVcpu cpu, in Instruction insn, int size, ulong alignment, Access access)
    {
        ulong linear = cpu.LinearAddress(insn, size, access);
        return (linear & (alignment - 1)) == 0 ? linear : throw GuestException.Protection();
    }

    /// <summary>
    /// Writes initial values where the header says that a component is in its initial configuration, so that copies
    /// need not ask; and forgets the x87 instruction and data pointers, which the host recorded as addresses of its own.
    /// </summary>
    private static void Materialize(SoftwareVcpu cpu)
    {
        byte* own = cpu.S->Xsave;
        ulong initial = cpu.Model.XsaveMask & ~InUse(cpu);
        if ((initial & (1ul << X87)) != 0)
        {
            InitializeX87(own);
        }

        if ((initial & (1ul << Sse)) != 0)
        {
            Unsafe.InitBlockUnaligned(own + Xmm, 0, XmmSize);
        }

        for (int i = Avx; i <= Hi16Zmm; i++)
        {
            if ((initial & (1ul << i)) != 0)
            {
                var (offset, size) = cpu.Model.XsaveComponent(i);
                Unsafe.InitBlockUnaligned(own + offset, 0, (uint)size);
            }
        }

        Unsafe.InitBlockUnaligned(own + Pointers, 0, PointersSize);
    }

    private static void InitializeX87(byte* own)
    {
        Unsafe.InitBlockUnaligned(own, 0, ControlSize + PointersSize);
        Unsafe.InitBlockUnaligned(own + StackRegisters, 0, StackRegistersSize);
        *(ushort*)(own + ControlWord) = InitialControlWord;
    }

    /// <summary>Where a save area goes to, which may be written: to its bytes where translated code may write them, too.</summary>
    private readonly ref struct SaveTarget(SoftwareVcpu cpu, ulong area, int size)
    {
        private readonly byte* _host = cpu.Stepping ? null : cpu.FindWritable(area, size, cpu.DataSpace);

        public void Store(int offset, ReadOnlySpan<byte> data)
        {
            if (_host != null)
            {
                data.CopyTo(new Span<byte>(_host + offset, data.Length));
            }
            else
            {
                cpu.StoreBytes(area + (uint)offset, data);
            }
        }

        public void Store(int offset, ulong value) => Store(offset, new ReadOnlySpan<byte>(&value, sizeof(ulong)));
    }

    private static void StoreLegacy(SoftwareVcpu cpu, in SaveTarget target, ulong components)
    {
        if ((components & (1ul << X87)) != 0)
        {
            StoreX87(cpu, target);
        }

        if ((components & (1ul << Sse)) != 0)
        {
            StoreXmm(cpu, target);
        }
    }

    private static void StoreX87(SoftwareVcpu cpu, in SaveTarget target)
    {
        target.Store(0, new ReadOnlySpan<byte>(cpu.S->Xsave, ControlSize + PointersSize));
        target.Store(StackRegisters, new ReadOnlySpan<byte>(cpu.S->Xsave + StackRegisters, StackRegistersSize));
    }

    private static void StoreMxcsr(SoftwareVcpu cpu, in SaveTarget target)
        => target.Store(Mxcsr, MxcsrOf(cpu) | ((ulong)cpu.Model.MxcsrMask << 32));

    private static void StoreXmm(SoftwareVcpu cpu, in SaveTarget target)
        => target.Store(Xmm, new ReadOnlySpan<byte>(cpu.S->Xsave + Xmm, AccessibleSize(Sse, XmmSize, cpu.Code64)));

    private static void StoreComponent(SoftwareVcpu cpu, in SaveTarget target, int component, int offset)
    {
        var (own, size) = cpu.Model.XsaveComponent(component);
        size = AccessibleSize(component, size, cpu.Code64);
        target.Store(offset, new ReadOnlySpan<byte>(cpu.S->Xsave + own, size));
    }

    private static void RestoreLegacy(SoftwareVcpu cpu, ReadOnlySpan<byte> image, ulong requested, ulong present)
    {
        if ((requested & (1ul << X87)) != 0)
        {
            if ((present & (1ul << X87)) != 0)
            {
                LoadX87(cpu, image);
            }
            else
            {
                InitializeX87(cpu.S->Xsave);
            }
        }

        if ((requested & (1ul << Sse)) != 0)
        {
            if ((present & (1ul << Sse)) != 0)
            {
                LoadXmm(cpu, image);
            }
            else
            {
                new Span<byte>(cpu.S->Xsave + Xmm, AccessibleSize(Sse, XmmSize, cpu.Code64)).Clear();
            }
        }
    }

    /// <summary>Copies a component in; an offset of -1 means its initial configuration.</summary>
    private static void RestoreComponent(SoftwareVcpu cpu, ReadOnlySpan<byte> image, int component, int offset)
    {
        var (own, size) = cpu.Model.XsaveComponent(component);
        size = AccessibleSize(component, size, cpu.Code64);
        var target = new Span<byte>(cpu.S->Xsave + own, size);
        if (offset < 0)
        {
            target.Clear();
        }
        else
        {
            image.Slice(offset, size).CopyTo(target);
        }
    }

    private static void LoadX87(SoftwareVcpu cpu, ReadOnlySpan<byte> image)
    {
        image[..ControlSize].CopyTo(new Span<byte>(cpu.S->Xsave, ControlSize));
        image.Slice(StackRegisters, StackRegistersSize).CopyTo(new Span<byte>(cpu.S->Xsave + StackRegisters, StackRegistersSize));
    }

    private static void LoadXmm(SoftwareVcpu cpu, ReadOnlySpan<byte> image)
    {
        int size = AccessibleSize(Sse, XmmSize, cpu.Code64);
        image.Slice(Xmm, size).CopyTo(new Span<byte>(cpu.S->Xsave + Xmm, size));
    }

    private static int CompactedOffset(CpuModel model, ulong layout, int component)
    {
        int offset = model.CompactedXsaveSize(layout & ((1ul << component) - 1));
        return model.XsaveComponentAligned(component) ? (offset + 63) & ~63 : offset;
    }
}
