using System.Text;
using Iced.Intel;

namespace Vivarium.Oracle.Compare;

/// <summary>Decides whether two outcomes of a case are architecturally the same, and says what differs.</summary>
internal static unsafe class Comparison
{
    private static readonly string[] s_gprNames =
        ["RAX", "RCX", "RDX", "RBX", "RSP", "RBP", "RSI", "RDI", "R8", "R9", "R10", "R11", "R12", "R13", "R14", "R15"];

    /// <summary>Everything that a program can see of RFLAGS, but RF: it is only ever set in frames.</summary>
    private const ulong ComparedFlags = 0x3F_FFFF & ~0x10000ul;

    /// <summary>Page-fault error code bit 2: the host's cases always run in user mode.</summary>
    private const ulong UserBit = 4;

    /// <summary>Page-fault error code bit 0: outside the window the host process may have mappings, of the kernel's or its own.</summary>
    private const ulong PresentBit = 1;

    private const int LongestInParts = 10;

    /// <summary>Null if equal, else one line per difference: "what: expected, got".</summary>
    public static string? Difference(TestCase test, Outcome expected, Outcome actual)
    {
        if (actual.Failure is not null || expected.Failure is not null)
        {
            return $"  {expected.Failure ?? actual.Failure}\n";
        }

        if (IsFaultOfAnotherPart(test, expected, actual) || IsFaultOfTarget(test, expected, actual))
        {
            return null;
        }

        StringBuilder? text = null;
        CaseState* e = expected.State;
        CaseState* a = actual.State;
        if (expected.Vector != actual.Vector)
        {
            Add(ref text, "exception", Vector(expected.Vector), Vector(actual.Vector));
        }

        ulong ignoredError = expected.Vector != 14 ? 0 : (test.Cpl == 3 ? 0 : UserBit) | (InWindow(expected.FaultAddress) ? 0 : PresentBit);
        Check(ref text, "error code", expected.Error & ~ignoredError, actual.Error & ~ignoredError);
        Check(ref text, "CR2", expected.FaultAddress & ~test.IgnoredFaultAddress, actual.FaultAddress & ~test.IgnoredFaultAddress);
        Check(ref text, "RIP", e->Rip, a->Rip);
        ulong width = test.Bitness != 64 ? uint.MaxValue : ulong.MaxValue;
        for (int register = 0; register < (test.Bitness != 64 ? 8 : 16); register++)
        {
            Check(ref text, s_gprNames[register], e->Gpr[register] & width, a->Gpr[register] & width);
        }

        ulong flags = ComparedFlags & ~(expected.Vector == Outcome.NoException ? test.UndefinedFlags : test.UndefinedFlagsAtFault);
        Check(ref text, "RFLAGS (defined)", e->Rflags & flags, a->Rflags & flags);
        if (test.Bitness == 64)
        {
            Check(ref text, "GS base", e->GsBase, a->GsBase);
        }

        CompareExtended(ref text, e->Xsave, a->Xsave);
        CompareMemory(ref text, test, expected.Memory, actual.Memory);
        return text?.ToString();
    }

    /// <summary>
    /// An operand that goes in parts crosses its segment's limit, and the page of its front is not there either: the host
    /// has the front's page fault before it looks at the rest, the engine checks the limit of the whole first (SDM vol. 3A, 6.9,
    /// leaves the order within an instruction to the processor).
    /// </summary>
    private static bool IsFaultOfAnotherPart(TestCase test, Outcome expected, Outcome actual)
        => test.Bitness == 16
            && expected.Vector == 14
            && actual.Vector is 12 or 13
            && (ushort)expected.FaultAddress > ushort.MaxValue - LongestInParts
            && test.Instructions.Exists(instruction => instruction.MemorySize is MemorySize.Float80 or MemorySize.Bcd or MemorySize.Bound16_WordWord or MemorySize.Bound32_DwordDword);

    /// <summary>
    /// A call whose target is not canonical and whose return address cannot be written: AMD's processors have the stack's fault, the engine the
    /// target's, which comes first in the SDM's operation of CALL (vol. 2A; the order is left to the processor, as above).
    /// </summary>
    private static bool IsFaultOfTarget(TestCase test, Outcome expected, Outcome actual)
    {
        ulong stack = expected.State->Gpr[4];
        return test.Bitness == 64
            && (expected.Vector == 12 || (expected.Vector == 14 && stack - 1 - expected.FaultAddress < sizeof(ulong)))
            && actual is { Vector: 13, Error: 0 }
            && (expected.State->Rip, stack) == (actual.State->Rip, actual.State->Gpr[4])
            && test.Instructions.Exists(instruction => instruction.IsCallNearIndirect);
    }

    private static bool InWindow(ulong address)
        => address >= CaseWindow.DataBase - CaseWindow.PageSize && address < CaseWindow.WindowEnd + CaseWindow.PageSize;

    private static void CompareExtended(ref StringBuilder? text, byte* expected, byte* actual)
    {
        byte* e = stackalloc byte[CaseState.XsaveCapacity];
        byte* a = stackalloc byte[CaseState.XsaveCapacity];
        Normalise(expected, e);
        Normalise(actual, a);
        if (new ReadOnlySpan<byte>(e, XsaveArea.Size).SequenceEqual(new ReadOnlySpan<byte>(a, XsaveArea.Size)))
        {
            return;
        }

        Check(ref text, "FCW", *(ushort*)(e + XsaveArea.Fcw), *(ushort*)(a + XsaveArea.Fcw));
        Check(ref text, "FSW", *(ushort*)(e + XsaveArea.Fsw), *(ushort*)(a + XsaveArea.Fsw));
        Check(ref text, "FTW", e[XsaveArea.Ftw], a[XsaveArea.Ftw]);
        Check(ref text, "MXCSR", *(uint*)(e + XsaveArea.Mxcsr), *(uint*)(a + XsaveArea.Mxcsr));
        for (int register = 0; register < 8; register++)
        {
            CheckBytes(ref text, $"ST{register}/MM{register}", e + XsaveArea.St0 + (register * 16), a + XsaveArea.St0 + (register * 16), 10);
        }

        for (int register = 0; register < 16; register++)
        {
            CheckBytes(ref text, $"XMM{register}", e + XsaveArea.Xmm0 + (register * 16), a + XsaveArea.Xmm0 + (register * 16), 16);
        }

        for (int register = 0; register < 16 && (XsaveArea.Mask & XsaveArea.Avx) != 0; register++)
        {
            int at = XsaveArea.YmmHi128Offset + (register * 16);
            CheckBytes(ref text, $"YMM{register} upper half", e + at, a + at, 16);
        }

        if ((XsaveArea.Mask & XsaveArea.Avx512) == 0)
        {
            return;
        }

        for (int register = 0; register < 8; register++)
        {
            Check(ref text, $"K{register}", *XsaveArea.Mask64(e, register), *XsaveArea.Mask64(a, register));
        }

        for (int register = 0; register < 16; register++)
        {
            int at = XsaveArea.ZmmHi256Offset + (register * 32);
            CheckBytes(ref text, $"ZMM{register} upper half", e + at, a + at, 32);
        }

        for (int register = 0; register < 16; register++)
        {
            int at = XsaveArea.Hi16ZmmOffset + (register * 64);
            CheckBytes(ref text, $"ZMM{register + 16}", e + at, a + at, 64);
        }
    }

    /// <summary>Components in their initial state get their initial values; what is not state is cleared.</summary>
    private static void Normalise(byte* from, byte* to)
    {
        Buffer.MemoryCopy(from, to, CaseState.XsaveCapacity, XsaveArea.Size);
        ulong present = *(ulong*)(from + XsaveArea.XstateBv);
        if ((present & XsaveArea.X87) == 0)
        {
            new Span<byte>(to, XsaveArea.Fip).Clear();
            *(ushort*)(to + XsaveArea.Fcw) = 0x037F;
            new Span<byte>(to + XsaveArea.St0, 128).Clear();
        }

        if ((present & XsaveArea.Sse) == 0)
        {
            new Span<byte>(to + XsaveArea.Xmm0, 256).Clear();
        }

        // FOP, FIP, FDP (and with them FCS, FDS), MXCSR_MASK, reserved fields, the header.
        new Span<byte>(to + XsaveArea.Fop, XsaveArea.Mxcsr - XsaveArea.Fop).Clear();
        to[XsaveArea.Ftw + 1] = 0;
        *(uint*)(to + XsaveArea.MxcsrMask) = 0;
        for (int register = 0; register < 8; register++)
        {
            new Span<byte>(to + XsaveArea.St0 + (register * 16) + 10, 6).Clear();
        }

        // And what lies between the components.
        new Span<byte>(to + XsaveArea.LegacySize, XsaveArea.Size - XsaveArea.LegacySize).Clear();
        foreach ((ulong component, int offset, int size) in XsaveArea.Extended)
        {
            if ((present & component) != 0)
            {
                Buffer.MemoryCopy(from + offset, to + offset, size, size);
            }
        }
    }

    private static void CompareMemory(ref StringBuilder? text, TestCase test, byte[] expected, byte[] actual)
    {
        ReadOnlySpan<byte> e = expected;
        ReadOnlySpan<byte> a = actual;
        int lines = 0;
        for (int at = e.CommonPrefixLength(a); at < e.Length; at += 1 + e[(at + 1)..].CommonPrefixLength(a[(at + 1)..]))
        {
            bool ignored = false;
            foreach ((int start, int length) in test.IgnoredMemory)
            {
                ignored |= at >= start && at < start + length;
            }

            if (!ignored && lines++ < 8)
            {
                Add(ref text, $"byte at {CaseWindow.DataBase + (ulong)at:x}", $"{e[at]:x2}", $"{a[at]:x2}");
            }
        }
    }

    private static void Check(ref StringBuilder? text, string what, ulong expected, ulong actual)
    {
        if (expected != actual)
        {
            Add(ref text, what, $"{expected:x}", $"{actual:x}");
        }
    }

    private static void CheckBytes(ref StringBuilder? text, string what, byte* expected, byte* actual, int length)
    {
        var e = new ReadOnlySpan<byte>(expected, length);
        var a = new ReadOnlySpan<byte>(actual, length);
        if (!e.SequenceEqual(a))
        {
            Add(ref text, what, BigEndian(e), BigEndian(a));
        }
    }

    private static string BigEndian(ReadOnlySpan<byte> bytes)
    {
        byte[] copy = bytes.ToArray();
        Array.Reverse(copy);
        return Convert.ToHexStringLower(copy);
    }

    private static string Vector(int vector) => vector switch
    {
        Outcome.NoException => "none",
        0 => "#DE",
        1 => "#DB",
        3 => "#BP",
        6 => "#UD",
        7 => "#NM",
        12 => "#SS",
        13 => "#GP",
        14 => "#PF",
        16 => "#MF",
        17 => "#AC",
        19 => "#XM",
        _ => $"vector {vector}",
    };

    private static void Add(ref StringBuilder? text, string what, string expected, string actual)
        => (text ??= new StringBuilder()).Append("  ").Append(what).Append(": expected ").Append(expected).Append(", got ").Append(actual).Append('\n');
}
