using Iced.Intel;
using Vivarium.Engine;

namespace Vivarium.Engine.Software.Privileged;

/// <summary>Loads and stores of segment registers: MOV, PUSH, POP, LDS, LES, LFS, LGS, LSS (SDM vol. 2, MOV; vol. 3A, 5.6-5.7).</summary>
internal static unsafe class SegmentLoads
{
    /// <summary>What a segment that was unusable in protected mode becomes when real mode loads it: writable data, present.</summary>
    private const uint RealModeAttributes = 0x93;

    public static void Register(delegate*<SoftwareVcpu, in Instruction, void>[] table)
    {
        table[(int)Mnemonic.Mov] = &Move;
        table[(int)Mnemonic.Push] = &Push;
        table[(int)Mnemonic.Pop] = &Pop;
        table[(int)Mnemonic.Lds] = &LoadFarPointer;
        table[(int)Mnemonic.Les] = &LoadFarPointer;
        table[(int)Mnemonic.Lfs] = &LoadFarPointer;
        table[(int)Mnemonic.Lgs] = &LoadFarPointer;
        table[(int)Mnemonic.Lss] = &LoadFarPointer;
    }

    /// <summary>MOV to or from a segment register.</summary>
    public static void Move(SoftwareVcpu cpu, in Instruction insn)
    {
        if (insn.Op0Register.IsSegmentRegister())
        {
            int target = insn.Op0Register - Iced.Intel.Register.ES;
            ushort selector = insn.Op1Kind == OpKind.Register
                ? (ushort)cpu.ReadRegister(insn.Op1Register)
                : (ushort)cpu.Load(cpu.LinearAddress(insn, 2, Access.Read), 2);
            Load(cpu, target, selector);
            Shadow(cpu, target);
            return;
        }

        ushort value = cpu.Segment(insn.Op1Register - Iced.Intel.Register.ES)->Selector;
        StoreSelector(cpu, insn, value);
    }

    public static void Push(SoftwareVcpu cpu, in Instruction insn)
        => cpu.Push(-insn.StackPointerIncrement, cpu.Segment(insn.Op0Register - Iced.Intel.Register.ES)->Selector);

    public static void Pop(SoftwareVcpu cpu, in Instruction insn)
    {
        int target = insn.Op0Register - Iced.Intel.Register.ES;
        int size = insn.StackPointerIncrement;
        NativeSegment segment = Check(cpu, target, (ushort)cpu.PeekStack(0, size));
        cpu.ReleaseStack((uint)size);
        *cpu.Segment(target) = segment;
        Shadow(cpu, target);
        cpu.UpdateMode();
    }

    /// <summary>MOV SS and POP SS (not LSS) keep interrupts and debug events off for one instruction, so that ESP can follow.</summary>
    private static void Shadow(SoftwareVcpu cpu, int target)
    {
        if (target == SoftwareVcpu.SsIndex)
        {
            cpu.InterruptShadow = true;
            cpu.DebugShadow = true;
        }
    }

    public static void LoadFarPointer(SoftwareVcpu cpu, in Instruction insn)
    {
        int target = insn.Mnemonic switch
        {
            Mnemonic.Lds => SoftwareVcpu.DsIndex,
            Mnemonic.Les => SoftwareVcpu.EsIndex,
            Mnemonic.Lfs => SoftwareVcpu.FsIndex,
            Mnemonic.Lgs => SoftwareVcpu.GsIndex,
            _ => SoftwareVcpu.SsIndex,
        };
        int size = insn.Op0Register.GetSize();
        ulong address = cpu.LinearAddress(insn, size + 2, Access.Read);
        ulong offset = cpu.Load(address, size);
        Load(cpu, target, (ushort)cpu.Load(address + (uint)size, 2));
        cpu.WriteRegister(insn.Op0Register, offset);
    }

    /// <summary>Loads ES, SS, DS, FS or GS with all checks.</summary>
    public static void Load(SoftwareVcpu cpu, int target, ushort selector)
    {
        *cpu.Segment(target) = Check(cpu, target, selector);
        cpu.UpdateMode();
    }

    /// <summary>A null selector: no access through the segment is possible outside 64-bit mode.</summary>
    public static void MakeNull(NativeSegment* segment)
        => *segment = new NativeSegment { Attributes = SegmentRegister.Unusable };

    /// <summary>Writes a selector as MOV from a segment register, SLDT and STR do: 16 bits to memory, zero-extended to a register.</summary>
    public static void StoreSelector(SoftwareVcpu cpu, in Instruction insn, ushort value)
    {
        if (insn.Op0Kind == OpKind.Register)
        {
            cpu.WriteRegister(insn.Op0Register, value);
        }
        else
        {
            cpu.Store(cpu.LinearAddress(insn, 2, Access.Write), 2, value);
        }
    }

    /// <summary>What a segment register would hold after the load; only the descriptor's accessed bit is changed.</summary>
    private static NativeSegment Check(SoftwareVcpu cpu, int target, ushort selector)
    {
        if (target is SoftwareVcpu.CsIndex or > SoftwareVcpu.GsIndex)
        {
            throw GuestException.Undefined();
        }

        if (cpu.Virtual8086)
        {
            return InterruptReturn.Virtual8086Segment(selector);
        }

        if (!cpu.ProtectedMode)
        {
            return RealModeSegment(*cpu.Segment(target), selector);
        }

        return target == SoftwareVcpu.SsIndex ? CheckStack(cpu, selector) : CheckData(cpu, selector);
    }

    /// <summary>Real mode sets only the base: limit and attributes stay as protected mode may have left them.</summary>
    private static NativeSegment RealModeSegment(in NativeSegment old, ushort selector)
    {
        NativeSegment segment = old;
        segment.Selector = selector;
        segment.Base = (uint)selector << 4;
        if ((old.Attributes & SegmentRegister.Unusable) != 0)
        {
            segment.Attributes = RealModeAttributes;
            segment.Limit = ushort.MaxValue;
        }

        return segment;
    }

    private static NativeSegment CheckStack(SoftwareVcpu cpu, ushort selector)
    {
        int cpl = cpu.Cpl;
        if (SoftwareVcpu.IsNull(selector))
        {
            if (!cpu.Code64 || cpl == 3 || (selector & 3) != cpl)
            {
                throw GuestException.Protection();
            }

            return PrivilegeStack.NullStack(cpl);
        }

        Descriptor descriptor = cpu.ReadDescriptor(selector);
        if ((selector & 3) != cpl || !descriptor.IsWritable || descriptor.Dpl != cpl)
        {
            throw SoftwareVcpu.SelectorFault(Vector.GeneralProtection, selector);
        }

        if (!descriptor.Present)
        {
            throw SoftwareVcpu.SelectorFault(Vector.StackFault, selector);
        }

        cpu.MarkAccessed(descriptor);
        return descriptor.ToSegment(selector);
    }

    private static NativeSegment CheckData(SoftwareVcpu cpu, ushort selector)
    {
        if (SoftwareVcpu.IsNull(selector))
        {
            return new NativeSegment { Selector = selector, Attributes = SegmentRegister.Unusable };
        }

        Descriptor descriptor = cpu.ReadDescriptor(selector);
        int rpl = selector & 3;
        bool privilege = descriptor.IsConforming || (rpl <= descriptor.Dpl && cpu.Cpl <= descriptor.Dpl);
        if (!descriptor.IsReadable || !privilege)
        {
            throw SoftwareVcpu.SelectorFault(Vector.GeneralProtection, selector);
        }

        if (!descriptor.Present)
        {
            throw SoftwareVcpu.SelectorFault(Vector.SegmentNotPresent, selector);
        }

        cpu.MarkAccessed(descriptor);
        return descriptor.ToSegment(selector);
    }
}
