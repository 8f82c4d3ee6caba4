namespace Vivarium.Devices;

/// <summary>What is plugged into a port of the keyboard controller. Any thread may call; the controller holds its own lock meanwhile.</summary>
internal interface IPs2Device
{
    /// <summary>Called without the device's lock when there may be a byte to take.</summary>
    Action? Ready { get; set; }

    /// <summary>The system sends a byte: a command, or what belongs to one.</summary>
    void Receive(byte value);

    /// <summary>Takes the next byte for the system, if there is one.</summary>
    bool TryTake(out byte value);
}
