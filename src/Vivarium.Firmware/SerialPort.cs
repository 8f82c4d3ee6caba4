namespace Vivarium.Firmware;

/// <summary>A UART at its first I/O port, with its ISA interrupt.</summary>
public readonly record struct SerialPort(ushort Port, byte Irq);
