namespace Vivarium.Firmware.Acpi;

/// <summary>A list of resource descriptors, the value of _CRS (ACPI 6.4). Methods are named as in ASL.</summary>
internal sealed class ResourceTemplate
{
    private const byte IrqNoFlagsTag = 0x22;
    private const byte IoTag = 0x47;
    private const byte EndTag = 0x79;
    private const byte Memory32FixedTag = 0x86;
    private const byte DWordAddressSpaceTag = 0x87;
    private const byte WordAddressSpaceTag = 0x88;
    private const byte ExtendedInterruptTag = 0x89;

    /// <summary>A zero after the end tag stands for a checksum that is right (ACPI 6.4.2.9).</summary>
    private const byte NoChecksum = 0;

    private const byte MemoryRange = 0;
    private const byte IoRange = 1;
    private const byte BusNumberRange = 2;

    /// <summary>_MIF and _MAF: both ends of the window are fixed; decode is positive; the device produces the range.</summary>
    private const byte FixedWindow = 0b1100;

    /// <summary>Interrupt vector flags (ACPI 6.4.3.6): the device consumes it; level, active high, shared.</summary>
    private const byte InterruptConsumer = 1 << 0;
    private const byte InterruptShared = 1 << 3;

    private const byte EntireRange = 3;
    private const byte Cacheable = 1 << 1;
    private const byte ReadWrite = 1 << 0;

    private readonly LittleEndianWriter _out = new();

    public ResourceTemplate Io(ushort port, byte length)
    {
        _out.U8(IoTag);
        _out.U8(1); // decodes 16 bits
        _out.U16(port);
        _out.U16(port);
        _out.U8(1); // alignment
        _out.U8(length);
        return this;
    }

    /// <summary>An ISA interrupt: edge, active high.</summary>
    public ResourceTemplate IrqNoFlags(byte irq)
    {
        _out.U8(IrqNoFlagsTag);
        _out.U16((ushort)(1 << irq));
        return this;
    }

    /// <summary>A range of memory that can be read and written.</summary>
    public ResourceTemplate Memory32Fixed(uint address, uint size)
    {
        const ushort length = 9;
        _out.U8(Memory32FixedTag);
        _out.U16(length);
        _out.U8(ReadWrite);
        _out.U32(address);
        _out.U32(size);
        return this;
    }

    /// <summary>One global system interrupt: level, active high, shared.</summary>
    public ResourceTemplate SharedLevelInterrupt(uint gsi)
    {
        const ushort length = 6;
        _out.U8(ExtendedInterruptTag);
        _out.U16(length);
        _out.U8(InterruptConsumer | InterruptShared);
        _out.U8(1); // interrupts in the list
        _out.U32(gsi);
        return this;
    }

    public ResourceTemplate WordBusNumber(ushort first, ushort last) => WordWindow(BusNumberRange, 0, first, last);

    public ResourceTemplate WordIo(ushort first, ushort last) => WordWindow(IoRange, EntireRange, first, last);

    public ResourceTemplate CacheableDWordMemory(uint first, uint last) => DWordMemory(Cacheable | ReadWrite, first, last);

    public ResourceTemplate DWordMemory(uint first, uint last) => DWordMemory(ReadWrite, first, last);

    public byte[] ToArray()
    {
        var whole = new LittleEndianWriter();
        whole.Bytes(_out.Written);
        whole.U8(EndTag);
        whole.U8(NoChecksum);
        return whole.ToArray();
    }

    private ResourceTemplate WordWindow(byte type, byte typeFlags, ushort first, ushort last)
    {
        const ushort length = 13;
        _out.U8(WordAddressSpaceTag);
        _out.U16(length);
        _out.U8(type);
        _out.U8(FixedWindow);
        _out.U8(typeFlags);
        _out.U16(0); // granularity
        _out.U16(first);
        _out.U16(last);
        _out.U16(0); // translation
        _out.U16((ushort)(last - first + 1));
        return this;
    }

    private ResourceTemplate DWordMemory(byte typeFlags, uint first, uint last)
    {
        const ushort length = 23;
        _out.U8(DWordAddressSpaceTag);
        _out.U16(length);
        _out.U8(MemoryRange);
        _out.U8(FixedWindow);
        _out.U8(typeFlags);
        _out.U32(0); // granularity
        _out.U32(first);
        _out.U32(last);
        _out.U32(0); // translation
        _out.U32(last - first + 1);
        return this;
    }
}
