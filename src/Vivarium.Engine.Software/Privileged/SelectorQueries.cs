using Iced.Intel;

namespace Vivarium.Engine.Software.Privileged;

/// <summary>LAR, LSL, VERR, VERW, ARPL: what a selector would allow, reported in ZF (SDM vol. 3A, 5.10).</summary>
internal static unsafe class SelectorQueries
{
    /// <summary>The descriptor's second doubleword without base and limit: what LAR returns.</summary>
    private const uint AccessRightsMask = 0x00F0_FF00;

    public static void Register(delegate*<SoftwareVcpu, in Instruction, void>[] table)
    {
        table[(int)Mnemonic.Lar] = &LoadAccessRights;
        table[(int)Mnemonic.Lsl] = &LoadSegmentLimit;
        table[(int)Mnemonic.Verr] = &VerifyRead;
        table[(int)Mnemonic.Verw] = &VerifyWrite;
        table[(int)Mnemonic.Arpl] = &AdjustRpl;
    }

    public static void LoadAccessRights(SoftwareVcpu cpu, in Instruction insn)
    {
        bool visible = TryQuery(cpu, insn, 1, out Descriptor descriptor, out _)
            && (!descriptor.IsSystem || HasAccessRights(descriptor.Type, cpu.LongModeActive));
        if (visible)
        {
            cpu.WriteRegister(insn.Op0Register, (uint)(descriptor.Value >> 32) & AccessRightsMask);
        }

        SetZero(cpu, visible);
    }

    public static void LoadSegmentLimit(SoftwareVcpu cpu, in Instruction insn)
    {
        bool visible = TryQuery(cpu, insn, 1, out Descriptor descriptor, out _)
            && (!descriptor.IsSystem || HasLimit(descriptor.Type, cpu.LongModeActive));
        if (visible)
        {
            cpu.WriteRegister(insn.Op0Register, descriptor.Limit);
        }

        SetZero(cpu, visible);
    }

    public static void VerifyRead(SoftwareVcpu cpu, in Instruction insn)
        => SetZero(cpu, TryQuery(cpu, insn, 0, out Descriptor descriptor, out _) && descriptor.IsReadable);

    public static void VerifyWrite(SoftwareVcpu cpu, in Instruction insn)
        => SetZero(cpu, TryQuery(cpu, insn, 0, out Descriptor descriptor, out _) && descriptor.IsWritable);

    public static void AdjustRpl(SoftwareVcpu cpu, in Instruction insn)
    {
        RequireProtection(cpu);
        int wanted = (int)cpu.ReadRegister(insn.Op1Register) & 3;
        if (insn.Op0Kind == OpKind.Register)
        {
            var selector = (ushort)cpu.ReadRegister(insn.Op0Register);
            bool raise = (selector & 3) < wanted;
            if (raise)
            {
                int index = insn.Op0Register.GetFullRegister() - Iced.Intel.Register.RAX;
                cpu.WriteGpr(index, 2, (ushort)((selector & ~3) | wanted));
            }

            SetZero(cpu, raise);
            return;
        }

        // Written only if it changes.
        ulong address = cpu.LinearAddress(insn, 2, Access.Read);
        var stored = (ushort)cpu.Load(address, 2);
        bool raiseStored = (stored & 3) < wanted;
        if (raiseStored)
        {
            cpu.Store(cpu.LinearAddress(insn, 2, Access.Write), 2, (ushort)((stored & ~3) | wanted));
        }

        SetZero(cpu, raiseStored);
    }

    /// <summary>True if the selector names a descriptor that its RPL and the CPL may know of.</summary>
    private static bool TryQuery(SoftwareVcpu cpu, in Instruction insn, int operand, out Descriptor descriptor, out ushort selector)
    {
        RequireProtection(cpu);
        selector = SelectorOperand.Read(cpu, insn, operand);
        if (SoftwareVcpu.IsNull(selector) || !cpu.TryReadDescriptor(selector, out descriptor))
        {
            descriptor = default;
            return false;
        }

        return descriptor.IsConforming || (cpu.Cpl <= descriptor.Dpl && (selector & 3) <= descriptor.Dpl);
    }

    private static bool HasAccessRights(uint type, bool longMode)
        => HasLimit(type, longMode) || type == SystemType.CallGate
            || (!longMode && type is SystemType.CallGate16 or SystemType.TaskGate);

    private static bool HasLimit(uint type, bool longMode)
        => type is SystemType.Ldt or SystemType.AvailableTss or SystemType.BusyTss
            || (!longMode && type is SystemType.AvailableTss16 or SystemType.BusyTss16);

    private static void RequireProtection(SoftwareVcpu cpu)
    {
        if (!cpu.SegmentProtection)
        {
            throw GuestException.Undefined();
        }
    }

    private static void SetZero(SoftwareVcpu cpu, bool value)
        => cpu.S->ArithmeticFlags = (cpu.S->ArithmeticFlags & ~RflagsBits.Zf) | (value ? RflagsBits.Zf : 0);
}
