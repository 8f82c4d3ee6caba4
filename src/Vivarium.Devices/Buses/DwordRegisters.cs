namespace Vivarium.Devices;

/// <summary>
/// A device whose registers in memory are dwords, read also in parts and in pairs, and written as whole dwords and qwords: what AHCI
/// (1.3, 3), NVMe (1.4, 3.1) and Intel's network cards define. Other writes do nothing.
/// </summary>
public abstract class DwordRegisters : IMmioDevice
{
    public ulong ReadMmio(ulong offset, int size)
    {
        if (size == sizeof(ulong))
            return ReadRegister((int)offset) | (ulong)ReadRegister((int)offset + sizeof(uint)) << 32;
        return ReadRegister((int)offset & ~3) >> (8 * ((int)offset & 3));
    }

    public void WriteMmio(ulong offset, int size, ulong value)
    {
        if (size < sizeof(uint) || (offset & 3) != 0)
            return;
        WriteRegister((int)offset, (uint)value);
        if (size == sizeof(ulong))
            WriteRegister((int)offset + sizeof(uint), (uint)(value >> 32));
    }

    private protected abstract uint ReadRegister(int register);

    private protected abstract void WriteRegister(int register, uint value);
}
