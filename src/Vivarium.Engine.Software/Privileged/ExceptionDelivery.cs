using Vivarium.Engine;

namespace Vivarium.Engine.Software.Privileged;

/// <summary>Delivery of interrupts and exceptions through the IDT (SDM vol. 3A, chapter 6) or, in real mode, the IVT (chapter 20).</summary>
internal static unsafe class ExceptionDelivery
{
    private const ulong GeneralDetectEnable = 1 << 13;

    /// <summary>
    /// Delivers an event: RIP, RSP, flags and segments afterwards are the handler's. A fault on the way is delivered in its
    /// place, or makes a double fault. False: a triple fault; the processor has shut down.
    /// </summary>
    /// <remarks>
    /// Faults, traps and interrupts return to S-&gt;Rip; software interrupts to <see cref="SoftwareVcpu.NextRip"/>. DR6 is
    /// whoever raises #DB's to set, CR2 whoever raises #PF's.
    /// </remarks>
    public static bool Deliver(SoftwareVcpu cpu, int vector, uint? errorCode, EventKind kind)
    {
        Count(cpu.Statistics, kind);
        if (kind is EventKind.Fault or EventKind.ExternalInterrupt && vector != (int)Vector.Debug && cpu.Has(Optimizations.QuickDelivery)
            && LongModeDelivery.TryDeliver(cpu, vector, errorCode, FlagsImage(cpu, vector, kind)))
        {
            Finish(cpu, vector, kind);
            return true;
        }

        while (true)
        {
            try
            {
                if (cpu.ProtectedMode)
                {
                    DeliverProtected(cpu, vector, errorCode, kind);
                }
                else
                {
                    DeliverReal(cpu, vector, kind);
                }

                Finish(cpu, vector, kind);
                return true;
            }
            catch (GuestException nested)
            {
                Count(cpu.Statistics, EventKind.Fault);
                cpu.Statistics.PageFaults += nested.Vector == Vector.PageFault ? 1 : 0;
                bool wasException = kind is EventKind.Fault or EventKind.Trap;
                if (wasException && vector == (int)Vector.DoubleFault)
                {
                    cpu.ShutdownPending = true;
                    return false;
                }

                bool doubleFault = wasException && MakesDoubleFault(vector, (int)nested.Vector);
                vector = doubleFault ? (int)Vector.DoubleFault : (int)nested.Vector;
                errorCode = doubleFault ? 0 : nested.ErrorCode;
                kind = EventKind.Fault;
            }
        }
    }

    /// <summary>SDM vol. 3A, table 6-5.</summary>
    private static bool MakesDoubleFault(int first, int second)
        => (IsContributory(first) && IsContributory(second))
            || (first == (int)Vector.PageFault && (IsContributory(second) || second == (int)Vector.PageFault));

    /// <summary>SDM vol. 3A, table 6-4.</summary>
    private static bool IsContributory(int vector) => (Vector)vector
        is Vector.DivideError or Vector.InvalidTss or Vector.SegmentNotPresent or Vector.StackFault or Vector.GeneralProtection;

    /// <summary>Instructions that raise an interrupt on purpose: they need a gate with DPL at least CPL.</summary>
    private static bool IsSoftware(EventKind kind)
        => kind is EventKind.SoftwareInterrupt or EventKind.Breakpoint or EventKind.Overflow;

    private static ulong ReturnAddress(SoftwareVcpu cpu, EventKind kind)
        => IsSoftware(kind) || kind == EventKind.PrivilegedSoftwareException ? cpu.NextRip : cpu.S->Rip;

    /// <summary>The flags image; faults, except #DB, set RF so that the restarted instruction meets no breakpoint again (SDM vol. 3B, 17.3.1.1).</summary>
    private static ulong FlagsImage(SoftwareVcpu cpu, int vector, EventKind kind)
        => kind == EventKind.Fault && vector != (int)Vector.Debug ? cpu.Rflags | RflagsBits.Rf : cpu.Rflags;

    private static void DeliverReal(SoftwareVcpu cpu, int vector, EventKind kind)
    {
        NativeState* s = cpu.S;
        uint entry = (uint)vector * 4;
        if (entry + 3 > s->IdtrLimit)
        {
            throw GuestException.Protection(((uint)vector * 8) | 2);
        }

        uint pointer = (uint)cpu.LoadSystem(s->IdtrBase + entry, 4);
        ReadOnlySpan<ulong> frame = [cpu.Rflags, s->Cs.Selector, ReturnAddress(cpu, kind)];
        ulong stackPointer = cpu.PushFrame(cpu.CurrentStack(0), frame, 2);

        cpu.SetStackPointer(stackPointer);
        s->Cs.Selector = (ushort)(pointer >> 16);
        s->Cs.Base = pointer >> 16 << 4;
        s->Rip = (ushort)pointer;
        s->SystemFlags &= ~(RflagsBits.If | RflagsBits.Tf | RflagsBits.Rf | RflagsBits.Ac);
    }

    private static void DeliverProtected(SoftwareVcpu cpu, int vector, uint? errorCode, EventKind kind)
    {
        NativeState* s = cpu.S;
        uint external = IsSoftware(kind) ? 0u : 1u;
        Gate gate = ReadGate(cpu, vector, kind, external);
        if (gate.Type == SystemType.TaskGate)
        {
            TaskSwitch.ThroughInterrupt(cpu, gate.Selector, FlagsImage(cpu, vector, kind), ReturnAddress(cpu, kind), errorCode, external);
            return;
        }

        NativeSegment code = LoadHandlerSegment(cpu, gate.Selector, external, out int newCpl);
        bool fromVirtual8086 = cpu.Virtual8086;
        bool inner = newCpl < cpu.Cpl;
        StackTarget stack = inner || (gate.Ist != 0 && cpu.LongModeActive)
            ? SwitchedStack(cpu, gate, newCpl, external)
            : cpu.CurrentStack(external);

        // The target is checked against the handler's mode, which in IA-32e mode is always 64-bit mode.
        if (cpu.LongModeActive)
        {
            stack.Bits = 64;
            stack.Pointer &= ~0xFul;
            if (!SoftwareVcpu.IsCanonical(gate.Offset))
            {
                throw GuestException.Protection(external);
            }
        }
        else if (gate.Offset > code.Limit)
        {
            throw GuestException.Protection(external);
        }

        Span<ulong> frame = stackalloc ulong[10];
        int count = 0;
        if (fromVirtual8086)
        {
            frame[count++] = s->Gs.Selector;
            frame[count++] = s->Fs.Selector;
            frame[count++] = s->Ds.Selector;
            frame[count++] = s->Es.Selector;
        }

        if (inner || cpu.LongModeActive)
        {
            frame[count++] = s->Ss.Selector;
            frame[count++] = s->Gpr[4];
        }

        frame[count++] = FlagsImage(cpu, vector, kind);
        frame[count++] = s->Cs.Selector;
        frame[count++] = ReturnAddress(cpu, kind);
        if (errorCode is { } code32)
        {
            frame[count++] = code32;
        }

        int size = cpu.LongModeActive ? 8 : gate.IsWide ? 4 : 2;
        ulong stackPointer = cpu.PushFrame(stack, frame[..count], size);

        // Nothing below can fault.
        if (fromVirtual8086)
        {
            SegmentLoads.MakeNull(&s->Es);
            SegmentLoads.MakeNull(&s->Ds);
            SegmentLoads.MakeNull(&s->Fs);
            SegmentLoads.MakeNull(&s->Gs);
        }

        s->SystemFlags &= ~(RflagsBits.Tf | RflagsBits.Nt | RflagsBits.Rf | RflagsBits.Vm);
        if ((gate.Type & 1) == 0)
        {
            s->SystemFlags &= ~RflagsBits.If;
        }

        if (inner)
        {
            s->Ss = stack.Segment;
        }

        cpu.WriteGpr(4, stack.Bits / 8, stackPointer);
        s->Cs = code;
        s->Rip = gate.Offset;
    }

    private static Gate ReadGate(SoftwareVcpu cpu, int vector, EventKind kind, uint external)
    {
        NativeState* s = cpu.S;
        uint error = ((uint)vector * 8) | 2 | external;
        uint size = cpu.LongModeActive ? 16u : 8u;
        uint entry = (uint)vector * size;
        if (entry + size - 1 > s->IdtrLimit)
        {
            throw GuestException.Protection(error);
        }

        var gate = new Gate(
            cpu.LoadSystem(s->IdtrBase + entry, 8),
            cpu.LongModeActive ? cpu.LoadSystem(s->IdtrBase + entry + 8, 8) : 0);
        bool known = gate.Type is SystemType.InterruptGate or SystemType.TrapGate
            || (!cpu.LongModeActive && gate.Type is SystemType.TaskGate or SystemType.InterruptGate16 or SystemType.TrapGate16);
        if (!known || (IsSoftware(kind) && gate.Dpl < cpu.Cpl))
        {
            throw GuestException.Protection(error);
        }

        return gate.Present ? gate : throw new GuestException(Vector.SegmentNotPresent, error);
    }

    private static NativeSegment LoadHandlerSegment(SoftwareVcpu cpu, ushort selector, uint external, out int newCpl)
    {
        if (SoftwareVcpu.IsNull(selector))
        {
            throw GuestException.Protection(external);
        }

        Descriptor descriptor = cpu.ReadDescriptor(selector, external: external);
        bool wrongMode = cpu.LongModeActive && (!descriptor.IsLong || descriptor.IsBig);
        if (!descriptor.IsCode || descriptor.Dpl > cpu.Cpl || wrongMode
            || (cpu.Virtual8086 && (descriptor.IsConforming || descriptor.Dpl != 0)))
        {
            throw SoftwareVcpu.SelectorFault(Vector.GeneralProtection, selector, external);
        }

        if (!descriptor.Present)
        {
            throw SoftwareVcpu.SelectorFault(Vector.SegmentNotPresent, selector, external);
        }

        newCpl = descriptor.IsConforming ? cpu.Cpl : descriptor.Dpl;
        cpu.MarkAccessed(descriptor);
        NativeSegment segment = descriptor.ToSegment((ushort)((selector & ~3) | newCpl));
        LongModeDelivery.Remember(cpu.S, descriptor, segment);
        return segment;
    }

    private static StackTarget SwitchedStack(SoftwareVcpu cpu, in Gate gate, int newCpl, uint external)
        => gate.Ist != 0 && cpu.LongModeActive
            ? PrivilegeStack.Interrupt(cpu, newCpl, gate.Ist, external)
            : PrivilegeStack.Inner(cpu, newCpl, external);

    private static void Finish(SoftwareVcpu cpu, int vector, EventKind kind)
    {
        if (vector == (int)Vector.Debug && kind is EventKind.Fault or EventKind.Trap)
        {
            cpu.S->Dr[7] &= ~GeneralDetectEnable;
        }

        cpu.NmiBlocked |= kind == EventKind.Nmi;
        cpu.InterruptShadow = false;
        cpu.NextRip = cpu.S->Rip;
        cpu.UpdateMode();
    }

    private static void Count(VcpuStatistics statistics, EventKind kind)
    {
        if (kind is EventKind.ExternalInterrupt or EventKind.Nmi)
        {
            statistics.Interrupts++;
        }
        else
        {
            statistics.Exceptions++;
        }
    }
}
