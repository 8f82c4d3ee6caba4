namespace Vivarium.Firmware.Acpi;

/// <summary>
/// The differentiated system description table: the namespace of everything that cannot be found by probing. It describes
/// what <see cref="PlatformLayout"/> says is present and nothing else.
/// </summary>
internal static class Dsdt
{
    /// <summary>Revision 2 makes integers 64 bits wide.</summary>
    private const byte Revision = 2;

    private const int PciPins = 4;
    private const int PciDevices = 32;

    public static byte[] Build(PlatformLayout layout)
    {
        var aml = new AmlBuilder();

        // The operating system tells by \_PIC whether it uses the APICs; the 8259s are the default.
        aml.Name("PICF", 0);
        aml.Method("_PIC", arguments: 1, method => method.StoreArgument(0, "PICF"));
        aml.Name("_S5", value => value.Package(layout.SleepTypeS5, layout.SleepTypeS5, 0, 0));
        aml.Scope("_SB", sb =>
        {
            sb.Device("PCI0", host => PciHost(host, layout));
            sb.Device("MBRD", board => Motherboard(board, layout));
            for (int i = 0; i < layout.VirtioMmioCount; i++)
            {
                int index = i;
                sb.Device($"VR{index:X2}", device => VirtioMmio(device, index));
            }
        });
        return SystemDescriptionTable.Seal("DSDT"u8, Revision, layout.Identity, aml.ToArray());
    }

    private static void PciHost(AmlBuilder host, PlatformLayout layout)
    {
        const ushort configurationPorts = 0xCF8;
        const byte configurationPortCount = 8;
        host.HardwareId("PNP0A03");
        host.Name("_UID", 0);
        host.Name("_BBN", 0);
        host.Name("_CRS", new ResourceTemplate()
            .WordBusNumber(0, 0xFF)
            .Io(configurationPorts, configurationPortCount)
            .WordIo(0, configurationPorts - 1)
            .WordIo(configurationPorts + configurationPortCount, 0xFFFF)
            .CacheableDWordMemory(0xA_0000, 0xB_FFFF)
            .DWordMemory((uint)PlatformLayout.PciHoleStart, (uint)PlatformLayout.PciHoleWindowEnd));
        host.Name("PRTP", table => table.Package(PciRouting(line => PlatformLayout.PciIrqs[line])));
        host.Name("PRTA", table => table.Package(PciRouting(line => (byte)(PlatformLayout.PciGsiBase + line))));
        host.Method("_PRT", arguments: 0, method =>
        {
            method.If("PICF", then => then.Return(value => value.NameString("PRTA")));
            method.Return(value => value.NameString("PRTP"));
        });
        host.Device("ISA", isa => IsaBus(isa, layout));
    }

    /// <summary>One entry for each pin of each device: address, pin, no link device, global system interrupt.</summary>
    private static Action<AmlBuilder>[] PciRouting(Func<int, byte> interruptOfLine)
    {
        var entries = new List<Action<AmlBuilder>>();

        // Device 0 is the host bridge, which has no interrupt.
        for (uint device = 1; device < PciDevices; device++)
        {
            for (uint pin = 0; pin < PciPins; pin++)
            {
                ulong address = device << 16 | 0xFFFF;
                ulong pinNumber = pin;
                ulong interrupt = interruptOfLine((int)((device + pin + PciPins - 1) % PciPins));
                entries.Add(entry => entry.Package(address, pinNumber, 0, interrupt));
            }
        }

        return [.. entries];
    }

    private static void IsaBus(AmlBuilder isa, PlatformLayout layout)
    {
        // The ISA bridge, function 0 of device 1.
        isa.Name("_ADR", 0x1_0000);
        isa.Device("RTC", rtc =>
        {
            rtc.HardwareId("PNP0B00");
            rtc.Name("_CRS", new ResourceTemplate().Io(PlatformLayout.RtcPort, 2).IrqNoFlags(PlatformLayout.RtcIrq));
        });
        if (layout.HasKeyboardController)
        {
            isa.Device("KBD", keyboard =>
            {
                keyboard.HardwareId("PNP0303");
                keyboard.Name("_CRS", new ResourceTemplate()
                    .Io(PlatformLayout.KeyboardDataPort, 1)
                    .Io(PlatformLayout.KeyboardCommandPort, 1)
                    .IrqNoFlags(PlatformLayout.KeyboardIrq));
            });
        }

        if (layout is { HasKeyboardController: true, HasMouse: true })
        {
            isa.Device("MOU", mouse =>
            {
                mouse.HardwareId("PNP0F13");
                mouse.Name("_CRS", new ResourceTemplate().IrqNoFlags(PlatformLayout.MouseIrq));
            });
        }

        if (layout.HasParallelPort)
        {
            isa.Device("LPT1", ParallelPort);
        }

        for (int i = 0; i < layout.SerialPorts.Count; i++)
        {
            SerialPort port = layout.SerialPorts[i];
            ulong number = (ulong)i + 1;
            isa.Device($"COM{number}", com =>
            {
                com.HardwareId("PNP0501");
                com.Name("_UID", number);
                com.Name("_CRS", new ResourceTemplate().Io(port.Port, 8).IrqNoFlags(port.Irq));
            });
        }
    }

    private static void ParallelPort(AmlBuilder port)
    {
        port.HardwareId("PNP0400");
        port.Name("_UID", 1);
        port.Name("_CRS", new ResourceTemplate().Io(PlatformLayout.ParallelPort, PlatformLayout.ParallelPortCount).IrqNoFlags(PlatformLayout.ParallelIrq));
    }

    /// <summary>A virtio device with memory-mapped registers, under the identifier that Linux and others know it by.</summary>
    private static void VirtioMmio(AmlBuilder device, int index)
    {
        device.Name("_HID", value => value.String("LNRO0005"));
        device.Name("_UID", (ulong)index);
        device.Name("_CCA", 1);
        device.Name("_CRS", new ResourceTemplate()
            .Memory32Fixed((uint)PlatformLayout.VirtioMmioAddress(index), PlatformLayout.VirtioMmioSize)
            .SharedLevelInterrupt(PlatformLayout.VirtioMmioGsi(index)));
    }

    /// <summary>Ports that belong to the board itself and must not be given to PCI devices.</summary>
    private static void Motherboard(AmlBuilder board, PlatformLayout layout)
    {
        board.HardwareId("PNP0C02");
        board.Name("_CRS", new ResourceTemplate()
            .Io(layout.Pm1aEventBlock, PlatformLayout.PowerManagementPorts)
            .Io(layout.Gpe0Block, PlatformLayout.Gpe0Length));
    }
}
