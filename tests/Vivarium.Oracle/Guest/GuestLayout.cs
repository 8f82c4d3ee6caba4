using Vivarium.Engine;
using Vivarium.Memory;

namespace Vivarium.Oracle.Guest;

/// <summary>
/// The smallest 64-bit guest that can run cases: page tables, GDT, TSS with one IST stack, and an IDT whose handlers
/// halt, so that the RIP of the HLT tells the vector.
/// </summary>
internal static class GuestLayout
{
    public const ulong MemorySize = 2 << 20;

    private const ulong Pml4 = 0x1000;
    private const ulong Pdpt = 0x2000;
    private const ulong PageDirectory = 0x3000;
    private const ulong LowTable = 0x4000;
    private const ulong CodeTable = 0x5000;
    private const ulong DataTable = 0x6000;
    private const ulong Gdt = 0x7000;
    private const ulong Idt = 0x8000;
    public const ulong Handlers = 0x9000;
    private const ulong Tss = 0xA000;
    private const ulong InterruptStackTop = 0xC000;
    private const ulong CodePhysical = 0x10_0000;

    public const int HandlerSpacing = 16;
    public const int Vectors = 32;
    public const byte Hlt = 0xF4;

    private const ulong PagePresent = 1;
    private const ulong PageWritable = 2;
    private const ulong PageUser = 4;
    private const ulong PageAccessedDirty = 0x60;
    private const ulong PageNoExecute = 1ul << 63;

    private const ushort KernelCode = 0x10;
    private const ushort KernelData = 0x18;

    /// <summary>The selectors that Linux gives a 64-bit process.</summary>
    private const ushort UserData = 0x2B;
    private const ushort UserCode = 0x33;
    private const ushort UserCode32 = 0x23;
    private const ushort TssSelector = 0x40;
    private const ushort KernelCode32 = 0x50;
    private const ushort GdtSize = 0x58;

    /// <summary>Where the data window's pages are: apart and out of order, so that page-crossing accesses show errors.</summary>
    private static readonly ulong[] s_dataPhysical = [0x1A_0000, 0x18_4000, 0x19_1000, 0x18_8000];

    public static ulong CodeToPhysical(ulong linear) => linear - CaseWindow.CodeBase + CodePhysical;

    public static ulong DataPagePhysical(int page) => s_dataPhysical[page];

    public static void Build(GuestMemory memory)
    {
        const ulong table = PagePresent | PageWritable | PageUser | 0x20;
        memory.Write(Pml4, Pdpt | table);
        memory.Write(Pdpt, PageDirectory | table);
        WriteEntry(memory, PageDirectory, 0, LowTable | table);
        WriteEntry(memory, PageDirectory, CaseWindow.CodeBase >> 21, CodeTable | table);
        WriteEntry(memory, PageDirectory, CaseWindow.DataBase >> 21, DataTable | table);
        for (ulong page = 1; page < 16; page++)
        {
            WriteEntry(memory, LowTable, page, (page << 12) | PagePresent | PageWritable | PageAccessedDirty);
        }

        for (ulong page = 0; page < CaseWindow.CodeSize / CaseWindow.PageSize; page++)
        {
            WriteEntry(memory, CodeTable, page, (CodePhysical + (page << 12)) | PagePresent | PageWritable | PageUser | PageAccessedDirty);
        }

        for (int page = 0; page < s_dataPhysical.Length; page++)
        {
            ulong writable = page < CaseWindow.DataSize / CaseWindow.PageSize ? PageWritable : 0;
            WriteEntry(memory, DataTable, (ulong)page, s_dataPhysical[page] | PagePresent | writable | PageUser | PageAccessedDirty | PageNoExecute);
        }

        memory.Write(s_dataPhysical[^1], CaseMemory.ReadOnlyContent);

        memory.Write(Gdt + KernelCode, 0x00AF_9B00_0000_FFFFul);
        memory.Write(Gdt + KernelData, 0x00CF_9300_0000_FFFFul);
        memory.Write(Gdt + (UserCode32 & ~7ul), 0x00CF_FB00_0000_FFFFul);
        memory.Write(Gdt + KernelCode32, 0x00CF_9B00_0000_FFFFul);
        memory.Write(Gdt + (UserData & ~7ul), 0x00CF_F300_0000_FFFFul);
        memory.Write(Gdt + (UserCode & ~7ul), 0x00AF_FB00_0000_FFFFul);
        memory.Write(Gdt + TssSelector, 0x0000_8B00_0000_0067ul | (Tss << 16));
        memory.Write(Tss + 36, InterruptStackTop);
        memory.Write(Tss + 4, InterruptStackTop);
        for (ulong vector = 0; vector < Vectors; vector++)
        {
            ulong handler = Handlers + (vector * HandlerSpacing);
            memory.Write(handler, Hlt);
            const ulong interruptGateIst1 = 0x8E01;
            memory.Write(Idt + (vector * 16), (handler & 0xFFFF) | ((ulong)KernelCode << 16) | (interruptGateIst1 << 32));
        }
    }

    /// <summary>State that is the same for every case.</summary>
    public static void Prepare(CpuState state, int cpl, int bitness)
    {
        SegmentRegister unusable = new() { Attributes = SegmentRegister.Unusable };
        state.Segments[1] = new SegmentRegister
        {
            Selector = bitness == 32 ? (cpl == 3 ? UserCode32 : KernelCode32) : cpl == 3 ? UserCode : KernelCode,
            Limit = uint.MaxValue,
            Attributes = (cpl == 3 ? 0xFBu : 0x9Bu) | (bitness == 32 ? SegmentRegister.Big : SegmentRegister.Long) | SegmentRegister.Granularity,
        };
        state.Segments[2] = new SegmentRegister
        {
            Selector = cpl == 3 ? UserData : KernelData,
            Limit = uint.MaxValue,
            Attributes = (cpl == 3 ? 0xF3u : 0x93u) | SegmentRegister.Big | SegmentRegister.Granularity,
        };
        state.Segments[0] = bitness == 32 ? state.Segments[2] : unusable;
        state.Segments[3] = state.Segments[0];
        if (bitness == 16)
        {
            uint level = cpl == 3 ? 0x60u : 0;
            const uint code = 0x9B, data = 0x93, stack = 0x97;
            state.Segments[0] = Segment16(CaseWindow.EsSelector16, CaseWindow.DataBase, CaseWindow.EsLimit16, data | level);
            state.Segments[1] = Segment16(CaseWindow.CodeSelector16, CaseWindow.CodeBase, CaseWindow.CodeLimit16, code | level);
            state.Segments[2] = Segment16(CaseWindow.SsSelector16, CaseWindow.DataBase, CaseWindow.SsLimit16, stack | level);
            state.Segments[3] = Segment16(CaseWindow.DsSelector16, CaseWindow.DataBase, CaseWindow.DsLimit16, data | level);
        }

        state.Segments[4] = unusable;
        state.Segments[5] = unusable;
        state.Ldtr = unusable;
        state.Tr = new SegmentRegister { Selector = TssSelector, Base = Tss, Limit = 0x67, Attributes = 0x8B };
        state.GdtrBase = Gdt;
        state.GdtrLimit = GdtSize - 1;
        state.IdtrBase = Idt;
        state.IdtrLimit = (Vectors * 16) - 1;
        state.Cr0 = 0x8005_0033; // PG AM WP NE ET MP PE
        state.Cr2 = 0;
        state.Cr3 = Pml4;
        state.Cr4 = 0x5_06A0; // OSXSAVE FSGSBASE OSXMMEXCPT OSFXSR PGE PAE
        state.Efer = 0xD01; // NXE LMA LME SCE
        state.Xcr0 = XsaveArea.Mask;
        state.Dr[6] = 0xFFFF_0FF0;
        state.Dr[7] = 0x400;
        state.Halted = false;
        state.InterruptShadow = false;
        state.NmiBlocked = false;
        state.NmiPending = false;
    }

    private static SegmentRegister Segment16(ushort selector, ulong @base, uint limit, uint attributes)
        => new() { Selector = selector, Base = @base, Limit = limit, Attributes = attributes };

    private static void WriteEntry(GuestMemory memory, ulong table, ulong index, ulong entry) => memory.Write(table + (index * 8), entry);
}
