using Iced.Intel;
using Vivarium.Engine;
using Vivarium.Engine.Software;
using Vivarium.Memory;

namespace Vivarium.Micro;

/// <summary>
/// One vCPU in 64-bit mode at CPL 0, with RAM mapped one to one by pages of 4 KiB, one page of MMIO, and an IDT. A snippet at
/// <see cref="Code"/> does its work and halts; <see cref="RunToHalt"/> runs it, and runs on behind the HLT the next time.
/// </summary>
internal sealed class BareMachine : IDisposable
{
    public const ulong RamSize = 128 << 20;
    public const ulong Handlers = 0x5000;
    public const ulong Code = 0x20_0000;
    public const ulong Data = 0x100_0000;
    public const ulong Mmio = 0x4000_0000;

    /// <summary>A linear page that is not present.</summary>
    public const ulong Absent = Mmio + PageSize;

    private const ulong PageSize = GuestMemory.PageSize;
    private const ulong Gdt = 0x1000;
    private const ulong Idt = 0x2000;
    private const ulong StackTop = 0x9000;
    private const ulong Pml4 = 0x10_0000;
    private const ulong Pdpt = Pml4 + PageSize;
    private const ulong RamDirectory = Pdpt + PageSize;
    private const ulong MmioDirectory = RamDirectory + PageSize;
    private const ulong MmioTable = MmioDirectory + PageSize;
    private const ulong RamTables = MmioTable + PageSize;
    private const ulong PresentWritable = 3;
    private const ulong Global = 1 << 8;
    private const ulong EntriesPerTable = 512;

    private const ushort CodeSelector = 0x08;
    private const ushort DataSelector = 0x10;
    private const ulong CodeDescriptor = 0x00AF_9B00_0000_FFFF;
    private const ulong DataDescriptor = 0x00CF_9300_0000_FFFF;

    private readonly CpuModel _model = CpuModel.Create("x86-64-v2");
    private readonly GuestMemory _memory = new(RamSize);
    private readonly CpuState _state = new();
    private SoftwareEngine _engine;
    private IVcpu _cpu;

    public BareMachine()
    {
        _memory.AddSlot(0, RamSize);
        _engine = new SoftwareEngine(_memory, _model);
        _cpu = _engine.CreateVcpu(0, QuietBus.Instance);
        _cpu.GetState(_state);
        MapMemory();
        SetUpState();
    }

    /// <summary>Assembles a snippet, at <see cref="Code"/> unless told otherwise.</summary>
    public void Write(Action<Assembler> snippet, ulong at = Code)
    {
        var assembler = new Assembler(64);
        snippet(assembler);
        var bytes = new MemoryStream();
        assembler.Assemble(new StreamCodeWriter(bytes), at);
        _memory.Write(at, bytes.ToArray());
    }

    /// <summary>Sends a vector's interrupt gate to a snippet of at most 256 bytes.</summary>
    public void Handle(byte vector, Action<Assembler> snippet)
    {
        ulong at = Handlers + (vector * 256ul & 0xFFF);
        Write(snippet, at);
        _memory.Write(Idt + (vector * 16ul), at & 0xFFFF | (ulong)CodeSelector << 16 | 0x8E00ul << 32 | (at & 0xFFFF_0000) << 32);
        _memory.Write(Idt + (vector * 16ul) + 8, at >> 32);
    }

    /// <summary>Goes to the start of the snippet with all caches empty.</summary>
    public void Start()
    {
        _cpu.Dispose();
        _engine.Dispose();
        _engine = new SoftwareEngine(_memory, _model);
        _cpu = _engine.CreateVcpu(0, QuietBus.Instance);
        _cpu.SetState(_state);
    }

    /// <summary>Runs until the snippet halts; from the HLT on, if it has halted before.</summary>
    /// <exception cref="InvalidOperationException">It ended in another way.</exception>
    public void RunToHalt()
    {
        _cpu.RequestUnhalt();
        _cpu.Run(out VmExit exit);
        if (exit.Reason != ExitReason.Halt)
        {
            throw new InvalidOperationException($"the snippet ended by {exit.Reason} {exit.Detail}");
        }
    }

    public void Dispose()
    {
        _cpu.Dispose();
        _engine.Dispose();
        _memory.Dispose();
    }

    private void MapMemory()
    {
        _memory.Write(Pml4, Pdpt | PresentWritable);
        _memory.Write(Pdpt, RamDirectory | PresentWritable);
        _memory.Write(Pdpt + 8, MmioDirectory | PresentWritable);
        _memory.Write(MmioDirectory, MmioTable | PresentWritable);
        _memory.Write(MmioTable, Mmio | PresentWritable);
        for (ulong page = 0; page < RamSize / PageSize; page++)
        {
            // As in Linux: what the kernel runs from is global, and outlives a MOV to CR3.
            ulong global = page * PageSize < Data ? Global : 0;
            _memory.Write(RamTables + (page * 8), (page * PageSize) | PresentWritable | global);
        }

        for (ulong table = 0; table < RamSize / PageSize / EntriesPerTable; table++)
        {
            _memory.Write(RamDirectory + (table * 8), (RamTables + (table * PageSize)) | PresentWritable);
        }
    }

    private void SetUpState()
    {
        _memory.Write(Gdt + CodeSelector, CodeDescriptor);
        _memory.Write(Gdt + DataSelector, DataDescriptor);
        for (int i = 0; i < _state.Segments.Length; i++)
        {
            _state.Segments[i] = i == 1
                ? new SegmentRegister { Limit = uint.MaxValue, Selector = CodeSelector, Attributes = 0xA09B }
                : new SegmentRegister { Limit = uint.MaxValue, Selector = DataSelector, Attributes = 0xC093 };
        }

        _state.Ldtr.Attributes = SegmentRegister.Unusable;
        _state.Tr = new SegmentRegister { Limit = 0x67, Attributes = 0x8B };
        _state.GdtrBase = Gdt;
        _state.GdtrLimit = 0x17;
        _state.IdtrBase = Idt;
        _state.IdtrLimit = 0xFFF;
        // PE, MP, ET, NE, WP, PG; PAE, PGE, OSFXSR, OSXMMEXCPT; SCE, LME, LMA.
        _state.Cr0 = 0x8001_0033;
        _state.Cr3 = Pml4;
        _state.Cr4 = 0x6A0;
        _state.Efer = 0x501;
        _state.Gpr[4] = StackTop;
        _state.Rip = Code;
    }
}
