using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Vivarium.Engine.Software.CodeCache;
using Vivarium.Engine.Software.Mmu;
using Vivarium.Engine.Software.Translate;

namespace Vivarium.Engine.Software;

// Code that is not in memory: a device's, or nobody's, which reads as all ones. Each instruction is read from the bus when it
// is to be executed, and its translation is used once.
internal sealed unsafe partial class SoftwareVcpu
{
    private readonly byte[] _busCode = GC.AllocateUninitializedArray<byte>(MaxInstructionLength, pinned: true);

    /// <summary>None: a fault was delivered, or the instruction is to be asked for again as a careful one.</summary>
    private Block TranslateFromBus(in BlockKey key, ulong linear)
    {
        if ((key.Mode & BlockMode.Careful) == 0)
        {
            // Nobody may find the translation again, as the jump cache would.
            _carefulNext = true;
            return default;
        }

        TryFetch(linear, _busCode, out int got, out _, out PageFaultInfo fault);
        ulong left = Code64 ? ulong.MaxValue : S->Cs.Limit - key.Rip + 1;
        var source = new CodeSource
        {
            Rip = key.Rip,
            Linear = linear,
            Gpa = key.Gpa,
            CodeLimit = key.CodeLimit,
            Bytes = (byte*)Unsafe.AsPointer(ref MemoryMarshal.GetArrayDataReference(_busCode)),
            Length = (int)Math.Min((ulong)got, left),
            SecondPage = Block.NoPage,
            ChecksItself = true,
        };
        _code.MakeRoom(this);
        if (_code.TranslateOnce(source, key.Mode, Statistics) is { Exists: true } block)
        {
            return block;
        }

        if ((ulong)got >= left)
        {
            DeliverFault(Vector.GeneralProtection, 0);
        }
        else
        {
            DeliverFetchFault(got, fault);
        }

        return default;
    }

    /// <summary>An instruction does not end within the bytes that could be had.</summary>
    private void DeliverFetchFault(int got, in PageFaultInfo fault)
    {
        if (got == MaxInstructionLength || fault.NotCanonical)
        {
            DeliverFault(Vector.GeneralProtection, 0);
            return;
        }

        S->Cr2 = fault.Address;
        DeliverFault(Vector.PageFault, fault.ErrorCode);
    }
}
