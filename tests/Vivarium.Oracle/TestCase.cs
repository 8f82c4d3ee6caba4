using Iced.Intel;
using Vivarium.Oracle.Generate;

namespace Vivarium.Oracle;

/// <summary>One case: code, registers and memory before it runs, and what the architecture leaves undefined after it.</summary>
internal sealed unsafe class TestCase
{
    /// <summary>Longest code that a case may have.</summary>
    public const int MaxCode = 640;

    public CaseState* Input { get; } = CaseState.Allocate();

    /// <summary>The data window before the case.</summary>
    public byte[] Memory { get; } = new byte[CaseWindow.DataSize];

    public ulong CodeAddress { get; set; }

    public byte[] CodeBuffer { get; } = new byte[MaxCode];

    public int CodeLength { get; set; }

    public ReadOnlySpan<byte> Code => CodeBuffer.AsSpan(0, CodeLength);

    /// <summary>
    /// Addresses at which the case may end; runners place their own stop there. Each takes <see cref="PadSize"/> bytes, which a runner leaves
    /// behind as <see cref="LeftPad"/>: later cases may read them.
    /// </summary>
    public List<ulong> Pads { get; } = [];

    public const int PadSize = 8;

    /// <summary>HLT, and zeros.</summary>
    public static ReadOnlySpan<byte> LeftPad => [0xF4, 0, 0, 0, 0, 0, 0, 0];

    /// <summary>64: 64-bit mode; 32: a 32-bit code segment of compatibility mode; 16: a 16-bit one, with bases and limits.</summary>
    public int Bitness { get; set; } = 64;

    /// <summary>What RIP holds at a linear address of the code.</summary>
    public ulong ToRip(ulong linear) => Bitness == 16 ? (ushort)linear : linear;

    /// <summary>The linear address of the code at a RIP.</summary>
    public ulong ToLinear(ulong rip) => Bitness == 16 ? CaseWindow.CodeBase + rip : rip;

    /// <summary>Runs at this privilege level in the guest; the host always runs at 3.</summary>
    public int Cpl { get; set; }

    /// <summary>RFLAGS bits that are undefined at the end.</summary>
    public ulong UndefinedFlags { get; set; }

    /// <summary>RFLAGS bits that are undefined when the case ends with an exception.</summary>
    public ulong UndefinedFlagsAtFault { get; set; }

    /// <summary>Bits of CR2 that are not compared: which byte of a long operand is touched first is the processor's choice.</summary>
    public ulong IgnoredFaultAddress { get; set; }

    /// <summary>Byte ranges of the data window that are not compared (FPU instruction and data pointers).</summary>
    public List<(int Start, int Length)> IgnoredMemory { get; } = [];

    /// <summary>The instructions, for reports.</summary>
    public List<Instruction> Instructions { get; } = [];

    public ulong Seed { get; set; }

    /// <summary>Which case of its form or of the sequences this is, to make it again.</summary>
    public int Index { get; set; }

    /// <summary>The form, or <see cref="Code.INVALID"/> for a sequence.</summary>
    public Code Form { get; set; }

    /// <summary>Code of one's own, in the state that a program starts with, with a pad behind it.</summary>
    public static TestCase Of(ReadOnlySpan<byte> code, int bitness = 64)
    {
        const ulong at = CaseWindow.CodeBase + 0x100;
        var test = new TestCase { Bitness = bitness, CodeAddress = at, CodeLength = code.Length };
        code.CopyTo(test.CodeBuffer);
        test.Pads.Add(at + (ulong)code.Length);
        CaseState* input = test.Input;
        input->Rip = test.ToRip(at);
        input->Rflags = StateGenerator.BaseFlags;
        *(ulong*)(input->Xsave + XsaveArea.XstateBv) = XsaveArea.Mask;
        *(ushort*)(input->Xsave + XsaveArea.Fcw) = 0x37F;
        *(uint*)(input->Xsave + XsaveArea.Mxcsr) = 0x1F80;
        return test;
    }

    public void Reset()
    {
        Pads.Clear();
        IgnoredMemory.Clear();
        Instructions.Clear();
        CodeLength = 0;
        UndefinedFlags = 0;
        UndefinedFlagsAtFault = 0;
        IgnoredFaultAddress = 0;
        Cpl = 0;
        Bitness = 64;
    }
}
