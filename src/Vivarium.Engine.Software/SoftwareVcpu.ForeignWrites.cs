using Vivarium.Engine.Software.Mmu;

namespace Vivarium.Engine.Software;

// Translated code that something else than this vCPU has overwritten: a device by DMA, the monitor between two runs.
internal sealed unsafe partial class SoftwareVcpu
{
    /// <summary>More than this many ranges are not kept apart: everything goes.</summary>
    private const int MaxForeignWrites = 256;

    private readonly Lock _foreignGate = new();
    private readonly List<(ulong Gpa, int Length)> _foreignWrites = [];

    /// <summary>Called by <see cref="Vivarium.Memory.GuestMemory.CodeWritten"/> on any thread. The run loop does the work, for it owns the translations.</summary>
    private void NoteForeignWrite(ulong gpa, int length)
    {
        lock (_foreignGate)
        {
            if (_foreignWrites.Count <= MaxForeignWrites)
            {
                _foreignWrites.Add((gpa, length));
            }
        }

        Volatile.Write(ref S->ExitRequest, 1);
    }

    /// <summary>Throws away what was translated from bytes that have been overwritten. On the vCPU's thread, outside translated code.</summary>
    private void DropForeignWrites()
    {
        lock (_foreignGate)
        {
            if (_foreignWrites.Count > MaxForeignWrites)
            {
                DropAllTranslations();
            }
            else
            {
                ICodeWatch watch = this;
                foreach ((ulong gpa, int length) in _foreignWrites)
                {
                    watch.Invalidate(gpa, length);
                }
            }

            _foreignWrites.Clear();
        }
    }
}
