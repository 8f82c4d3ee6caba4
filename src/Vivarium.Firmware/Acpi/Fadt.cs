namespace Vivarium.Firmware.Acpi;

/// <summary>Fixed ACPI description table, revision 6.3 (ACPI 5.2.9).</summary>
internal static class Fadt
{
    private const byte MajorVersion = 6;
    private const byte MinorVersion = 3;
    private const byte DesktopProfile = 1;

    /// <summary>P_LVL2_LAT and P_LVL3_LAT above these limits say that there is no C2 and no C3.</summary>
    private const ushort NoC2 = 101;
    private const ushort NoC3 = 1001;

    [Flags]
    private enum BootArchitecture : ushort
    {
        LegacyDevices = 1 << 0,
        KeyboardController8042 = 1 << 1,
        VgaNotPresent = 1 << 2,
    }

    [Flags]
    private enum Features : uint
    {
        Wbinvd = 1 << 0,
        ProcC1 = 1 << 2,
        NoFixedSleepButton = 1 << 5,
        NoFixedRtcWake = 1 << 6,
        PmTimerIs32Bits = 1 << 8,
        ResetRegisterSupported = 1 << 10,
    }

    public static byte[] Build(PlatformLayout layout, ulong facs, ulong dsdt)
    {
        BootArchitecture boot = BootArchitecture.LegacyDevices
            | (layout.HasKeyboardController ? BootArchitecture.KeyboardController8042 : 0)
            | (layout.HasVga ? 0 : BootArchitecture.VgaNotPresent);

        // The absence of "no fixed power button" means that there is one.
        const Features features = Features.Wbinvd | Features.ProcC1 | Features.NoFixedSleepButton
            | Features.NoFixedRtcWake | Features.PmTimerIs32Bits | Features.ResetRegisterSupported;

        var body = new LittleEndianWriter();
        body.U32((uint)facs);
        body.U32((uint)dsdt);
        body.U8(0); // reserved
        body.U8(DesktopProfile);
        body.U16(PlatformLayout.SciIrq);
        body.U32(0); // SMI_CMD: none, the machine is always in ACPI mode
        body.U8(0); // ACPI_ENABLE
        body.U8(0); // ACPI_DISABLE
        body.U8(0); // S4BIOS_REQ
        body.U8(0); // PSTATE_CNT
        body.U32(layout.Pm1aEventBlock);
        body.U32(0); // PM1b_EVT_BLK
        body.U32(layout.Pm1aControlBlock);
        body.U32(0); // PM1b_CNT_BLK
        body.U32(0); // PM2_CNT_BLK
        body.U32(layout.PmTimerBlock);
        body.U32(layout.Gpe0Block);
        body.U32(0); // GPE1_BLK
        body.U8(PlatformLayout.Pm1EventLength);
        body.U8(PlatformLayout.Pm1ControlLength);
        body.U8(0); // PM2_CNT_LEN
        body.U8(PlatformLayout.PmTimerLength);
        body.U8(PlatformLayout.Gpe0Length);
        body.U8(0); // GPE1_BLK_LEN
        body.U8(0); // GPE1_BASE
        body.U8(0); // CST_CNT
        body.U16(NoC2);
        body.U16(NoC3);
        body.U16(0); // FLUSH_SIZE, not needed with WBINVD
        body.U16(0); // FLUSH_STRIDE
        body.U8(0); // DUTY_OFFSET
        body.U8(0); // DUTY_WIDTH: no throttling
        body.U8(0); // DAY_ALRM
        body.U8(0); // MON_ALRM
        body.U8(PlatformLayout.RtcCenturyIndex);
        body.U16((ushort)boot);
        body.U8(0); // reserved
        body.U32((uint)features);
        GenericAddress.Io(PlatformLayout.ResetRegister, 1, GenericAddress.Access.Byte).Write(body);
        body.U8(PlatformLayout.ResetValue);
        body.U16(0); // ARM_BOOT_ARCH
        body.U8(MinorVersion);
        body.U64(facs);
        body.U64(dsdt);
        GenericAddress.Io(layout.Pm1aEventBlock, PlatformLayout.Pm1EventLength, GenericAddress.Access.Word).Write(body);
        default(GenericAddress).Write(body); // X_PM1b_EVT_BLK
        GenericAddress.Io(layout.Pm1aControlBlock, PlatformLayout.Pm1ControlLength, GenericAddress.Access.Word).Write(body);
        default(GenericAddress).Write(body); // X_PM1b_CNT_BLK
        default(GenericAddress).Write(body); // X_PM2_CNT_BLK
        GenericAddress.Io(layout.PmTimerBlock, PlatformLayout.PmTimerLength, GenericAddress.Access.DWord).Write(body);
        GenericAddress.Io(layout.Gpe0Block, PlatformLayout.Gpe0Length, GenericAddress.Access.Byte).Write(body);
        default(GenericAddress).Write(body); // X_GPE1_BLK
        default(GenericAddress).Write(body); // SLEEP_CONTROL_REG
        default(GenericAddress).Write(body); // SLEEP_STATUS_REG
        body.U64(0); // hypervisor vendor identity: CPUID tells it, if anything does
        return SystemDescriptionTable.Seal("FACP"u8, MajorVersion, layout.Identity, body.Written);
    }
}
