using System.Text;
using Vivarium.Memory;

namespace Vivarium.Firmware;

/// <summary>
/// The processors, buses and interrupts of a machine for systems that do not use ACPI (Intel MultiProcessor Specification 1.4, 4), where a
/// BIOS would have left them.
/// </summary>
internal static class MultiprocessorTable
{
    /// <summary>In the area from 0xF0000 to 0xFFFFF that is searched for "_MP_" at 16-byte steps, behind what SMBIOS takes.</summary>
    public const ulong PointerLocation = 0xF_1000;

    private const ulong TableLocation = PointerLocation + PointerSize;
    private const byte PointerSize = 16;
    private const int PointerChecksum = 10;
    private const byte SpecificationRevision = 4;

    // The configuration table's header.
    private const int HeaderSize = 44;
    private const int TableChecksum = 7;
    private const int OemLength = 8;
    private const int ProductLength = 12;

    // Kinds of entries (4.3).
    private const byte ProcessorEntry = 0;
    private const byte BusEntry = 1;
    private const byte IoApicEntry = 2;
    private const byte InterruptEntry = 3;
    private const byte LocalInterruptEntry = 4;

    private const byte Enabled = 1 << 0;
    private const byte BootProcessor = 1 << 1;
    private const byte LocalApicVersion = 0x14;
    private const byte IoApicVersion = 0x20;

    private const byte PciBus = 0;
    private const byte IsaBus = 1;

    // Kinds of interrupts (4.3.4).
    private const byte Vectored = 0;
    private const byte NonMaskable = 1;
    private const byte ExternalController = 3;

    private const ushort ConformsToBus = 0;
    private const ushort ActiveHighLevel = 0b1101;

    private const byte AllProcessors = 0xFF;
    private const int IsaIrqs = 16;
    private const int CascadeIrq = 2;
    private const int PciDevices = 32;
    private const int PciPins = 4;

    public static void Write(GuestMemory memory, PlatformLayout layout)
    {
        memory.Write(PointerLocation, Pointer());
        memory.Write(TableLocation, Table(layout));
    }

    /// <summary>The floating pointer (4.1): no default configuration, and the 8259s work through the first local APIC at first.</summary>
    private static byte[] Pointer()
    {
        const byte paragraphs = 1;
        var pointer = new LittleEndianWriter();
        pointer.Bytes("_MP_"u8);
        pointer.U32((uint)TableLocation);
        pointer.U8(paragraphs);
        pointer.U8(SpecificationRevision);
        pointer.PadTo(PointerSize);
        byte[] bytes = pointer.ToArray();
        bytes[PointerChecksum] = Checksums.ToZero(bytes);
        return bytes;
    }

    private static byte[] Table(PlatformLayout layout)
    {
        var entries = new LittleEndianWriter();
        int count = Processors(entries, layout) + Buses(entries) + IoApic(entries) + IsaInterrupts(entries) + PciInterrupts(entries) + LocalInterrupts(entries);
        var table = new LittleEndianWriter();
        table.Bytes("PCMP"u8);
        table.U16((ushort)(HeaderSize + entries.Length));
        table.U8(SpecificationRevision);
        table.U8(0); // checksum, below
        table.Bytes(Text(layout.Identity.Manufacturer, OemLength));
        table.Bytes(Text(layout.Identity.Product, ProductLength));
        table.U32(0); // no table of the manufacturer's
        table.U16(0);
        table.U16((ushort)count);
        table.U32((uint)PlatformLayout.LocalApicBase);
        table.U32(0); // nothing follows the entries
        table.Bytes(entries.Written);
        byte[] bytes = table.ToArray();
        bytes[TableChecksum] = Checksums.ToZero(bytes);
        return bytes;
    }

    private static int Processors(LittleEndianWriter entries, PlatformLayout layout)
    {
        for (int cpu = 0; cpu < layout.CpuCount; cpu++)
        {
            entries.U8(ProcessorEntry);
            entries.U8((byte)cpu);
            entries.U8(LocalApicVersion);
            entries.U8((byte)(Enabled | (cpu == 0 ? BootProcessor : 0)));
            entries.U32(layout.ProcessorSignature);
            entries.U32(layout.ProcessorFeatures);
            entries.U64(0);
        }

        return layout.CpuCount;
    }

    private static int Buses(LittleEndianWriter entries)
    {
        void Bus(byte id, ReadOnlySpan<byte> name)
        {
            entries.U8(BusEntry);
            entries.U8(id);
            entries.Bytes(name);
        }

        Bus(PciBus, "PCI   "u8);
        Bus(IsaBus, "ISA   "u8);
        return 2;
    }

    private static int IoApic(LittleEndianWriter entries)
    {
        entries.U8(IoApicEntry);
        entries.U8(PlatformLayout.IoApicId);
        entries.U8(IoApicVersion);
        entries.U8(Enabled);
        entries.U32((uint)PlatformLayout.IoApicBase);
        return 1;
    }

    private static int IsaInterrupts(LittleEndianWriter entries)
    {
        int count = 0;
        for (int irq = 0; irq < IsaIrqs; irq++)
        {
            if (irq != CascadeIrq)
            {
                Interrupt(entries, IsaBus, (byte)irq, irq == 0 ? PlatformLayout.PitGsi : (byte)irq, irq == PlatformLayout.SciIrq ? ActiveHighLevel : ConformsToBus);
                count++;
            }
        }

        return count;
    }

    /// <summary>As the DSDT's _PRT says; the source is device and pin (appendix D.3).</summary>
    private static int PciInterrupts(LittleEndianWriter entries)
    {
        int count = 0;
        for (int device = 1; device < PciDevices; device++)
        {
            for (int pin = 0; pin < PciPins; pin++)
            {
                byte input = (byte)(PlatformLayout.PciGsiBase + ((device + pin + PciPins - 1) % PciPins));
                Interrupt(entries, PciBus, (byte)((device << 2) | pin), input, ConformsToBus);
                count++;
            }
        }

        return count;
    }

    private static void Interrupt(LittleEndianWriter entries, byte bus, byte source, byte input, ushort flags) =>
        Assignment(entries, InterruptEntry, Vectored, flags, bus, source, PlatformLayout.IoApicId, input);

    private static int LocalInterrupts(LittleEndianWriter entries)
    {
        const byte firstProcessor = 0, lint0 = 0, lint1 = 1;
        Assignment(entries, LocalInterruptEntry, ExternalController, ConformsToBus, IsaBus, 0, firstProcessor, lint0);
        Assignment(entries, LocalInterruptEntry, NonMaskable, ConformsToBus, IsaBus, 0, AllProcessors, lint1);
        return 2;
    }

    private static void Assignment(LittleEndianWriter entries, byte entry, byte kind, ushort flags, byte bus, byte source, byte apic, byte input)
    {
        entries.U8(entry);
        entries.U8(kind);
        entries.U16(flags);
        entries.U8(bus);
        entries.U8(source);
        entries.U8(apic);
        entries.U8(input);
    }

    private static byte[] Text(string text, int length) => Encoding.ASCII.GetBytes(text.PadRight(length)[..length]);
}
