using System.Buffers.Binary;
using Iced.Intel;
using Vivarium.Engine;

namespace Vivarium.Engine.Software.Privileged;

/// <summary>LGDT, LIDT, SGDT, SIDT, LLDT, SLDT, LTR, STR (SDM vol. 3A, 2.4 and 2.8.1).</summary>
internal static unsafe class DescriptorTables
{
    /// <summary>With a 16-bit operand size the top byte of the base is not loaded.</summary>
    private const ulong Base24 = 0x00FF_FFFF;

    public static void Register(delegate*<SoftwareVcpu, in Instruction, void>[] table)
    {
        table[(int)Mnemonic.Lgdt] = &LoadGdt;
        table[(int)Mnemonic.Lidt] = &LoadIdt;
        table[(int)Mnemonic.Sgdt] = &StoreGdt;
        table[(int)Mnemonic.Sidt] = &StoreIdt;
        table[(int)Mnemonic.Lldt] = &LoadLdt;
        table[(int)Mnemonic.Sldt] = &StoreLdt;
        table[(int)Mnemonic.Ltr] = &LoadTask;
        table[(int)Mnemonic.Str] = &StoreTask;
    }

    public static void LoadGdt(SoftwareVcpu cpu, in Instruction insn)
    {
        ReadPseudoDescriptor(cpu, insn, insn.Code == Code.Lgdt_m1632_16, out ulong tableBase, out ushort limit);
        cpu.S->GdtrBase = tableBase;
        cpu.S->GdtrLimit = limit;
        InterruptReturn.Forget(cpu.S);
    }

    public static void LoadIdt(SoftwareVcpu cpu, in Instruction insn)
    {
        ReadPseudoDescriptor(cpu, insn, insn.Code == Code.Lidt_m1632_16, out ulong tableBase, out ushort limit);
        cpu.S->IdtrBase = tableBase;
        cpu.S->IdtrLimit = limit;
    }

    public static void StoreGdt(SoftwareVcpu cpu, in Instruction insn) => WritePseudoDescriptor(cpu, insn, cpu.S->GdtrBase, cpu.S->GdtrLimit);

    public static void StoreIdt(SoftwareVcpu cpu, in Instruction insn) => WritePseudoDescriptor(cpu, insn, cpu.S->IdtrBase, cpu.S->IdtrLimit);

    public static void LoadLdt(SoftwareVcpu cpu, in Instruction insn)
    {
        ushort selector = ReadSystemSelector(cpu, insn);
        if (SoftwareVcpu.IsNull(selector))
        {
            cpu.S->Ldtr = new NativeSegment { Selector = selector, Attributes = SegmentRegister.Unusable };
            return;
        }

        Descriptor descriptor = ReadGdtDescriptor(cpu, selector);
        if (!descriptor.IsSystem || descriptor.Type != SystemType.Ldt)
        {
            throw SoftwareVcpu.SelectorFault(Vector.GeneralProtection, selector);
        }

        cpu.S->Ldtr = LoadSystemSegment(cpu, descriptor, selector);
    }

    public static void StoreLdt(SoftwareVcpu cpu, in Instruction insn)
    {
        RequireProtection(cpu);
        cpu.RequireRing0UnderUmip();
        SegmentLoads.StoreSelector(cpu, insn, cpu.S->Ldtr.Selector);
    }

    public static void LoadTask(SoftwareVcpu cpu, in Instruction insn)
    {
        ushort selector = ReadSystemSelector(cpu, insn);
        if (SoftwareVcpu.IsNull(selector))
        {
            throw GuestException.Protection();
        }

        Descriptor descriptor = ReadGdtDescriptor(cpu, selector);
        bool available = descriptor.Type == SystemType.AvailableTss
            || (descriptor.Type == SystemType.AvailableTss16 && !cpu.LongModeActive);
        if (!descriptor.IsSystem || !available)
        {
            throw SoftwareVcpu.SelectorFault(Vector.GeneralProtection, selector);
        }

        NativeSegment task = LoadSystemSegment(cpu, descriptor, selector);
        cpu.SetType(descriptor, SystemType.Busy);
        task.Attributes |= SystemType.Busy;
        cpu.S->Tr = task;
    }

    public static void StoreTask(SoftwareVcpu cpu, in Instruction insn)
    {
        RequireProtection(cpu);
        cpu.RequireRing0UnderUmip();
        SegmentLoads.StoreSelector(cpu, insn, cpu.S->Tr.Selector);
    }

    private static void ReadPseudoDescriptor(SoftwareVcpu cpu, in Instruction insn, bool operand16, out ulong tableBase, out ushort limit)
    {
        cpu.RequireRing0();
        int size = cpu.Code64 ? 10 : 6;
        Span<byte> bytes = stackalloc byte[10];
        bytes.Clear();
        cpu.LoadBytes(cpu.LinearAddress(insn, size, Access.Read), bytes[..size]);
        limit = BinaryPrimitives.ReadUInt16LittleEndian(bytes);
        tableBase = BinaryPrimitives.ReadUInt64LittleEndian(bytes[2..]);
        if (operand16)
        {
            tableBase &= Base24;
        }

        if (cpu.Code64 && !SoftwareVcpu.IsCanonical(tableBase))
        {
            throw GuestException.Protection();
        }
    }

    private static void WritePseudoDescriptor(SoftwareVcpu cpu, in Instruction insn, ulong tableBase, uint limit)
    {
        cpu.RequireRing0UnderUmip();
        int size = cpu.Code64 ? 10 : 6;
        Span<byte> bytes = stackalloc byte[10];
        BinaryPrimitives.WriteUInt16LittleEndian(bytes, (ushort)limit);
        BinaryPrimitives.WriteUInt64LittleEndian(bytes[2..], tableBase);
        cpu.StoreBytes(cpu.LinearAddress(insn, size, Access.Write), bytes[..size]);
    }

    private static ushort ReadSystemSelector(SoftwareVcpu cpu, in Instruction insn)
    {
        RequireProtection(cpu);
        cpu.RequireRing0();
        return SelectorOperand.Read(cpu, insn, 0);
    }

    /// <summary>LDTs and TSSs are described in the GDT only.</summary>
    private static Descriptor ReadGdtDescriptor(SoftwareVcpu cpu, ushort selector)
        => (selector & 4) == 0 ? cpu.ReadDescriptor(selector) : throw SoftwareVcpu.SelectorFault(Vector.GeneralProtection, selector);

    private static NativeSegment LoadSystemSegment(SoftwareVcpu cpu, in Descriptor descriptor, ushort selector)
    {
        if (!descriptor.Present)
        {
            throw SoftwareVcpu.SelectorFault(Vector.SegmentNotPresent, selector);
        }

        var whole = new Descriptor(selector, descriptor.Address, descriptor.Value, cpu.ReadUpperHalf(descriptor));
        return SoftwareVcpu.IsCanonical(whole.Base)
            ? whole.ToSegment(selector)
            : throw SoftwareVcpu.SelectorFault(Vector.GeneralProtection, selector);
    }

    private static void RequireProtection(SoftwareVcpu cpu)
    {
        if (!cpu.SegmentProtection)
        {
            throw GuestException.Undefined();
        }
    }
}
