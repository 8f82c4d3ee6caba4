namespace Vivarium.Devices;

/// <summary>Where a serial port's output goes.</summary>
public interface ISerialBackend
{
    /// <summary>
    /// Takes what the guest sent, in order. Called on a vCPU's thread without any lock, often with one byte: an
    /// implementation queues and does not wait for the host.
    /// </summary>
    void Write(ReadOnlySpan<byte> bytes);
}
