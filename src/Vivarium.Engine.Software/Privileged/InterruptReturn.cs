using Iced.Intel;
using Vivarium.Engine;

namespace Vivarium.Engine.Software.Privileged;

/// <summary>IRET, IRETD, IRETQ (SDM vol. 2, IRET; vol. 3A, 6.12.1, 6.14.3 and 20.3).</summary>
internal static unsafe class InterruptReturn
{
    /// <summary>What IRETD in real mode leaves alone: VM, VIF, VIP.</summary>
    private const ulong RealModeKept = RflagsBits.Vm | RflagsBits.Vif | RflagsBits.Vip;

    /// <summary>Segment attributes in virtual-8086 mode: present, DPL 3, writable, accessed.</summary>
    private const uint Virtual8086Attributes = 0xF3;

    private const uint TableIndicator = 4;

    public static void Register(delegate*<SoftwareVcpu, in Instruction, void>[] table)
    {
        table[(int)Mnemonic.Iret] = &Iret;
        table[(int)Mnemonic.Iretd] = &Iret;
        table[(int)Mnemonic.Iretq] = &Iret;
    }

    public static void Iret(SoftwareVcpu cpu, in Instruction insn)
    {
        int size = insn.Code switch
        {
            Code.Iretw => 2,
            Code.Iretd => 4,
            _ => 8,
        };
        if (!cpu.ProtectedMode || cpu.Virtual8086)
        {
            ReturnWithinRealOrVirtual8086(cpu, size);
        }
        else if ((cpu.S->SystemFlags & RflagsBits.Nt) != 0)
        {
            if (cpu.LongModeActive)
            {
                throw GuestException.Protection();
            }

            TaskSwitch.ThroughReturn(cpu);
        }
        else
        {
            ReturnProtected(cpu, size);
        }

        cpu.NmiBlocked = false;
        cpu.UpdateMode();
    }

    private static void ReturnWithinRealOrVirtual8086(SoftwareVcpu cpu, int size)
    {
        NativeState* s = cpu.S;
        bool virtual8086 = cpu.Virtual8086;
        bool belowIopl = virtual8086 && (s->SystemFlags & RflagsBits.Iopl) != RflagsBits.Iopl;
        if (belowIopl && (size != 2 || (s->Cr4 & Cr4Bits.Vme) == 0))
        {
            throw GuestException.Protection();
        }

        ulong rip = cpu.PeekStack(0, size);
        ushort selector = (ushort)cpu.PeekStack((uint)size, size);
        ulong flags = cpu.PeekStack((uint)size * 2, size);
        if (rip > s->Cs.Limit)
        {
            throw GuestException.Protection();
        }

        if (belowIopl)
        {
            cpu.Rflags = VirtualModeExtensions.ReturnFlags(cpu, flags, size);
        }
        else
        {
            ulong kept = RealModeKept | (virtual8086 ? RflagsBits.Iopl : 0);
            SetFlags(cpu, flags, size, ~kept);
        }

        cpu.ReleaseStack((uint)size * 3);
        s->Cs.Selector = selector;
        s->Cs.Base = (uint)selector << 4;
        cpu.NextRip = rip;
    }

    private static void ReturnProtected(SoftwareVcpu cpu, int size)
    {
        NativeState* s = cpu.S;
        ulong rip = cpu.PeekStack(0, size);
        ushort selector = (ushort)cpu.PeekStack((uint)size, size);
        ulong flags = cpu.PeekStack((uint)size * 2, size);
        if (!cpu.LongModeActive && size == 4 && cpu.Cpl == 0 && (flags & RflagsBits.Vm) != 0)
        {
            ReturnToVirtual8086(cpu, rip, selector, flags);
            return;
        }

        NativeSegment code = ReturnTarget.LoadCode(cpu, selector);
        int newCpl = selector & 3;
        int oldCpl = cpu.Cpl;

        // 64-bit mode always pops SS:RSP, the other modes only for an outer level.
        if (cpu.Code64 || newCpl != oldCpl)
        {
            ulong stackPointer = cpu.PeekStack((uint)size * 3, size);
            ushort stackSelector = (ushort)cpu.PeekStack((uint)size * 4, size);
            NativeSegment stack = ReturnTarget.LoadStack(cpu, stackSelector, code);
            ReturnTarget.CheckRip(cpu, rip, code);
            Remember(cpu, code, stack);
            s->Cs = code;
            ReturnTarget.SetStack(cpu, stack, stackPointer);
        }
        else
        {
            ReturnTarget.CheckRip(cpu, rip, code);
            cpu.ReleaseStack((uint)size * 3);
            s->Cs = code;
        }

        SetFlags(cpu, flags, size, Writable(cpu, oldCpl));
        if (newCpl != oldCpl)
        {
            ReturnTarget.DropInnerSegments(cpu, newCpl);
        }

        cpu.NextRip = rip;
    }

    /// <summary>The descriptors that translated code remembers are in another table now, or there are fewer.</summary>
    public static void Forget(NativeState* s)
    {
        s->OuterReturn.Forget();
        s->InnerReturn.Forget();
    }

    /// <summary>Keeps what was loaded from the GDT to return to 64-bit code, so that translated code can do it the next time.</summary>
    private static void Remember(SoftwareVcpu cpu, in NativeSegment code, in NativeSegment stack)
    {
        NativeState* s = cpu.S;
        int newCpl = code.Selector & 3;
        if (!cpu.Code64 || cpu.Cpl != 0 || (code.Attributes & SegmentRegister.Long) == 0 || newCpl is 1 or 2
            || ((code.Selector | stack.Selector) & TableIndicator) != 0)
        {
            return;
        }

        // The accessed flags are set by now. Translated code looks at the descriptors by the TLB.
        NativeReturn* target = newCpl == 3 ? &s->OuterReturn : &s->InnerReturn;
        target->CsDescriptor = cpu.ReadDescriptor(code.Selector).Value;
        target->Cs = code;
        target->CsSelector = code.Selector;
        _ = cpu.FindSystem(s->GdtrBase + (code.Selector & 0xFFF8u), 8);
        target->Ss = stack;
        target->SsSelector = stack.Selector;
        if (!SoftwareVcpu.IsNull(stack.Selector))
        {
            target->SsDescriptor = cpu.ReadDescriptor(stack.Selector).Value;
            _ = cpu.FindSystem(s->GdtrBase + (stack.Selector & 0xFFF8u), 8);
        }
    }

    /// <summary>From ring 0 with VM set in the flags image: nine doublewords.</summary>
    private static void ReturnToVirtual8086(SoftwareVcpu cpu, ulong rip, ushort codeSelector, ulong flags)
    {
        NativeState* s = cpu.S;
        ulong stackPointer = cpu.PeekStack(12, 4);
        ushort stackSelector = (ushort)cpu.PeekStack(16, 4);
        ushort es = (ushort)cpu.PeekStack(20, 4);
        ushort ds = (ushort)cpu.PeekStack(24, 4);
        ushort fs = (ushort)cpu.PeekStack(28, 4);
        ushort gs = (ushort)cpu.PeekStack(32, 4);
        if (rip > ushort.MaxValue)
        {
            throw GuestException.Protection();
        }

        cpu.Rflags = flags;
        s->Cs = Virtual8086Segment(codeSelector);
        s->Ss = Virtual8086Segment(stackSelector);
        s->Es = Virtual8086Segment(es);
        s->Ds = Virtual8086Segment(ds);
        s->Fs = Virtual8086Segment(fs);
        s->Gs = Virtual8086Segment(gs);
        s->Gpr[4] = (uint)stackPointer;
        cpu.NextRip = rip;
    }

    internal static NativeSegment Virtual8086Segment(ushort selector) => new()
    {
        Selector = selector,
        Base = (uint)selector << 4,
        Limit = ushort.MaxValue,
        Attributes = Virtual8086Attributes,
    };

    /// <summary>The flags that a privilege level may change by IRET: IF from IOPL on, IOPL and the virtual interrupt flags only ring 0.</summary>
    private static ulong Writable(SoftwareVcpu cpu, int cpl)
    {
        ulong writable = RflagsBits.Defined & ~(RflagsBits.Vm | RflagsBits.Vif | RflagsBits.Vip | RflagsBits.Iopl | RflagsBits.If);
        int iopl = (int)((cpu.S->SystemFlags & RflagsBits.Iopl) >> RflagsBits.IoplShift);
        if (cpl == 0)
        {
            writable |= RflagsBits.Iopl | RflagsBits.Vif | RflagsBits.Vip;
        }

        if (cpl <= iopl)
        {
            writable |= RflagsBits.If;
        }

        return writable;
    }

    private static void SetFlags(SoftwareVcpu cpu, ulong image, int size, ulong writable)
    {
        if (size == 2)
        {
            writable &= ushort.MaxValue;
        }

        cpu.Rflags = (cpu.Rflags & ~writable) | (image & writable);
    }
}
