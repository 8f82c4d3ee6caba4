using static Vivarium.Engine.Software.Privileged.MsrIndex;

namespace Vivarium.Engine.Software.Privileged;

/// <summary>
/// The model-specific registers that are only remembered: index, value, and which bits may change. Nothing in the
/// engine depends on them (memory types do not matter to emulated memory, errata switches do not to translated code).
/// </summary>
internal sealed class StoredMsrs
{
    private const ulong AllBits = ulong.MaxValue;
    private const ulong PhysicalMask = (1ul << CpuModel.PhysicalAddressBits) - 1;

    private readonly Dictionary<uint, ulong> _values = [];
    private readonly Dictionary<uint, ulong> _writable = [];

    public StoredMsrs(CpuModel model)
    {
        AddMemoryTypes();
        Add(McgCapabilities, 0, 0);
        Add(McgStatus, 0, 0x7);
        // LBR and BTF may be set; branches are not recorded.
        Add(DebugControl, 0, 0x3);
        if (model.IsIntel)
        {
            AddIntel();
        }
        else
        {
            AddAmd();
        }
    }

    public bool Exists(uint index) => _values.ContainsKey(index);

    public bool TryRead(uint index, out ulong value) => _values.TryGetValue(index, out value);

    /// <summary>False: there is no such register, or a reserved bit would change: #GP(0).</summary>
    public bool TryWrite(uint index, ulong value)
    {
        if (!_values.TryGetValue(index, out ulong old) || ((value ^ old) & ~_writable[index]) != 0 || !IsValid(index, value))
        {
            return false;
        }

        _values[index] = value;
        return true;
    }

    public void CopyTo(SortedDictionary<uint, ulong> target)
    {
        foreach (var (index, value) in _values)
        {
            target[index] = value;
        }
    }

    private void Add(uint index, ulong value, ulong writable)
    {
        _values[index] = value;
        _writable[index] = writable;
    }

    private void AddMemoryTypes()
    {
        // 8 variable ranges, fixed ranges, write-combining.
        Add(MtrrCapabilities, 0x508, 0);
        for (uint pair = MtrrPhysicalBase0; pair <= MtrrPhysicalLast; pair += 2)
        {
            Add(pair, 0, PhysicalMask & ~0xF00ul);
            Add(pair + 1, 0, PhysicalMask & ~0x7FFul);
        }

        const ulong allWriteBack = 0x0606_0606_0606_0606;
        Add(MtrrFixed64K, allWriteBack, AllBits);
        Add(MtrrFixed16K0, allWriteBack, AllBits);
        Add(MtrrFixed16K1, allWriteBack, AllBits);
        for (uint index = MtrrFixed4K0; index <= MtrrFixed4K7; index++)
        {
            Add(index, allWriteBack, AllBits);
        }

        // As firmware leaves them on a PC (enabled, fixed ranges enabled, write-back), not as a reset does: kernels are also
        // booted without firmware, and Linux does not use the PAT where it finds the MTRRs off.
        Add(MtrrDefaultType, 0xC06, 0xCFF);
        Add(Pat, 0x0007_0406_0007_0406, AllBits);
    }

    private void AddIntel()
    {
        Add(PlatformId, 0, 0);
        // Locked: neither VMX nor SGX can be enabled.
        Add(FeatureControl, 1, 0);
        Add(SpecCtrl, 0, 0x7);
        Add(PlatformInfo, 0, 0);
        Add(ArchCapabilities, ArchCapabilityBits, 0);
        Add(MiscFeaturesEnables, 0, 0);
        // Fast strings; branch trace and event sampling not available.
        Add(MiscEnable, 0x1801, 0x0040_0001);
    }

    /// <summary>
    /// RDCL_NO, IBRS_ALL, SKIP_L1DFL, SSB_NO, MDS_NO, PSCHANGE_MC_NO, TAA_NO, SBDR_SSDP_NO, FBSDP_NO, PSDP_NO, BHI_NO,
    /// PBRSB_NO, GDS_NO, RFDS_NO, ITS_NO: see <see cref="CpuModel"/> for why a guest need not defend itself.
    /// </summary>
    private const ulong ArchCapabilityBits = 0x4000_0000_0D10_E17B;

    private void AddAmd()
    {
        Add(AmdSystemConfiguration, 0, 0x00FC_0000);
        // TscFreqSel: the TSC counts at the P0 frequency. The rest are switches without effect.
        Add(AmdHardwareConfiguration, 1 << 24, 0x0100_0000 | 0x005F);
        Add(AmdTopOfMemory, 0, PhysicalMask);
        Add(AmdTopOfMemory2, 0, PhysicalMask);
        Add(AmdNorthbridgeConfiguration, 0, AllBits);
        Add(AmdInterruptPending, 0, AllBits);
        Add(AmdMmioConfigurationBase, 0, 0);
        // SVM disabled and locked.
        Add(AmdVmCr, 0x18, 0);
        Add(AmdLoadStoreConfiguration, 0, AllBits);
        Add(AmdDataCacheConfiguration, 0, AllBits);
        // LFENCE is serializing.
        Add(AmdDecodeConfiguration, 2, AllBits);
        Add(AmdBusUnitConfiguration2, 0, AllBits);
        Add(AmdExecutionConfiguration, 0, AllBits);
    }

    private static bool IsValid(uint index, ulong value) => index switch
    {
        Pat => AllBytes(value, IsPatType),
        MtrrDefaultType => IsMtrrType((byte)value),
        >= MtrrPhysicalBase0 and <= MtrrPhysicalLast when (index & 1) == 0 => IsMtrrType((byte)value),
        MtrrFixed64K or MtrrFixed16K0 or MtrrFixed16K1 or (>= MtrrFixed4K0 and <= MtrrFixed4K7) => AllBytes(value, IsMtrrType),
        _ => true,
    };

    private static bool AllBytes(ulong value, Func<byte, bool> isValid)
    {
        for (int i = 0; i < 8; i++, value >>= 8)
        {
            if (!isValid((byte)value))
            {
                return false;
            }
        }

        return true;
    }

    // UC, WC, WT, WP, WB; the PAT knows UC- too (SDM vol. 3A, 11.12.2).
    private static bool IsMtrrType(byte type) => type is 0 or 1 or 4 or 5 or 6;

    private static bool IsPatType(byte type) => IsMtrrType(type) || type == 7;
}
