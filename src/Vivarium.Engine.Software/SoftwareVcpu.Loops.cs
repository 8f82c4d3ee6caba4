using Vivarium.Engine.Software.CodeCache;
using Vivarium.Engine.Software.Mmu;
using Vivarium.Engine.Software.Translate;
using Vivarium.Memory;

namespace Vivarium.Engine.Software;

// Which loops run long: whatever interrupts the guest finds it at the head of such a loop again and again.
internal sealed unsafe partial class SoftwareVcpu
{
    private const int NotedLoops = 64;

    /// <summary>How often a loop is met before it is translated again.</summary>
    private const int LongLoop = 3;

    private readonly (ulong Rip, int Count)[] _notedLoops = new (ulong, int)[NotedLoops];

    /// <summary>From any thread: translated code is left soon, also where it only jumps within a block.</summary>
    internal void LeaveLoops() => S->RequestExit();

    /// <summary>Translated code was left at a jump back to RIP.</summary>
    private void NoteLoop()
    {
        ulong rip = S->Rip;
        ref (ulong Rip, int Count) noted = ref _notedLoops[(int)(rip ^ (rip >> 6)) & (NotedLoops - 1)];
        noted = noted.Rip == rip ? (rip, noted.Count + 1) : (rip, 1);
        if (noted.Count == LongLoop && Code64 && _code.Options.Has(Optimizations.Loops | Optimizations.Linking | Optimizations.LazyFlags) && _debug is null)
        {
            TranslateLoop(rip);
        }
    }

    private void TranslateLoop(ulong rip)
    {
        _code.MakeRoom(this);
        if (!TryTranslate(rip, Access.Execute, FetchSpace, out CachedPage found, out _) || found.Host == null)
        {
            return;
        }

        ulong offset = rip & GuestMemory.PageMask;
        CodePage page = _code.BeginTranslation(this, found.Gpa + offset);
        try
        {
            var source = new CodeSource
            {
                Rip = rip,
                Linear = rip,
                Gpa = found.Gpa + offset,
                CodeLimit = 0,
                Bytes = found.Host + offset,
                Length = (int)(GuestMemory.PageSize - offset),
                SecondPage = Block.NoPage,
                IsLoop = true,
            };
            _code.TranslateLoop(source, _code.Options.Floats(Mode, rip) ? Mode | BlockMode.Floating : Mode, page, Statistics);
        }
        finally
        {
            _code.EndTranslation(page);
        }
    }
}
