using Vivarium.Engine;

namespace Vivarium.Engine.Software.Privileged;

/// <summary>Hardware task switches (SDM vol. 3A, chapter 7).</summary>
internal static unsafe class TaskSwitch
{
    private const ulong LocalBreakpoints = 0x155;
    private const ulong DebugTaskSwitch = 1 << 15;

    private enum Reason
    {
        Jump,
        Call,
        Interrupt,
        Return,
    }

    public static void ThroughJump(SoftwareVcpu cpu, in Descriptor descriptor, ushort selector)
        => ThroughTransfer(cpu, descriptor, selector, Reason.Jump);

    public static void ThroughCall(SoftwareVcpu cpu, in Descriptor descriptor, ushort selector)
        => ThroughTransfer(cpu, descriptor, selector, Reason.Call);

    /// <summary>An interrupt or exception through a task gate; the error code goes to the new task's stack.</summary>
    public static void ThroughInterrupt(SoftwareVcpu cpu, ushort tssSelector, ulong flags, ulong returnAddress, uint? errorCode, uint external)
    {
        Descriptor tss = ReadTss(cpu, tssSelector, external);
        TssLayout layout = Switch(cpu, tss, tssSelector, Reason.Interrupt, flags, returnAddress, external);
        if (errorCode is { } code)
        {
            ulong pointer = cpu.PushFrame(cpu.CurrentStack(external), [code], layout.RegisterSize);
            cpu.SetStackPointer(pointer);
        }
    }

    /// <summary>IRET with EFLAGS.NT: back to the task that the TSS links to.</summary>
    public static void ThroughReturn(SoftwareVcpu cpu)
    {
        var selector = (ushort)cpu.LoadSystem(cpu.S->Tr.Base, 2);
        if ((selector & 4) != 0 || SoftwareVcpu.IsNull(selector))
        {
            throw SoftwareVcpu.SelectorFault(Vector.InvalidTss, selector);
        }

        Descriptor tss = cpu.ReadDescriptor(selector, Vector.InvalidTss);
        if (!tss.IsSystem || tss.Type is not (SystemType.BusyTss or SystemType.BusyTss16))
        {
            throw SoftwareVcpu.SelectorFault(Vector.InvalidTss, selector);
        }

        Switch(cpu, tss, selector, Reason.Return, cpu.Rflags & ~RflagsBits.Nt, cpu.NextRip, 0);
    }

    private static void ThroughTransfer(SoftwareVcpu cpu, in Descriptor descriptor, ushort selector, Reason reason)
    {
        if (descriptor.Dpl < cpu.Cpl || descriptor.Dpl < (selector & 3))
        {
            throw SoftwareVcpu.SelectorFault(Vector.GeneralProtection, selector);
        }

        if (!descriptor.Present)
        {
            throw SoftwareVcpu.SelectorFault(Vector.SegmentNotPresent, selector);
        }

        Descriptor tss = descriptor;
        ushort tssSelector = selector;
        if (descriptor.Type == SystemType.TaskGate)
        {
            tssSelector = new Gate(descriptor.Value, 0).Selector;
            tss = ReadTss(cpu, tssSelector, 0);
        }

        Switch(cpu, tss, tssSelector, reason, cpu.Rflags, cpu.NextRip, 0);
    }

    /// <summary>The TSS that a task gate names: in the GDT and available.</summary>
    private static Descriptor ReadTss(SoftwareVcpu cpu, ushort selector, uint external)
    {
        if ((selector & 4) != 0 || SoftwareVcpu.IsNull(selector))
        {
            throw SoftwareVcpu.SelectorFault(Vector.GeneralProtection, selector, external);
        }

        Descriptor tss = cpu.ReadDescriptor(selector, external: external);
        return tss.IsSystem && tss.Type is SystemType.AvailableTss or SystemType.AvailableTss16
            ? tss
            : throw SoftwareVcpu.SelectorFault(Vector.GeneralProtection, selector, external);
    }

    private static TssLayout Switch(SoftwareVcpu cpu, in Descriptor tss, ushort selector, Reason reason, ulong flags, ulong returnAddress, uint external)
    {
        NativeState* s = cpu.S;
        TssLayout layout = TssLayout.Of(tss.Type);
        if (!tss.Present)
        {
            throw SoftwareVcpu.SelectorFault(Vector.SegmentNotPresent, selector, external);
        }

        if (tss.Limit < layout.Length - 1)
        {
            throw SoftwareVcpu.SelectorFault(Vector.InvalidTss, selector, external);
        }

        // Whatever may fault in the old task faults here.
        TssLayout old = TssLayout.Of(s->Tr.Attributes);
        if (s->Tr.Limit < old.Length - 1)
        {
            throw SoftwareVcpu.SelectorFault(Vector.InvalidTss, s->Tr.Selector, external);
        }

        cpu.Probe(s->Tr.Base, (int)old.Length, Access.Write, AddressSpace.Supervisor);
        cpu.Probe(tss.Base, (int)layout.Length, reason is Reason.Call or Reason.Interrupt ? Access.Write : Access.Read, AddressSpace.Supervisor);
        Descriptor oldTss = cpu.ReadDescriptor(s->Tr.Selector, Vector.InvalidTss, external);
        cpu.Probe(oldTss.Address, 8, Access.Write, AddressSpace.Supervisor);
        cpu.Probe(tss.Address, 8, Access.Write, AddressSpace.Supervisor);

        Save(cpu, old, flags, returnAddress);
        if (reason is Reason.Jump or Reason.Return)
        {
            cpu.ChangeSystem(oldTss.Address + 5, 0, (byte)SystemType.Busy);
        }

        ulong newFlags = cpu.LoadSystem(tss.Base + layout.Flags, layout.RegisterSize);
        if (reason is Reason.Call or Reason.Interrupt)
        {
            cpu.StoreSystem(tss.Base, 2, s->Tr.Selector);
            newFlags |= RflagsBits.Nt;
        }

        if (reason != Reason.Return)
        {
            cpu.SetType(tss, SystemType.Busy);
        }

        s->Tr = tss.ToSegment(selector);
        s->Tr.Attributes |= SystemType.Busy;
        s->Cr0 |= Cr0Bits.Ts;
        s->Dr[7] &= ~LocalBreakpoints;
        Load(cpu, layout, newFlags, external);
        return layout;
    }

    private static void Save(SoftwareVcpu cpu, in TssLayout layout, ulong flags, ulong returnAddress)
    {
        NativeState* s = cpu.S;
        ulong tss = s->Tr.Base;
        int size = layout.RegisterSize;
        cpu.StoreSystem(tss + layout.Ip, size, returnAddress);
        cpu.StoreSystem(tss + layout.Flags, size, flags);
        for (int i = 0; i < 8; i++)
        {
            cpu.StoreSystem(tss + layout.GeneralAt(i), size, s->Gpr[i]);
        }

        for (int i = 0; i < layout.SegmentCount; i++)
        {
            cpu.StoreSystem(tss + layout.SegmentAt(i), 2, cpu.Segment(i)->Selector);
        }
    }

    /// <summary>Loads the new task's state. From the first register on, faults belong to the new task.</summary>
    private static void Load(SoftwareVcpu cpu, in TssLayout layout, ulong flags, uint external)
    {
        NativeState* s = cpu.S;
        ulong tss = s->Tr.Base;
        int size = layout.RegisterSize;
        Span<ushort> selectors = stackalloc ushort[6];
        selectors.Clear();
        for (int i = 0; i < layout.SegmentCount; i++)
        {
            selectors[i] = (ushort)cpu.LoadSystem(tss + layout.SegmentAt(i), 2);
        }

        var ldt = (ushort)cpu.LoadSystem(tss + layout.Ldt, 2);
        bool trap = layout.Trap != 0 && (cpu.LoadSystem(tss + layout.Trap, 2) & 1) != 0;
        ulong ip = cpu.LoadSystem(tss + layout.Ip, size);
        for (int i = 0; i < 8; i++)
        {
            s->Gpr[i] = cpu.LoadSystem(tss + layout.GeneralAt(i), size);
        }

        if (layout.Cr3 != 0 && (s->Cr0 & Cr0Bits.Pg) != 0)
        {
            s->Cr3 = cpu.LoadSystem(tss + layout.Cr3, 4);
            cpu.FlushAfterCr3Write(keepPcid: false);
        }

        cpu.Rflags = flags;
        s->Rip = ip;
        cpu.NextRip = ip;

        // Until they are checked the segments are unusable; the privilege level is CS's RPL at once.
        bool virtual8086 = (flags & RflagsBits.Vm) != 0;
        int cpl = virtual8086 ? 3 : selectors[SoftwareVcpu.CsIndex] & 3;
        for (int i = 0; i < 6; i++)
        {
            *cpu.Segment(i) = virtual8086
                ? InterruptReturn.Virtual8086Segment(selectors[i])
                : new NativeSegment { Selector = selectors[i], Attributes = SegmentRegister.Unusable };
        }

        s->Ss.Attributes |= (uint)cpl << SegmentRegister.DplShift;
        cpu.UpdateMode();
        LoadLdt(cpu, ldt, external);
        if (!virtual8086)
        {
            LoadSegments(cpu, selectors, cpl, external);
        }

        cpu.UpdateMode();
        if (ip > s->Cs.Limit)
        {
            throw GuestException.Protection(external);
        }

        if (trap)
        {
            s->Dr[6] |= DebugTaskSwitch;
            throw new GuestException(Vector.Debug);
        }
    }

    private static void LoadLdt(SoftwareVcpu cpu, ushort selector, uint external)
    {
        cpu.S->Ldtr = new NativeSegment { Selector = selector, Attributes = SegmentRegister.Unusable };
        if (SoftwareVcpu.IsNull(selector))
        {
            return;
        }

        if ((selector & 4) == 0
            && cpu.TryReadDescriptor(selector, out Descriptor descriptor)
            && descriptor.IsSystem && descriptor.Type == SystemType.Ldt && descriptor.Present)
        {
            cpu.S->Ldtr = descriptor.ToSegment(selector);
            return;
        }

        throw SoftwareVcpu.SelectorFault(Vector.InvalidTss, selector, external);
    }

    private static void LoadSegments(SoftwareVcpu cpu, ReadOnlySpan<ushort> selectors, int cpl, uint external)
    {
        LoadSegment(cpu, SoftwareVcpu.SsIndex, selectors, cpl, external, Vector.StackFault);
        LoadSegment(cpu, SoftwareVcpu.CsIndex, selectors, cpl, external, Vector.SegmentNotPresent);
        for (int i = 0; i < 6; i++)
        {
            bool data = i is not (SoftwareVcpu.CsIndex or SoftwareVcpu.SsIndex);
            if (data && !SoftwareVcpu.IsNull(selectors[i]))
            {
                LoadSegment(cpu, i, selectors, cpl, external, Vector.SegmentNotPresent);
            }
        }
    }

    private static void LoadSegment(SoftwareVcpu cpu, int index, ReadOnlySpan<ushort> selectors, int cpl, uint external, Vector notPresent)
    {
        ushort selector = selectors[index];
        if (SoftwareVcpu.IsNull(selector))
        {
            throw SoftwareVcpu.SelectorFault(Vector.InvalidTss, selector, external);
        }

        Descriptor descriptor = cpu.ReadDescriptor(selector, Vector.InvalidTss, external);
        int rpl = selector & 3;
        bool valid = index switch
        {
            SoftwareVcpu.CsIndex => descriptor.IsCode && (descriptor.IsConforming ? descriptor.Dpl <= rpl : descriptor.Dpl == rpl),
            SoftwareVcpu.SsIndex => descriptor.IsWritable && descriptor.Dpl == cpl && rpl == cpl,
            _ => descriptor.IsReadable && (descriptor.IsConforming || (rpl <= descriptor.Dpl && cpl <= descriptor.Dpl)),
        };
        if (!valid)
        {
            throw SoftwareVcpu.SelectorFault(Vector.InvalidTss, selector, external);
        }

        if (!descriptor.Present)
        {
            throw SoftwareVcpu.SelectorFault(notPresent, selector, external);
        }

        cpu.MarkAccessed(descriptor);
        *cpu.Segment(index) = descriptor.ToSegment(selector);
    }
}
