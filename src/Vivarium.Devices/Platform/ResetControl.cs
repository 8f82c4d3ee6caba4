namespace Vivarium.Devices;

/// <summary>
/// The reset control register at port 0xCF9 (82371SB PIIX3 data sheet, 2.5.6), which is also the FADT's reset register.
/// It lies among the PCI configuration ports, so that <see cref="PciHost"/> hands accesses on.
/// </summary>
public sealed class ResetControl
{
    public const ushort Port = 0xCF9;

    /// <summary>The value that resets the machine: the FADT's RESET_VALUE.</summary>
    public const byte HardReset = SystemReset | ResetCpu;

    private const byte SystemReset = 1 << 1;
    private const byte ResetCpu = 1 << 2;

    private byte _value;

    /// <summary>The guest resets the machine. Called on the vCPU's thread without any lock.</summary>
    public Action? ResetRequested { get; set; }

    internal byte Value
    {
        get => Volatile.Read(ref _value);
        set
        {
            // The reset comes when RCPU rises.
            var rises = (value & ~_value & ResetCpu) != 0;
            Volatile.Write(ref _value, (byte)(value & SystemReset));
            if (rises)
                ResetRequested?.Invoke();
        }
    }

    internal void Restore(byte value) => Volatile.Write(ref _value, (byte)(value & SystemReset));
}
