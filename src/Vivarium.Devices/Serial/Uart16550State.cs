namespace Vivarium.Devices;

/// <summary>The state of a serial port, with what the host has sent and the guest has not read.</summary>
public sealed record Uart16550State
{
    public const int CurrentVersion = 1;

    public int Version { get; init; } = CurrentVersion;

    public byte InterruptEnable { get; init; }
    public byte FifoControl { get; init; }
    public byte LineControl { get; init; }
    public byte ModemControl { get; init; }
    public byte LineErrors { get; init; }
    public byte ModemStatus { get; init; }
    public byte Scratch { get; init; }
    public ushort Divisor { get; init; }
    public bool TransmitInterrupt { get; init; }

    /// <summary>The guest has used RTS, so that dropping it stops input.</summary>
    public bool UsesRts { get; init; }

    /// <summary>The receiver's FIFO.</summary>
    public byte[] Received { get; init; } = [];

    /// <summary>Input that waits for room in the FIFO.</summary>
    public byte[] Waiting { get; init; } = [];
}
