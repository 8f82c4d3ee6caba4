using System.Buffers.Binary;

namespace Vivarium.Firmware.Boot;

/// <summary>
/// The expansion ROM by which firmware starts a kernel: header, Plug and Play header with a bootstrap entry vector (Plug and Play
/// BIOS Specification 1.0A, 3.2 and appendix), 16-bit code, and a table of requests to the firmware configuration device.
/// </summary>
internal static class HandoverRom
{
    /// <summary>One copy from an item into memory; those from the same item that follow each other go on where the last ended.</summary>
    internal readonly record struct Request(ushort Item, uint Address, uint Length);

    private const int BlockSize = 512;
    private const int PnpPointer = 0x1A;
    private const int PnpHeader = 0x20;
    private const int PnpLength = 0x20;
    private const int ProductName = 0x40;
    private const int Code = 0x60;

    /// <summary>Behind the code, which is shorter than that.</summary>
    private const int GdtPointer = 0xF8;
    private const int Table = 0x100;

    /// <summary>Where the code puts a copy of the table, since requests are answered in their place; 4 KiB that firmware leaves free.</summary>
    private const ushort TableCopy = 0x7000;
    private const int RequestLength = 16;
    private const int MostRequests = 255;

    private const ushort DmaHighPort = 0x514;
    private const ushort DmaLowPort = 0x518;
    private const uint DmaRead = 1 << 1;
    private const uint DmaSelect = 1 << 3;
    private const int DmaItemShift = 16;

    /// <exception cref="BootException">There are more requests than the ROM has room for.</exception>
    public static byte[] Build(IReadOnlyList<Request> requests, EntryState entry)
    {
        if (requests.Count > MostRequests)
        {
            throw new BootException($"the kernel and what it gets are {requests.Count} pieces of memory, and firmware can be given {MostRequests}; give a kernel with fewer segments, or fewer modules");
        }

        int tableLength = (requests.Count + 1) * RequestLength;
        byte[] rom = new byte[(Table + tableLength + BlockSize - 1) / BlockSize * BlockSize];
        BinaryPrimitives.WriteUInt16LittleEndian(rom, 0xAA55);
        rom[2] = (byte)(rom.Length / BlockSize);
        rom[3] = 0xCB; // retf: nothing to set up
        BinaryPrimitives.WriteUInt16LittleEndian(rom.AsSpan(PnpPointer), PnpHeader);
        WritePnpHeader(rom.AsSpan(PnpHeader, PnpLength));
        "Kernel of the command line\0"u8.CopyTo(rom.AsSpan(ProductName));
        byte[] code = Assemble((ushort)tableLength, entry);
        code.CopyTo(rom, Code);
        BinaryPrimitives.WriteUInt16LittleEndian(rom.AsSpan(GdtPointer), entry.GdtLimit);
        BinaryPrimitives.WriteUInt32LittleEndian(rom.AsSpan(GdtPointer + 2), (uint)entry.GdtBase);
        WriteTable(rom.AsSpan(Table, tableLength), requests);

        // All bytes of a ROM add up to zero.
        rom[^1] = (byte)-rom.Sum(value => value);
        return rom;
    }

    private static void WritePnpHeader(Span<byte> header)
    {
        const int bootstrapEntryVector = 0x1A;
        "$PnP"u8.CopyTo(header);
        header[4] = 1;
        header[5] = PnpLength / 16;
        BinaryPrimitives.WriteUInt16LittleEndian(header[0x10..], ProductName);
        BinaryPrimitives.WriteUInt16LittleEndian(header[bootstrapEntryVector..], Code);
        byte sum = 0;
        foreach (byte value in header)
        {
            sum += value;
        }

        header[9] = (byte)-sum;
    }

    /// <summary>Control, length and address of each in big-endian; a control of zero ends the table.</summary>
    private static void WriteTable(Span<byte> table, IReadOnlyList<Request> requests)
    {
        ushort selected = 0;
        for (int i = 0; i < requests.Count; i++)
        {
            Request request = requests[i];
            Span<byte> at = table.Slice(i * RequestLength, RequestLength);
            uint select = request.Item == selected ? 0 : DmaSelect | (uint)request.Item << DmaItemShift;
            BinaryPrimitives.WriteUInt32BigEndian(at, DmaRead | select);
            BinaryPrimitives.WriteUInt32BigEndian(at[4..], request.Length);
            BinaryPrimitives.WriteUInt64BigEndian(at[8..], request.Address);
            selected = request.Item;
        }
    }

    private static byte[] Assemble(ushort tableLength, EntryState entry)
    {
        var code = new LittleEndianWriter();
        code.Bytes([0xFA, 0xFC]);                          // cli; cld
        code.Bytes([0x0E, 0x1F]);                          // push cs; pop ds
        code.Bytes([0x66, 0x31, 0xC0, 0x8E, 0xC0]);        // xor eax, eax; mov es, ax
        code.U8(0xBE);                                     // mov si, Table
        code.U16(Table);
        code.U8(0xBF);                                     // mov di, TableCopy
        code.U16(TableCopy);
        code.U8(0xB9);                                     // mov cx, tableLength
        code.U16(tableLength);
        code.Bytes([0xF3, 0xA4]);                          // rep movsb
        code.Bytes([0x8E, 0xD8]);                          // mov ds, ax
        code.U8(0xBA);                                     // mov dx, DmaHighPort
        code.U16(DmaHighPort);
        code.Bytes([0x66, 0xEF]);                          // out dx, eax
        code.U8(0xBA);                                     // mov dx, DmaLowPort
        code.U16(DmaLowPort);
        code.U8(0xBE);                                     // mov si, TableCopy
        code.U16(TableCopy);

        int next = code.Length;
        code.Bytes([0x66, 0x83, 0x3C, 0x00, 0x74, 0x00]);  // next: cmp dword [si], 0; je done
        int toDone = code.Length;
        code.Bytes([0x66, 0x31, 0xC0, 0x89, 0xF0]);        // xor eax, eax; mov ax, si
        code.Bytes([0x66, 0x0F, 0xC8, 0x66, 0xEF]);        // bswap eax; out dx, eax
        code.Bytes([0x66, 0x8B, 0x04]);                    // wait: mov eax, [si]
        code.Bytes([0x66, 0x85, 0xC0, 0x74, 0x0A]);        // test eax, eax; jz ok
        code.Bytes([0x66, 0x3D, 0, 0, 0, 1]);              // cmp eax, the error bit in big-endian
        code.Bytes([0x75, 0xF0]);                          // jne wait
        code.Bytes([0xCD, 0x18]);                          // int 18h: booting has failed
        code.Bytes([0x83, 0xC6, 0x10]);                    // ok: add si, RequestLength
        code.Bytes([0xEB, (byte)(next - code.Length - 2)]); // jmp next

        int done = code.Length;
        Enter(code, entry);
        byte[] bytes = code.ToArray();
        bytes[toDone - 1] = (byte)(done - toDone);
        return bytes.Length <= GdtPointer - Code ? bytes : throw new InvalidOperationException("the ROM's code runs into its tables");
    }

    private static void Enter(LittleEndianWriter code, EntryState entry)
    {
        bool isProtected = entry.Mode == EntryMode.Protected32;
        if (isProtected)
        {
            code.Bytes([0x2E, 0x66, 0x0F, 0x01, 0x16]);    // lgdt [cs:GdtPointer]
            code.U16(GdtPointer);
            code.Bytes([0x0F, 0x20, 0xC0, 0x0C, 0x01]);    // mov eax, cr0; or al, 1
            code.Bytes([0x0F, 0x22, 0xC0]);                // mov cr0, eax
        }

        code.U8(0xB8);                                     // mov ax, data segment
        code.U16(entry.Ds.Selector);
        code.Bytes([0x8E, 0xD8, 0x8E, 0xC0]);              // mov ds, ax; mov es, ax
        code.Bytes([0x8E, 0xE0, 0x8E, 0xE8, 0x8E, 0xD0]);  // mov fs, ax; mov gs, ax; mov ss, ax
        code.Bytes([0x66, 0xBC]);                          // mov esp, ...
        code.U32((uint)entry.Rsp);
        code.Bytes([0x66, 0xB8]);                          // mov eax, ...
        code.U32((uint)entry.Rax);
        code.Bytes([0x66, 0xBB]);                          // mov ebx, ...
        code.U32((uint)entry.Rbx);
        if (isProtected)
        {
            code.Bytes([0x66, 0xEA]);                      // jmp dword selector:offset
            code.U32((uint)entry.Rip);
        }
        else
        {
            code.U8(0xEA);                                 // jmp segment:offset
            code.U16((ushort)entry.Rip);
        }

        code.U16(entry.Cs.Selector);
    }
}
