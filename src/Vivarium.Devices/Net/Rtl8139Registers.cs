namespace Vivarium.Devices;

/// <summary>Registers and bits of the RTL8139C+ (Realtek, RTL8139C(L)+ data sheet, 5 and 6). Offsets are in bytes.</summary>
internal static class Rtl8139Registers
{
    /// <summary>All of them.</summary>
    public const int Length = 0x100;

    public const int Id = 0x00;
    public const int Multicast = 0x08;

    /// <summary>Four transmit status registers; in C+ mode the first two are the address to which counters are dumped.</summary>
    public const int TransmitStatus = 0x10;
    public const int DumpCounters = 0x10;

    /// <summary>Four transmit start addresses; in C+ mode the addresses of the normal and of the high priority ring.</summary>
    public const int TransmitAddress = 0x20;
    public const int NormalRing = 0x20;
    public const int HighRing = 0x28;
    public const int ReceiveBuffer = 0x30;
    public const int Command = 0x37;
    public const int ReceiveRead = 0x38;
    public const int ReceiveWrite = 0x3A;
    public const int InterruptMask = 0x3C;
    public const int InterruptStatus = 0x3E;
    public const int TransmitConfig = 0x40;
    public const int ReceiveConfig = 0x44;
    public const int TimerCount = 0x48;
    public const int Missed = 0x4C;
    public const int EepromCommand = 0x50;
    public const int Config0 = 0x51;
    public const int Config1 = 0x52;
    public const int TimerInterrupt = 0x54;
    public const int MediaStatus = 0x58;
    public const int Config3 = 0x59;
    public const int Config4 = 0x5A;
    public const int MultipleInterrupt = 0x5C;
    public const int TransmitSummary = 0x60;
    public const int BasicControl = 0x62;
    public const int BasicStatus = 0x64;
    public const int Advertisement = 0x66;
    public const int PartnerAbility = 0x68;
    public const int Expansion = 0x6A;
    public const int Config5 = 0xD8;
    public const int TransmitPoll = 0xD9;
    public const int PlusCommand = 0xE0;
    public const int ReceiveRing = 0xE4;
    public const int EarlyTransmit = 0xEC;

    // Command.
    public const byte CommandBufferEmpty = 1 << 0;
    public const byte CommandTransmit = 1 << 2;
    public const byte CommandReceive = 1 << 3;
    public const byte CommandReset = 1 << 4;

    // Interrupts.
    public const ushort ReceiveOk = 1 << 0;
    public const ushort TransmitOk = 1 << 2;
    public const ushort TransmitError = 1 << 3;
    public const ushort NoReceiveDescriptor = 1 << 4;
    public const ushort LinkChange = 1 << 5;
    public const ushort NoTransmitDescriptor = 1 << 7;
    public const ushort SoftwareInterrupt = 1 << 8;
    public const ushort TimeOut = 1 << 14;
    public const ushort SystemError = 1 << 15;
    public const ushort AllInterrupts = 0xE1FF;

    // Transmit status of the classic mode.
    public const int TransmitStatuses = 4;
    public const uint StatusSize = 0x1FFF;
    public const uint StatusOwn = 1 << 13;
    public const uint StatusOk = 1 << 15;

    /// <summary>The bits that a guest writes: size, ownership, early threshold.</summary>
    public const uint StatusWritable = 0x003F_3FFF;

    // Transmit configuration.
    public const uint TransmitLoopback = 3 << 17;

    /// <summary>The hardware version by which drivers know the 8139C+.</summary>
    public const uint HardwareVersion = 0x7480_0000;

    // Receive configuration.
    public const uint AcceptAllPhysical = 1 << 0;
    public const uint AcceptPhysicalMatch = 1 << 1;
    public const uint AcceptMulticast = 1 << 2;
    public const uint AcceptBroadcast = 1 << 3;
    public const uint ReceiveWrap = 1 << 7;
    public const int ReceiveLengthShift = 11;

    // EEPROM command.
    public const byte EepromOut = 1 << 0;
    public const byte EepromIn = 1 << 1;
    public const byte EepromClock = 1 << 2;
    public const byte EepromSelect = 1 << 3;
    public const int EepromModeShift = 6;
    public const int EepromModeLoad = 1;
    public const int EepromModePins = 2;
    public const int EepromModeUnlock = 3;

    // Basic mode control and status (IEEE 802.3, 22.2.4).
    public const ushort BasicReset = 1 << 15;
    public const ushort BasicLoopback = 1 << 14;
    public const ushort BasicRestart = 1 << 9;

    // Transmit poll.
    public const byte PollSoftwareInterrupt = 1 << 0;
    public const byte PollNormal = 1 << 6;
    public const byte PollHigh = 1 << 7;

    // C+ command.
    public const ushort PlusTransmit = 1 << 0;
    public const ushort PlusReceive = 1 << 1;
    public const ushort PlusReceiveChecksum = 1 << 5;
    public const ushort PlusReceiveVlan = 1 << 6;

    // Descriptors of the C+ mode: four dwords, the first with these bits on top.
    public const int DescriptorLength = 16;
    public const int MostDescriptors = 64;
    public const uint DescriptorOwn = 1u << 31;
    public const uint DescriptorEnd = 1 << 30;
    public const uint DescriptorFirst = 1 << 29;
    public const uint DescriptorLast = 1 << 28;
}
