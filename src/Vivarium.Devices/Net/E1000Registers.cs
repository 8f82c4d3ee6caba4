namespace Vivarium.Devices;

/// <summary>
/// Registers and bits of the 82540EM (Intel, PCI/PCI-X Family of Gigabit Ethernet Controllers Software Developer's Manual,
/// 13). Offsets are in bytes.
/// </summary>
internal static class E1000Registers
{
    public const uint Ctrl = 0x0000;
    public const uint Status = 0x0008;
    public const uint Eecd = 0x0010;
    public const uint Eerd = 0x0014;
    public const uint CtrlExt = 0x0018;
    public const uint Mdic = 0x0020;
    public const uint Fcal = 0x0028;
    public const uint Fcah = 0x002C;
    public const uint Fct = 0x0030;
    public const uint Vet = 0x0038;
    public const uint Icr = 0x00C0;
    public const uint Itr = 0x00C4;
    public const uint Ics = 0x00C8;
    public const uint Ims = 0x00D0;
    public const uint Imc = 0x00D8;
    public const uint Rctl = 0x0100;
    public const uint Fcttv = 0x0170;
    public const uint Txcw = 0x0178;
    public const uint Rxcw = 0x0180;
    public const uint Tctl = 0x0400;
    public const uint Tipg = 0x0410;
    public const uint Aifs = 0x0458;
    public const uint Ledctl = 0x0E00;
    public const uint Pba = 0x1000;
    public const uint Fcrtl = 0x2160;
    public const uint Fcrth = 0x2168;
    public const uint Rdbal = 0x2800;
    public const uint Rdbah = 0x2804;
    public const uint Rdlen = 0x2808;
    public const uint Rdh = 0x2810;
    public const uint Rdt = 0x2818;
    public const uint Rdtr = 0x2820;
    public const uint Rxdctl = 0x2828;
    public const uint Radv = 0x282C;
    public const uint Rsrpd = 0x2C00;
    public const uint Tdbal = 0x3800;
    public const uint Tdbah = 0x3804;
    public const uint Tdlen = 0x3808;
    public const uint Tdh = 0x3810;
    public const uint Tdt = 0x3818;
    public const uint Tidv = 0x3820;
    public const uint Txdctl = 0x3828;
    public const uint Tadv = 0x382C;
    public const uint Tspmt = 0x3830;
    public const uint FirstStatistic = 0x4000;
    public const uint EndOfStatistics = 0x4100;
    public const uint Rxcsum = 0x5000;
    public const uint FirstMulticast = 0x5200;
    public const uint EndOfMulticast = 0x5400;
    public const uint FirstAddress = 0x5400;
    public const uint EndOfAddresses = 0x5480;
    public const uint FirstVlan = 0x5600;
    public const uint EndOfVlans = 0x5800;
    public const uint Wuc = 0x5800;
    public const uint Wufc = 0x5808;
    public const uint Wus = 0x5810;
    public const uint Manc = 0x5820;

    /// <summary>Where registers end that are kept; the packet buffer's window and what lies behind it read as zero.</summary>
    public const uint End = 0x6000;

    // CTRL.
    public const uint CtrlLinkReset = 1 << 3;
    public const uint CtrlReset = 1 << 26;
    public const uint CtrlVlanMode = 1 << 30;
    public const uint CtrlPhyReset = 1u << 31;

    // STATUS: full duplex, link up, 1000 Mb/s.
    public const uint StatusUp = 1 << 0 | 1 << 1 | 2 << 6;

    // CTRL_EXT.
    public const uint CtrlExtEepromReset = 1 << 13;

    // Interrupt causes.
    public const uint CauseTransmitted = 1 << 0;
    public const uint CauseTransmitQueueEmpty = 1 << 1;
    public const uint CauseLinkChange = 1 << 2;
    public const uint CauseReceiveThreshold = 1 << 4;
    public const uint CauseOverrun = 1 << 6;
    public const uint CauseReceived = 1 << 7;
    public const uint CauseMdio = 1 << 9;
    public const uint AllCauses = 0x1_FFFF;

    // RCTL.
    public const uint RctlEnable = 1 << 1;
    public const uint RctlUnicastPromiscuous = 1 << 3;
    public const uint RctlMulticastPromiscuous = 1 << 4;
    public const uint RctlLongPackets = 1 << 5;
    public const uint RctlLoopback = 3 << 6;
    public const int RctlThresholdShift = 8;
    public const int RctlMulticastOffsetShift = 12;
    public const uint RctlBroadcast = 1 << 15;
    public const int RctlSizeShift = 16;
    public const uint RctlVlanFilter = 1 << 18;
    public const uint RctlSizeExtension = 1 << 25;
    public const uint RctlStripCheckSequence = 1 << 26;

    // RAH.
    public const uint RahValid = 1u << 31;

    // TCTL.
    public const uint TctlEnable = 1 << 1;
    public const uint TctlPad = 1 << 3;

    // RXCSUM.
    public const uint RxcsumIp = 1 << 8;
    public const uint RxcsumTransport = 1 << 9;
}
