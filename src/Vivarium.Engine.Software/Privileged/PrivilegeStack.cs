using Vivarium.Engine;

namespace Vivarium.Engine.Software.Privileged;

/// <summary>The stacks that the TSS names for inner privilege levels (SDM vol. 3A, 5.8.5, 6.12.1 and 6.14).</summary>
internal static unsafe class PrivilegeStack
{
    /// <summary>Offset of RSP0 in a 64-bit TSS and of ESP0 in a 32-bit one.</summary>
    private const uint Rsp0 = 4;

    /// <summary>Offset of IST1.</summary>
    private const uint Ist1 = 36;

    /// <summary>Offset of SP0 in a 16-bit TSS.</summary>
    private const uint Sp0 = 2;

    /// <summary>The stack for an inner level; all its checks are made.</summary>
    public static StackTarget Inner(SoftwareVcpu cpu, int newCpl, uint external)
    {
        if (cpu.LongModeActive)
        {
            return Long(cpu, newCpl, Rsp0 + ((uint)newCpl * 8), external);
        }

        NativeState* s = cpu.S;
        ushort selector;
        ulong pointer;
        if ((s->Tr.Attributes & SystemType.Wide) != 0)
        {
            uint offset = Rsp0 + ((uint)newCpl * 8);
            CheckTssLimit(cpu, offset + 5, external);
            pointer = cpu.LoadSystem(s->Tr.Base + offset, 4);
            selector = (ushort)cpu.LoadSystem(s->Tr.Base + offset + 4, 2);
        }
        else
        {
            uint offset = Sp0 + ((uint)newCpl * 4);
            CheckTssLimit(cpu, offset + 3, external);
            pointer = cpu.LoadSystem(s->Tr.Base + offset, 2);
            selector = (ushort)cpu.LoadSystem(s->Tr.Base + offset + 2, 2);
        }

        NativeSegment segment = LoadStackSegment(cpu, selector, newCpl, external);
        return new StackTarget
        {
            Segment = segment,
            Pointer = pointer,
            Bits = SoftwareVcpu.StackBitsOf(segment),
            Space = SpaceOf(newCpl),
            FaultCode = SoftwareVcpu.SelectorError(selector, external),
        };
    }

    /// <summary>A stack of the interrupt stack table, 1 to 7.</summary>
    public static StackTarget Interrupt(SoftwareVcpu cpu, int newCpl, int ist, uint external)
        => Long(cpu, newCpl, Ist1 + ((uint)(ist - 1) * 8), external);

    /// <summary>Accesses to an inner stack while the level changes are implicit supervisor accesses.</summary>
    public static AddressSpace SpaceOf(int cpl) => cpl == 3 ? AddressSpace.User : AddressSpace.Supervisor;

    /// <summary>SS as 64-bit mode leaves it after a change of level: a null selector with the new level.</summary>
    public static NativeSegment NullStack(int cpl) => new()
    {
        Selector = (ushort)cpl,
        Attributes = SegmentRegister.Unusable | ((uint)cpl << SegmentRegister.DplShift),
    };

    private static StackTarget Long(SoftwareVcpu cpu, int newCpl, uint offset, uint external)
    {
        CheckTssLimit(cpu, offset + 7, external);
        return new StackTarget
        {
            Segment = NullStack(newCpl),
            Pointer = cpu.LoadSystem(cpu.S->Tr.Base + offset, 8),
            Bits = 64,
            Space = SpaceOf(newCpl),
            FaultCode = external,
        };
    }

    private static NativeSegment LoadStackSegment(SoftwareVcpu cpu, ushort selector, int newCpl, uint external)
    {
        if (SoftwareVcpu.IsNull(selector))
        {
            throw new GuestException(Vector.InvalidTss, external);
        }

        Descriptor descriptor = cpu.ReadDescriptor(selector, Vector.InvalidTss, external);
        if ((selector & 3) != newCpl || descriptor.Dpl != newCpl || !descriptor.IsWritable)
        {
            throw SoftwareVcpu.SelectorFault(Vector.InvalidTss, selector, external);
        }

        if (!descriptor.Present)
        {
            throw SoftwareVcpu.SelectorFault(Vector.StackFault, selector, external);
        }

        cpu.MarkAccessed(descriptor);
        return descriptor.ToSegment(selector);
    }

    private static void CheckTssLimit(SoftwareVcpu cpu, uint last, uint external)
    {
        if (last > cpu.S->Tr.Limit)
        {
            throw SoftwareVcpu.SelectorFault(Vector.InvalidTss, cpu.S->Tr.Selector, external);
        }
    }
}
