namespace Vivarium.Firmware.Boot;

/// <summary>Bytes that belong at an address of guest memory when a kernel starts, and zeros behind them.</summary>
/// <param name="Address">Guest-physical.</param>
/// <param name="Bytes">What stands there.</param>
/// <param name="Zeros">How many zeros follow.</param>
internal readonly record struct BootPiece(ulong Address, ReadOnlyMemory<byte> Bytes, ulong Zeros = 0)
{
    public ulong End => Address + (ulong)Bytes.Length + Zeros;
}
