using Vivarium.Engine.Software.Mmu;

namespace Vivarium.Engine.Software.Privileged;

/// <summary>How the next elements of one string operand can be reached.</summary>
internal enum RunKind : byte
{
    /// <summary>In memory of the host: <see cref="StringRun.Elements"/> of them from <see cref="StringRun.Host"/>.</summary>
    Direct,

    /// <summary>One element, by way of Load or Store: it crosses a page, is MMIO, or overwrites translated code.</summary>
    Slow,

    /// <summary>A fault was raised on the vCPU.</summary>
    Fault,
}

/// <summary>
/// The next elements of one string operand that are in one page and reachable without further checks. Resolving once
/// per page is what makes string instructions fast; everything unusual is left to single elements.
/// </summary>
internal unsafe ref struct StringRun
{
    public RunKind Kind;

    /// <summary>The current element's host address; the others follow upward, or downward if DF is set.</summary>
    public byte* Host;

    public ulong Elements;

    /// <summary>Linear address of the current element.</summary>
    public ulong Linear;

    /// <summary>Bounds the run by a count, and by the page and segment, without touching memory; throws #GP or #SS for the current element.</summary>
    public static StringRun At(SoftwareVcpu cpu, in StringOperands operands, int segment, ulong offset, ulong count, Access access)
    {
        int size = operands.ElementSize;
        var run = new StringRun
        {
            Linear = cpu.SegmentedAddress(segment, offset, size, access),
            Elements = 1,
            Kind = RunKind.Slow,
        };
        ulong inPage = run.Linear & 0xFFF;
        if (inPage + (uint)size > 0x1000 || cpu.Stepping)
        {
            return run;
        }

        ulong bytes = operands.Backward
            ? Math.Min(inPage, RoomBelow(cpu, segment, offset)) + (uint)size
            : Math.Min(0x1000 - inPage, RoomAbove(cpu, operands, segment, offset));
        run.Elements = operands.OneAtATime ? 1 : Math.Max(1, Math.Min(count, bytes / (uint)size));
        run.Kind = RunKind.Direct;
        return run;
    }

    /// <summary>Translates. A run over the page's translated code is cut to one element, which goes the slow way.</summary>
    public void Resolve(SoftwareVcpu cpu, in StringOperands operands, int segment, Access access)
    {
        if (operands.Watched)
        {
            cpu.NoteDataBreakpoints(Linear, operands.ElementSize, access == Access.Write);
        }

        if (Kind != RunKind.Direct)
        {
            if (access == Access.Read)
            {
                // Before the other operand is looked at.
                cpu.Probe(Linear, operands.ElementSize, access);
            }

            return;
        }

        uint size = (uint)operands.ElementSize;
        ulong span = Elements * size;
        ulong lowest = operands.Backward ? Linear + size - span : Linear;
        byte* host = FirstLevelTlb.Find(&cpu.S->UserTlb + (int)cpu.DataSpace, lowest, access);
        if (host != null)
        {
            Host = host + (Linear - lowest);
            return;
        }

        host = cpu.TryResolve(lowest, (int)span, access, out ResolveResult result);
        switch (result.Kind)
        {
            case ResolveKind.Ok:
                Host = host + (Linear - lowest);
                break;
            case ResolveKind.PageFault:
                cpu.RaisePageFault(Linear, result.ErrorCode);
                Kind = RunKind.Fault;
                break;
            case ResolveKind.NotCanonical:
                cpu.Raise(segment == 2 ? Vector.StackFault : Vector.GeneralProtection, 0);
                Kind = RunKind.Fault;
                break;
            default:
                Kind = RunKind.Slow;
                Elements = 1;
                break;
        }
    }

    /// <summary>Bytes from the offset up to where a further element needs a check of its own: the segment's limit, or the wrap of the address size.</summary>
    private static ulong RoomAbove(SoftwareVcpu cpu, in StringOperands operands, int segment, ulong offset)
    {
        ulong wrap = operands.AddressSize switch
        {
            2 => 0x1_0000 - offset,
            4 => 0x1_0000_0000 - offset,
            _ => 0x1000,
        };
        if (cpu.Code64)
        {
            return wrap;
        }

        return GrowsDown(cpu.Segment(segment)) ? 0 : Math.Min(wrap, (ulong)cpu.Segment(segment)->Limit + 1 - offset);
    }

    private static ulong RoomBelow(SoftwareVcpu cpu, int segment, ulong offset)
        => !cpu.Code64 && GrowsDown(cpu.Segment(segment)) ? 0 : offset;

    /// <summary>An expand-down data segment: each element is checked by itself.</summary>
    private static bool GrowsDown(NativeSegment* segment)
    {
        const uint code = 1 << 3, expandDown = 1 << 2;
        return (segment->Attributes & (code | expandDown)) == expandDown;
    }
}
