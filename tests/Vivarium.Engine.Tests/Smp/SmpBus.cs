using System.Numerics;

namespace Vivarium.Engine.Tests.Smp;

/// <summary>
/// The bus of one of several vCPUs: interrupts that any thread may raise, which stay pending in one bit each until they are
/// acknowledged, and a port by which a spinning guest gives its host processor away.
/// </summary>
internal sealed class SmpBus : IVcpuBus
{
    /// <summary>OUT to this port lets other threads of the host run.</summary>
    public const byte YieldPort = 0xE0;

    /// <summary>OUT to any other port calls this, on the vCPU's thread in the middle of the instruction.</summary>
    public Action<ushort, uint>? OnPortWrite { get; set; }

    /// <summary>The lowest of 64 vectors that can be raised.</summary>
    public const int FirstVector = 0x40;

    private ulong _pending;
    private long _acknowledged;

    public byte TaskPriority { get; set; }

    /// <summary>How many interrupts the vCPU has taken.</summary>
    public long Acknowledged => Interlocked.Read(ref _acknowledged);

    /// <summary>True if the vector is raised and not yet taken.</summary>
    public bool IsPending(int vector) => (Volatile.Read(ref _pending) >> (vector - FirstVector) & 1) != 0;

    /// <summary>Makes an interrupt pending. False: it was already, and the two are one.</summary>
    public bool Raise(int vector)
    {
        ulong bit = 1ul << (vector - FirstVector);
        return (Interlocked.Or(ref _pending, bit) & bit) == 0;
    }

    public int AcknowledgeInterrupt()
    {
        while (true)
        {
            ulong pending = Volatile.Read(ref _pending);
            if (pending == 0)
            {
                return -1;
            }

            int highest = BitOperations.Log2(pending);
            ulong bit = 1ul << highest;
            if ((Interlocked.And(ref _pending, ~bit) & bit) != 0)
            {
                Interlocked.Increment(ref _acknowledged);
                return FirstVector + highest;
            }
        }
    }

    public uint ReadPort(ushort port, int size) => uint.MaxValue;

    public void WritePort(ushort port, int size, uint value)
    {
        if (port == YieldPort)
        {
            Thread.Yield();
        }
        else
        {
            OnPortWrite?.Invoke(port, value);
        }
    }

    public ulong ReadMmio(ulong gpa, int size) => ulong.MaxValue;

    public void WriteMmio(ulong gpa, int size, ulong value)
    {
    }

    public bool ReadMsr(uint index, out ulong value)
    {
        value = 0;
        return false;
    }

    public bool WriteMsr(uint index, ulong value) => false;

    public bool Hypercall(in Hypercall call, out ulong result)
    {
        result = 0;
        return false;
    }

    public void TscMoved()
    {
    }
}
