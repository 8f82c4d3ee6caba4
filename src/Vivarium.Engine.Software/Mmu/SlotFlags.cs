using Vivarium.Memory;

namespace Vivarium.Engine.Software.Mmu;

/// <summary>Page flags are shared by all vCPUs and devices: a bit changes without losing one that another thread sets. Both ways are full memory barriers if the bit changes.</summary>
internal static unsafe class SlotFlags
{
    public static void Set(PageFlags* flags, PageFlags bits)
    {
        byte old = Volatile.Read(ref *(byte*)flags);
        while ((old & (byte)bits) != (byte)bits)
        {
            byte seen = Interlocked.CompareExchange(ref *(byte*)flags, (byte)(old | (byte)bits), old);
            if (seen == old)
            {
                return;
            }

            old = seen;
        }
    }

    public static void Clear(PageFlags* flags, PageFlags bits)
    {
        byte old = Volatile.Read(ref *(byte*)flags);
        while ((old & (byte)bits) != 0)
        {
            byte seen = Interlocked.CompareExchange(ref *(byte*)flags, (byte)(old & ~(byte)bits), old);
            if (seen == old)
            {
                return;
            }

            old = seen;
        }
    }
}
