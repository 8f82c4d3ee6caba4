namespace Vivarium.Memory;

/// <summary>A byte that several threads change bits of at the same time.</summary>
public static class AtomicByte
{
    /// <summary>Sets and clears bits without losing one that another thread changes. A full memory barrier if the byte changes.</summary>
    public static void Change(ref byte value, byte set, byte clear)
    {
        byte old = Volatile.Read(ref value);
        while (true)
        {
            byte wanted = (byte)((old | set) & ~clear);
            if (wanted == old)
            {
                return;
            }

            byte seen = Interlocked.CompareExchange(ref value, wanted, old);
            if (seen == old)
            {
                return;
            }

            old = seen;
        }
    }
}
