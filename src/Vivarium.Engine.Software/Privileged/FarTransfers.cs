using Iced.Intel;
using Vivarium.Engine;

namespace Vivarium.Engine.Software.Privileged;

/// <summary>Far JMP, CALL and RET, directly, through call gates and to tasks (SDM vol. 2, CALL, JMP, RET; vol. 3A, 5.8).</summary>
internal static unsafe class FarTransfers
{
    /// <summary>CALL through a gate to an inner level: SS, SP, 31 parameters, CS, IP.</summary>
    private const int MaxCallFrame = 35;

    public static void Register(delegate*<SoftwareVcpu, in Instruction, void>[] table)
    {
        table[(int)Mnemonic.Jmp] = &Jump;
        table[(int)Mnemonic.Call] = &Call;
        table[(int)Mnemonic.Retf] = &Return;
    }

    public static void Jump(SoftwareVcpu cpu, in Instruction insn)
    {
        ushort selector = ReadTarget(cpu, insn, out ulong offset, out int size);
        if (!cpu.SegmentProtection)
        {
            TransferReal(cpu, selector, offset);
            return;
        }

        Descriptor descriptor = ReadTargetDescriptor(cpu, selector);
        if (!descriptor.IsSystem)
        {
            NativeSegment code = CheckDirect(cpu, descriptor, selector, offset);
            Enter(cpu, code, offset);
            return;
        }

        if (IsTask(cpu, descriptor))
        {
            TaskSwitch.ThroughJump(cpu, descriptor, selector);
            return;
        }

        Gate gate = CheckGate(cpu, descriptor, selector);
        Descriptor target = ReadGateTarget(cpu, gate);
        if (!target.IsConforming && target.Dpl != cpu.Cpl)
        {
            throw SoftwareVcpu.SelectorFault(Vector.GeneralProtection, gate.Selector);
        }

        NativeSegment through = LoadCode(cpu, target, gate.Selector, cpu.Cpl);
        ReturnTarget.CheckRip(cpu, gate.Offset, through);
        Enter(cpu, through, gate.Offset);
    }

    public static void Call(SoftwareVcpu cpu, in Instruction insn)
    {
        ushort selector = ReadTarget(cpu, insn, out ulong offset, out int size);
        if (!cpu.SegmentProtection)
        {
            CallReal(cpu, selector, offset, size);
            return;
        }

        Descriptor descriptor = ReadTargetDescriptor(cpu, selector);
        if (!descriptor.IsSystem)
        {
            NativeSegment code = CheckDirect(cpu, descriptor, selector, offset);
            ulong pointer = PushReturn(cpu, size);
            cpu.SetStackPointer(pointer);
            Enter(cpu, code, offset);
            return;
        }

        if (IsTask(cpu, descriptor))
        {
            TaskSwitch.ThroughCall(cpu, descriptor, selector);
            return;
        }

        CallThroughGate(cpu, CheckGate(cpu, descriptor, selector));
    }

    public static void Return(SoftwareVcpu cpu, in Instruction insn)
    {
        int size = insn.Code switch
        {
            Code.Retfw or Code.Retfw_imm16 => 2,
            Code.Retfd or Code.Retfd_imm16 => 4,
            _ => 8,
        };
        uint release = insn.OpCount == 1 ? insn.Immediate16 : 0u;
        ulong offset = cpu.PeekStack(0, size);
        ushort selector = (ushort)cpu.PeekStack((uint)size, size);
        if (!cpu.SegmentProtection)
        {
            CheckRealLimit(cpu, offset);
            cpu.ReleaseStack(((uint)size * 2) + release);
            SetRealCode(cpu, selector, offset);
            return;
        }

        NativeSegment code = ReturnTarget.LoadCode(cpu, selector);
        int newCpl = selector & 3;
        if (newCpl == cpu.Cpl)
        {
            ReturnTarget.CheckRip(cpu, offset, code);
            cpu.ReleaseStack(((uint)size * 2) + release);
            Enter(cpu, code, offset);
            return;
        }

        // The parameters lie on both stacks and are released on both.
        ulong outerPointer = cpu.PeekStack(((uint)size * 2) + release, size);
        ushort outerSelector = (ushort)cpu.PeekStack(((uint)size * 3) + release, size);
        NativeSegment stack = ReturnTarget.LoadStack(cpu, outerSelector, code);
        ReturnTarget.CheckRip(cpu, offset, code);
        cpu.S->Cs = code;
        ReturnTarget.SetStack(cpu, stack, outerPointer + release);
        ReturnTarget.DropInnerSegments(cpu, newCpl);
        Enter(cpu, code, offset);
    }

    /// <summary>The far pointer: in the instruction or in memory.</summary>
    private static ushort ReadTarget(SoftwareVcpu cpu, in Instruction insn, out ulong offset, out int size)
    {
        switch (insn.Op0Kind)
        {
            case OpKind.FarBranch16:
                size = 2;
                offset = insn.FarBranch16;
                return insn.FarBranchSelector;
            case OpKind.FarBranch32:
                size = 4;
                offset = insn.FarBranch32;
                return insn.FarBranchSelector;
        }

        size = insn.MemorySize switch
        {
            MemorySize.SegPtr16 => 2,
            MemorySize.SegPtr32 => 4,
            _ => 8,
        };
        ulong address = cpu.LinearAddress(insn, size + 2, Access.Read);
        offset = cpu.Load(address, size);
        return (ushort)cpu.Load(address + (uint)size, 2);
    }

    private static void TransferReal(SoftwareVcpu cpu, ushort selector, ulong offset)
    {
        CheckRealLimit(cpu, offset);
        SetRealCode(cpu, selector, offset);
    }

    private static void CallReal(SoftwareVcpu cpu, ushort selector, ulong offset, int size)
    {
        CheckRealLimit(cpu, offset);
        cpu.SetStackPointer(PushReturn(cpu, size));
        SetRealCode(cpu, selector, offset);
    }

    private static void CheckRealLimit(SoftwareVcpu cpu, ulong offset)
    {
        if (offset > cpu.S->Cs.Limit)
        {
            throw GuestException.Protection();
        }
    }

    private static void SetRealCode(SoftwareVcpu cpu, ushort selector, ulong offset)
    {
        cpu.S->Cs.Selector = selector;
        cpu.S->Cs.Base = (uint)selector << 4;
        cpu.NextRip = offset;
        cpu.UpdateMode();
    }

    private static Descriptor ReadTargetDescriptor(SoftwareVcpu cpu, ushort selector)
        => SoftwareVcpu.IsNull(selector) ? throw GuestException.Protection() : cpu.ReadDescriptor(selector);

    /// <summary>A code segment named directly: no change of privilege.</summary>
    private static NativeSegment CheckDirect(SoftwareVcpu cpu, in Descriptor descriptor, ushort selector, ulong offset)
    {
        int cpl = cpu.Cpl;
        bool allowed = descriptor.IsConforming
            ? descriptor.Dpl <= cpl
            : (selector & 3) <= cpl && descriptor.Dpl == cpl;
        if (!descriptor.IsCode || !allowed || (cpu.LongModeActive && descriptor.IsLong && descriptor.IsBig))
        {
            throw SoftwareVcpu.SelectorFault(Vector.GeneralProtection, selector);
        }

        NativeSegment code = LoadCode(cpu, descriptor, selector, cpl);
        ReturnTarget.CheckRip(cpu, offset, code);
        return code;
    }

    private static NativeSegment LoadCode(SoftwareVcpu cpu, in Descriptor descriptor, ushort selector, int newCpl)
    {
        if (!descriptor.Present)
        {
            throw SoftwareVcpu.SelectorFault(Vector.SegmentNotPresent, selector);
        }

        cpu.MarkAccessed(descriptor);
        return descriptor.ToSegment((ushort)((selector & ~3) | newCpl));
    }

    private static bool IsTask(SoftwareVcpu cpu, in Descriptor descriptor)
        => !cpu.LongModeActive && descriptor.Type is SystemType.AvailableTss or SystemType.AvailableTss16 or SystemType.TaskGate;

    private static Gate CheckGate(SoftwareVcpu cpu, in Descriptor descriptor, ushort selector)
    {
        bool known = descriptor.Type == SystemType.CallGate
            || (descriptor.Type == SystemType.CallGate16 && !cpu.LongModeActive);
        if (!known || descriptor.Dpl < cpu.Cpl || descriptor.Dpl < (selector & 3))
        {
            throw SoftwareVcpu.SelectorFault(Vector.GeneralProtection, selector);
        }

        if (!descriptor.Present)
        {
            throw SoftwareVcpu.SelectorFault(Vector.SegmentNotPresent, selector);
        }

        return new Gate(descriptor.Value, cpu.ReadUpperHalf(descriptor));
    }

    private static Descriptor ReadGateTarget(SoftwareVcpu cpu, in Gate gate)
    {
        Descriptor target = ReadTargetDescriptor(cpu, gate.Selector);
        bool wrongMode = cpu.LongModeActive && (!target.IsLong || target.IsBig);
        return target.IsCode && target.Dpl <= cpu.Cpl && !wrongMode
            ? target
            : throw SoftwareVcpu.SelectorFault(Vector.GeneralProtection, gate.Selector);
    }

    private static void CallThroughGate(SoftwareVcpu cpu, in Gate gate)
    {
        NativeState* s = cpu.S;
        bool longMode = cpu.LongModeActive;
        int size = longMode ? 8 : gate.IsWide ? 4 : 2;
        Descriptor target = ReadGateTarget(cpu, gate);
        int newCpl = target.IsConforming ? cpu.Cpl : target.Dpl;
        NativeSegment code = LoadCode(cpu, target, gate.Selector, newCpl);
        ReturnTarget.CheckRip(cpu, gate.Offset, code);

        if (newCpl == cpu.Cpl)
        {
            StackTarget current = cpu.CurrentStack(0);
            current.Bits = longMode ? 64 : current.Bits;
            ulong same = cpu.PushFrame(current, [s->Cs.Selector, cpu.NextRip], size);
            cpu.WriteGpr(4, current.Bits / 8, same);
            Enter(cpu, code, gate.Offset);
            return;
        }

        StackTarget stack = PrivilegeStack.Inner(cpu, newCpl, 0);
        Span<ulong> frame = stackalloc ulong[MaxCallFrame];
        int count = 0;
        frame[count++] = s->Ss.Selector;
        frame[count++] = s->Gpr[4];
        for (int i = longMode ? 0 : gate.ParameterCount; i > 0; i--)
        {
            frame[count++] = cpu.PeekStack((uint)((i - 1) * size), size);
        }

        frame[count++] = s->Cs.Selector;
        frame[count++] = cpu.NextRip;
        ulong pointer = cpu.PushFrame(stack, frame[..count], size);
        s->Ss = stack.Segment;
        cpu.WriteGpr(4, stack.Bits / 8, pointer);
        Enter(cpu, code, gate.Offset);
    }

    private static ulong PushReturn(SoftwareVcpu cpu, int size)
        => cpu.PushFrame(cpu.CurrentStack(0), [cpu.S->Cs.Selector, cpu.NextRip], size);

    private static void Enter(SoftwareVcpu cpu, in NativeSegment code, ulong offset)
    {
        cpu.S->Cs = code;
        cpu.NextRip = offset;
        cpu.UpdateMode();
    }
}
