namespace Vivarium.Devices;

/// <summary>Delivery modes of interrupt messages and LVT entries (SDM vol. 3A, 11.5.1 and 11.6.1).</summary>
internal enum DeliveryMode : byte
{
    Fixed = 0,
    LowestPriority = 1,
    Smi = 2,
    Reserved = 3,
    Nmi = 4,
    Init = 5,
    Startup = 6,
    ExtInt = 7,
}

/// <summary>Who gets an interrupt command, apart from what its destination field says (SDM vol. 3A, 11.6.1).</summary>
internal enum DestinationShorthand : byte
{
    None = 0,
    Self = 1,
    AllIncludingSelf = 2,
    AllExcludingSelf = 3,
}

/// <summary>An interrupt on its way to local APICs.</summary>
/// <param name="Destination">An APIC ID or a logical destination; <see cref="ApicBus.Broadcast"/> is everyone.</param>
internal readonly record struct ApicMessage(byte Vector, DeliveryMode Mode, bool Logical, uint Destination, bool LevelTriggered);
