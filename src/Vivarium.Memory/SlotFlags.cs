namespace Vivarium.Memory;

/// <summary>Page flags are shared by all vCPUs and devices: a bit changes without losing one that another thread sets. Both ways are full memory barriers if the bit changes.</summary>
public static unsafe class SlotFlags
{
    public static void Set(PageFlags* flags, PageFlags bits) => AtomicByte.Change(ref *(byte*)flags, (byte)bits, 0);

    public static void Clear(PageFlags* flags, PageFlags bits) => AtomicByte.Change(ref *(byte*)flags, 0, (byte)bits);
}
