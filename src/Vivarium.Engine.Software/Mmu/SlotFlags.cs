using Vivarium.Memory;

namespace Vivarium.Engine.Software.Mmu;

/// <summary>Page flags are shared by all vCPUs: a bit is set without losing one that another vCPU sets.</summary>
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
}
