namespace Vivarium.Devices;

/// <summary>How a device reaches its driver: what a transport gives to a device. Called on any thread, without or with the device's lock.</summary>
public interface IVirtioInterrupts
{
    /// <summary>A used buffer notification (virtio 1.2, 2.3).</summary>
    void SignalQueue(int queue);

    /// <summary>A configuration change notification: the configuration or DEVICE_NEEDS_RESET has changed.</summary>
    void SignalConfiguration();
}
