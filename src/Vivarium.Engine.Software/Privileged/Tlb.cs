using Iced.Intel;

namespace Vivarium.Engine.Software.Privileged;

/// <summary>INVLPG, INVPCID (SDM vol. 2; vol. 3A, 4.10.4.1).</summary>
internal static unsafe class Tlb
{
    private const ulong PcidMask = 0xFFF;

    public static void Register(delegate*<SoftwareVcpu, in Instruction, void>[] table)
    {
        table[(int)Mnemonic.Invlpg] = &InvalidatePage;
        table[(int)Mnemonic.Invpcid] = &InvalidatePcid;
    }

    public static void InvalidatePage(SoftwareVcpu cpu, in Instruction insn)
    {
        cpu.RequireRing0();

        // Only the address is computed: no segment check, and a non-canonical address does nothing.
        int segment = insn.MemorySegment - Iced.Intel.Register.ES;
        ulong offset = cpu.EffectiveAddress(insn);
        ulong linear = cpu.Code64
            ? (segment >= SoftwareVcpu.FsIndex ? cpu.Segment(segment)->Base : 0) + offset
            : (uint)(cpu.Segment(segment)->Base + offset);
        if (SoftwareVcpu.IsCanonical(linear))
        {
            cpu.FlushPage(linear);
        }
    }

    public static void InvalidatePcid(SoftwareVcpu cpu, in Instruction insn)
    {
        cpu.RequireRing0();
        ulong type = cpu.ReadRegister(insn.Op0Register);
        ulong address = cpu.LinearAddress(insn, 16, Access.Read);
        cpu.Probe(address, 16, Access.Read);
        ulong pcid = cpu.Load(address, 8);
        ulong linear = cpu.Load(address + 8, 8);
        bool takesPcid = type <= (ulong)SoftwareVcpu.InvpcidType.SingleContext;
        bool pcidsOff = (cpu.S->Cr4 & Cr4Bits.Pcide) == 0;
        if (type > (ulong)SoftwareVcpu.InvpcidType.AllContextsKeepGlobal
            || (pcid & ~PcidMask) != 0
            || (takesPcid && pcidsOff && pcid != 0)
            || (type == (ulong)SoftwareVcpu.InvpcidType.IndividualAddress && !SoftwareVcpu.IsCanonical(linear)))
        {
            throw GuestException.Protection();
        }

        cpu.FlushPcid((SoftwareVcpu.InvpcidType)type, (int)pcid, linear);
    }
}
