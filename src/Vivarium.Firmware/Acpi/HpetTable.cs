namespace Vivarium.Firmware.Acpi;

/// <summary>HPET description table (IA-PC HPET specification 3.2.4).</summary>
internal static class HpetTable
{
    private const byte Revision = 1;

    /// <summary>Least ticks between periodic interrupts that lose none.</summary>
    private const ushort MinimumTick = 0x80;

    public static byte[] Build(PlatformIdentity identity)
    {
        var body = new LittleEndianWriter();
        body.U32(PlatformLayout.HpetEventTimerBlockId);
        new GenericAddress(GenericAddress.SystemMemory, 64, GenericAddress.Access.Undefined, PlatformLayout.HpetBase).Write(body);
        body.U8(0); // sequence number
        body.U16(MinimumTick);
        body.U8(0); // no page protection
        return SystemDescriptionTable.Seal("HPET"u8, Revision, identity, body.Written);
    }
}
