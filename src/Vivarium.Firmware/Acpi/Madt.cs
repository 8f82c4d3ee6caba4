namespace Vivarium.Firmware.Acpi;

/// <summary>Multiple APIC description table (ACPI 5.2.12).</summary>
internal static class Madt
{
    private const byte Revision = 5;
    private const uint PcAtCompatible = 1;

    private const byte LocalApic = 0;
    private const byte IoApic = 1;
    private const byte InterruptSourceOverride = 2;
    private const byte LocalApicNmi = 4;

    private const uint Enabled = 1;
    private const byte AllProcessors = 0xFF;
    private const byte Lint1 = 1;
    private const byte IsaBus = 0;
    private const byte PitIrq = 0;

    /// <summary>MPS INTI flags (ACPI 5.2.12.5): as the bus specifies, or active high and level.</summary>
    private const ushort ConformsToBus = 0;
    private const ushort ActiveHighLevel = 0b1101;

    public static byte[] Build(PlatformLayout layout)
    {
        var body = new LittleEndianWriter();
        body.U32((uint)PlatformLayout.LocalApicBase);
        body.U32(PcAtCompatible);
        for (int cpu = 0; cpu < layout.CpuCount; cpu++)
        {
            body.U8(LocalApic);
            body.U8(8);
            body.U8((byte)cpu); // processor UID
            body.U8((byte)cpu); // APIC ID
            body.U32(Enabled);
        }

        body.U8(IoApic);
        body.U8(12);
        body.U8(PlatformLayout.IoApicId);
        body.U8(0);
        body.U32((uint)PlatformLayout.IoApicBase);
        body.U32(0); // first global system interrupt

        Override(body, PitIrq, PlatformLayout.PitGsi, ConformsToBus);
        Override(body, PlatformLayout.SciIrq, PlatformLayout.SciIrq, ActiveHighLevel);

        body.U8(LocalApicNmi);
        body.U8(6);
        body.U8(AllProcessors);
        body.U16(ConformsToBus);
        body.U8(Lint1);
        return SystemDescriptionTable.Seal("APIC"u8, Revision, layout.Identity, body.Written);
    }

    private static void Override(LittleEndianWriter body, byte irq, uint gsi, ushort flags)
    {
        body.U8(InterruptSourceOverride);
        body.U8(10);
        body.U8(IsaBus);
        body.U8(irq);
        body.U32(gsi);
        body.U16(flags);
    }
}
