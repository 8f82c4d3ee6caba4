using Vivarium.Engine.Software.Privileged;

namespace Vivarium.Engine.Software;

// Model-specific registers between the vCPU and its saved state.
internal sealed unsafe partial class SoftwareVcpu
{
    private StoredMsrs? _storedMsrs;

    /// <summary>IA32_TSC_ADJUST (SDM vol. 3B, 17.17.3).</summary>
    public ulong TscAdjust;

    /// <summary>The registers that are only remembered.</summary>
    public StoredMsrs StoredMsrs => _storedMsrs ??= new StoredMsrs(Model);

    /// <summary>Copies the model-specific registers that <see cref="CpuState"/> does not name, the TSC as of now.</summary>
    public void SaveMsrs(SortedDictionary<uint, ulong> target)
    {
        target.Clear();
        StoredMsrs.CopyTo(target);
        target[MsrIndex.Tsc] = GuestTsc;
        target[MsrIndex.TscAdjust] = TscAdjust;
        target[MsrIndex.SysenterCs] = SysenterCs;
        target[MsrIndex.SysenterEsp] = SysenterEsp;
        target[MsrIndex.SysenterEip] = SysenterEip;
        target[MsrIndex.Star] = Star;
        target[MsrIndex.Lstar] = Lstar;
        target[MsrIndex.Cstar] = Cstar;
        target[MsrIndex.SyscallMask] = SyscallMask;
        target[MsrIndex.KernelGsBase] = KernelGsBase;
        target[MsrIndex.TscAux] = TscAux;
    }

    /// <summary>The reverse. A register that is absent keeps its value; one that this CPU model lacks, or an invalid value, is left out.</summary>
    public void LoadMsrs(SortedDictionary<uint, ulong> source)
    {
        foreach (var (index, value) in source)
        {
            if (index is not (MsrIndex.Tsc or MsrIndex.TscAdjust) && !Msrs.BelongsToBus(index))
            {
                Msrs.TryWrite(this, index, value);
            }
        }

        // Not through WRMSR: writing either moves the other.
        if (source.TryGetValue(MsrIndex.TscAdjust, out ulong adjust))
        {
            TscAdjust = adjust;
        }

        if (source.TryGetValue(MsrIndex.Tsc, out ulong tsc))
        {
            S->TscOffset += tsc - GuestTsc;
        }
    }
}
