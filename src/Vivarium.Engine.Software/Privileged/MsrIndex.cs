namespace Vivarium.Engine.Software.Privileged;

/// <summary>Indices of model-specific registers (SDM vol. 4; APM vol. 2, appendix A; AMD's processor programming references).</summary>
internal static class MsrIndex
{
    public const uint Tsc = 0x10;

    /// <summary>The first numbers of kvmclock's registers, which no processor uses otherwise.</summary>
    public const uint KvmWallClock = 0x11;
    public const uint KvmSystemTime = 0x12;

    public const uint PlatformId = 0x17;
    public const uint ApicBase = 0x1B;
    public const uint FeatureControl = 0x3A;
    public const uint TscAdjust = 0x3B;
    public const uint SpecCtrl = 0x48;
    public const uint PredCmd = 0x49;
    public const uint MicrocodeUpdateTrigger = 0x79;
    public const uint MicrocodeRevision = 0x8B;
    public const uint PlatformInfo = 0xCE;
    public const uint MtrrCapabilities = 0xFE;
    public const uint ArchCapabilities = 0x10A;
    public const uint MiscFeaturesEnables = 0x140;
    public const uint SysenterCs = 0x174;
    public const uint SysenterEsp = 0x175;
    public const uint SysenterEip = 0x176;
    public const uint McgCapabilities = 0x179;
    public const uint McgStatus = 0x17A;
    public const uint MiscEnable = 0x1A0;
    public const uint DebugControl = 0x1D9;
    public const uint MtrrPhysicalBase0 = 0x200;
    public const uint MtrrPhysicalLast = 0x20F;
    public const uint MtrrFixed64K = 0x250;
    public const uint MtrrFixed16K0 = 0x258;
    public const uint MtrrFixed16K1 = 0x259;
    public const uint MtrrFixed4K0 = 0x268;
    public const uint MtrrFixed4K7 = 0x26F;
    public const uint Pat = 0x277;
    public const uint MtrrDefaultType = 0x2FF;
    public const uint TscDeadline = 0x6E0;
    public const uint X2ApicFirst = 0x800;
    public const uint X2ApicLast = 0x8FF;

    /// <summary>The paravirtual interface (KVM's numbering).</summary>
    public const uint ParavirtualFirst = 0x4B56_4D00;
    public const uint ParavirtualLast = 0x4B56_4DFF;

    public const uint Efer = 0xC000_0080;
    public const uint Star = 0xC000_0081;
    public const uint Lstar = 0xC000_0082;
    public const uint Cstar = 0xC000_0083;
    public const uint SyscallMask = 0xC000_0084;
    public const uint FsBase = 0xC000_0100;
    public const uint GsBase = 0xC000_0101;
    public const uint KernelGsBase = 0xC000_0102;
    public const uint TscAux = 0xC000_0103;

    public const uint AmdSystemConfiguration = 0xC001_0010;
    public const uint AmdHardwareConfiguration = 0xC001_0015;
    public const uint AmdTopOfMemory = 0xC001_001A;
    public const uint AmdTopOfMemory2 = 0xC001_001D;
    public const uint AmdNorthbridgeConfiguration = 0xC001_001F;
    public const uint AmdPatchLoader = 0xC001_0020;
    public const uint AmdInterruptPending = 0xC001_0055;
    public const uint AmdMmioConfigurationBase = 0xC001_0058;
    public const uint AmdVmCr = 0xC001_0114;
    public const uint AmdLoadStoreConfiguration = 0xC001_1020;
    public const uint AmdDataCacheConfiguration = 0xC001_1022;
    public const uint AmdDecodeConfiguration = 0xC001_1029;
    public const uint AmdBusUnitConfiguration2 = 0xC001_102A;
    public const uint AmdExecutionConfiguration = 0xC001_102C;
}
