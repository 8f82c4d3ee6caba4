using System.Runtime.CompilerServices;
using Vivarium.Memory;

namespace Vivarium.Engine.Software.Translate;

/// <summary>What a check of an access asks, and what it leaves in T2. T1 has the linear address.</summary>
internal enum PageCheckKind
{
    /// <summary>The TLB: host minus guest address.</summary>
    Delta,

    /// <summary>The TLB: the page's host address; T1 is the offset in it then.</summary>
    HostPage,

    /// <summary>Which page the stack pointer was in last: host minus guest address.</summary>
    Stack,
}

/// <summary>
/// The host's instructions of such a check. They are the same each time, but for the access's size and where the jump leads that is taken
/// where the page is another: emitted once, and copied later.
/// </summary>
internal sealed unsafe class PageCheck
{
    private const int Capacity = 64;

    private readonly byte[] _code = GC.AllocateUninitializedArray<byte>(Capacity, pinned: true);
    private readonly byte* _from;
    private readonly int _length;
    private readonly int _sizeAt;
    private readonly int _jumpAt;

    /// <param name="start">Where the check begins that was emitted.</param>
    /// <param name="size">The field that depends on the size.</param>
    /// <param name="jump">The jump's displacement.</param>
    /// <param name="end">Behind the check.</param>
    public PageCheck(byte* start, byte* size, byte* jump, byte* end)
    {
        _length = (int)(end - start);
        _sizeAt = (int)(size - start);
        _jumpAt = (int)(jump - start);
        new ReadOnlySpan<byte>(start, _length).CopyTo(_code);
        _from = (byte*)Unsafe.AsPointer(ref _code[0]);
    }

    /// <summary>What is compared with an offset in the page: greater ones reach into the next.</summary>
    public static int Highest(int size) => (int)GuestMemory.PageSize - size;

    /// <summary>Returns where the jump's displacement stands.</summary>
    public byte* Emit(Emitter emitter, int size)
    {
        byte* to = emitter.Cursor;
        Unsafe.CopyBlockUnaligned(to, _from, Capacity);
        Unsafe.WriteUnaligned(to + _sizeAt, Highest(size));
        emitter.Cursor = to + _length;
        return to + _jumpAt;
    }
}
