namespace Vivarium.Firmware.Boot;

/// <summary>
/// The state of the boot processor at the kernel's first instruction: the result of every loader.
/// Whatever is not named here is as after reset.
/// </summary>
public sealed record EntryState
{
    public const ulong Cr0ProtectionEnable = 1;
    public const ulong Cr0ExtensionType = 1 << 4;
    public const ulong Cr0Paging = 1ul << 31;
    public const ulong Cr4Pae = 1 << 5;
    public const ulong EferLongModeEnable = 1 << 8;
    public const ulong EferLongModeActive = 1 << 10;

    public required EntryMode Mode { get; init; }

    public required ulong Rip { get; init; }

    /// <summary>Only the bit that is always one: interrupts off, direction up.</summary>
    public ulong Rflags { get; init; } = 2;

    public ulong Rax { get; init; }
    public ulong Rbx { get; init; }
    public ulong Rcx { get; init; }
    public ulong Rdx { get; init; }
    public ulong Rsi { get; init; }
    public ulong Rdi { get; init; }
    public ulong Rbp { get; init; }
    public ulong Rsp { get; init; } = LowMemory.StackTop;

    public required ulong Cr0 { get; init; }
    public ulong Cr3 { get; init; }
    public ulong Cr4 { get; init; }
    public ulong Efer { get; init; }

    public required SegmentState Cs { get; init; }
    public SegmentState Ds { get; init; } = SegmentState.Data;
    public SegmentState Es { get; init; } = SegmentState.Data;
    public SegmentState Ss { get; init; } = SegmentState.Data;
    public SegmentState Fs { get; init; } = SegmentState.Data;
    public SegmentState Gs { get; init; } = SegmentState.Data;
    public SegmentState Tr { get; init; } = SegmentState.Task;
    public SegmentState Ldtr { get; init; } = SegmentState.Unusable;

    public ulong GdtBase { get; init; } = LowMemory.Gdt;
    public ushort GdtLimit { get; init; } = BootGdt.Limit;

    /// <summary>There is no interrupt table: the kernel loads its own before it allows interrupts.</summary>
    public ulong IdtBase { get; init; }
    public ushort IdtLimit { get; init; }

    /// <summary>Long mode at <paramref name="rip"/> with the page tables at <paramref name="cr3"/>.</summary>
    internal static EntryState Long64(ulong rip, ulong cr3) => new()
    {
        Mode = EntryMode.Long64,
        Rip = rip,
        Cr0 = Cr0ProtectionEnable | Cr0ExtensionType | Cr0Paging,
        Cr3 = cr3,
        Cr4 = Cr4Pae,
        Efer = EferLongModeEnable | EferLongModeActive,
        Cs = SegmentState.Code64,
    };

    /// <summary>Real mode at the beginning of a segment; only <see cref="FirmwareHandover"/> enters so.</summary>
    internal static EntryState Real16(ushort codeSegment, ushort dataSegment, ushort stack) => new()
    {
        Mode = EntryMode.Real16,
        Rip = 0,
        Rsp = stack,
        Cr0 = Cr0ExtensionType,
        Cs = SegmentState.RealMode(codeSegment, isCode: true),
        Ds = SegmentState.RealMode(dataSegment, isCode: false),
        Es = SegmentState.RealMode(dataSegment, isCode: false),
        Ss = SegmentState.RealMode(dataSegment, isCode: false),
        Fs = SegmentState.RealMode(dataSegment, isCode: false),
        Gs = SegmentState.RealMode(dataSegment, isCode: false),
    };

    /// <summary>Flat protected mode, paging off, at <paramref name="eip"/>.</summary>
    internal static EntryState Protected32(uint eip) => new()
    {
        Mode = EntryMode.Protected32,
        Rip = eip,
        Cr0 = Cr0ProtectionEnable | Cr0ExtensionType,
        Cs = SegmentState.Code32,
    };
}
