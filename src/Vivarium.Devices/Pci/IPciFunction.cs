namespace Vivarium.Devices;

/// <summary>
/// The configuration space of one PCI function: 256 bytes. Accesses are 1, 2 or 4 bytes and do not cross a dword. It is
/// called without any lock.
/// </summary>
public interface IPciFunction
{
    uint ReadConfig(int offset, int size);

    void WriteConfig(int offset, int size, uint value);
}
