using System.Runtime.InteropServices;

namespace Vivarium.Oracle;

/// <summary>Registers before or after a case. The layout is known to the emitted runner.</summary>
[StructLayout(LayoutKind.Explicit, Size = 4096)]
internal unsafe struct CaseState
{
    public const int GprOffset = 0;
    public const int RipOffset = 128;
    public const int RflagsOffset = 136;
    public const int FsBaseOffset = 144;
    public const int GsBaseOffset = 152;
    public const int PadOffset = 160;
    public const int TrapOffset = 168;
    public const int ErrorOffset = 176;
    public const int FaultAddressOffset = 184;
    public const int FaultRipOffset = 192;
    public const int XsaveOffset = 256;
    public const int XsaveCapacity = 2816;

    /// <summary><see cref="Pad"/> of a case that ended with an exception.</summary>
    public const int NoPad = -1;

    /// <summary>RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8-R15.</summary>
    [FieldOffset(GprOffset)] public fixed ulong Gpr[16];
    [FieldOffset(RipOffset)] public ulong Rip;
    [FieldOffset(RflagsOffset)] public ulong Rflags;
    [FieldOffset(FsBaseOffset)] public ulong FsBase;
    [FieldOffset(GsBaseOffset)] public ulong GsBase;

    /// <summary>Which landing pad ended the case, or <see cref="NoPad"/>.</summary>
    [FieldOffset(PadOffset)] public int Pad;

    /// <summary>Exception vector, when <see cref="Pad"/> is <see cref="NoPad"/>.</summary>
    [FieldOffset(TrapOffset)] public ulong Trap;
    [FieldOffset(ErrorOffset)] public ulong Error;

    /// <summary>CR2 of a page fault.</summary>
    [FieldOffset(FaultAddressOffset)] public ulong FaultAddress;

    [FieldOffset(FaultRipOffset)] public ulong FaultRip;

    /// <summary>Standard-format XSAVE area.</summary>
    [FieldOffset(XsaveOffset)] public fixed byte Xsave[XsaveCapacity];

    public static CaseState* Allocate()
    {
        if (XsaveArea.Size > XsaveCapacity)
        {
            throw new InvalidOperationException($"this host's XSAVE area needs {XsaveArea.Size} bytes");
        }

        void* block = NativeMemory.AlignedAlloc((nuint)sizeof(CaseState), 64);
        NativeMemory.Clear(block, (nuint)sizeof(CaseState));
        return (CaseState*)block;
    }
}
