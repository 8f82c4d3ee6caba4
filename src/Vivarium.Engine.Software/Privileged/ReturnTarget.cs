using Vivarium.Engine;

namespace Vivarium.Engine.Software.Privileged;

/// <summary>What IRET and far RET have in common: the checks of the code and stack segments that are returned to (SDM vol. 3A, 5.8.6).</summary>
internal static unsafe class ReturnTarget
{
    /// <summary>Checks the returned CS; its RPL is the new privilege level.</summary>
    public static NativeSegment LoadCode(SoftwareVcpu cpu, ushort selector)
    {
        if (SoftwareVcpu.IsNull(selector))
        {
            throw GuestException.Protection();
        }

        Descriptor descriptor = cpu.ReadDescriptor(selector);
        int rpl = selector & 3;
        bool privilege = descriptor.IsConforming ? descriptor.Dpl <= rpl : descriptor.Dpl == rpl;
        bool longAndBig = cpu.LongModeActive && descriptor.IsLong && descriptor.IsBig;
        if (!descriptor.IsCode || rpl < cpu.Cpl || !privilege || longAndBig)
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

    /// <summary>Checks the returned SS against the returned CS.</summary>
    public static NativeSegment LoadStack(SoftwareVcpu cpu, ushort selector, in NativeSegment code)
    {
        int newCpl = code.Selector & 3;
        if (SoftwareVcpu.IsNull(selector))
        {
            bool to64 = cpu.LongModeActive && (code.Attributes & SegmentRegister.Long) != 0;
            if (!to64 || newCpl == 3 || (selector & 3) != newCpl)
            {
                throw GuestException.Protection();
            }

            return PrivilegeStack.NullStack(newCpl);
        }

        Descriptor descriptor = cpu.ReadDescriptor(selector);
        if ((selector & 3) != newCpl || !descriptor.IsWritable || descriptor.Dpl != newCpl)
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

    /// <summary>The instruction pointer must lie in the segment, or be canonical in 64-bit code.</summary>
    public static void CheckRip(SoftwareVcpu cpu, ulong rip, in NativeSegment code)
    {
        bool is64 = cpu.LongModeActive && (code.Attributes & SegmentRegister.Long) != 0;
        if (is64 ? !SoftwareVcpu.IsCanonical(rip) : rip > code.Limit)
        {
            throw GuestException.Protection();
        }
    }

    /// <summary>After a return to an outer level: data segments that it could not have loaded itself become null.</summary>
    public static void DropInnerSegments(SoftwareVcpu cpu, int newCpl)
    {
        DropIfInner(&cpu.S->Es, newCpl);
        DropIfInner(&cpu.S->Ds, newCpl);
        DropIfInner(&cpu.S->Fs, newCpl);
        DropIfInner(&cpu.S->Gs, newCpl);
    }

    /// <summary>Loads SS and the stack pointer of the level that is returned to; the code segment is loaded already.</summary>
    public static void SetStack(SoftwareVcpu cpu, in NativeSegment stack, ulong pointer)
    {
        cpu.S->Ss = stack;
        cpu.SetStackPointer(pointer);
    }

    private static void DropIfInner(NativeSegment* segment, int newCpl)
    {
        uint attributes = segment->Attributes;
        if ((attributes & SegmentRegister.Unusable) != 0)
        {
            return;
        }

        const uint code = 8;
        const uint conforming = 4;
        int dpl = (int)(attributes >> SegmentRegister.DplShift) & 3;
        if (dpl < newCpl && (attributes & (code | conforming)) != (code | conforming))
        {
            SegmentLoads.MakeNull(segment);
        }
    }
}
