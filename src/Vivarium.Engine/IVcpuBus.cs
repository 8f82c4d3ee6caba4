using System.Runtime.InteropServices;

namespace Vivarium.Engine;

/// <summary>
/// What a vCPU sees of the rest of the machine. The engine calls it on the vCPU's thread, in the middle of an
/// instruction; the call must complete the access. (An instruction may make several accesses, for example a string
/// move between two MMIO ranges; a call per access keeps it restartable without an engine-visible protocol.)
/// </summary>
public interface IVcpuBus
{
    /// <summary>IN: <paramref name="size"/> is 1, 2 or 4. Nobody there reads as all ones.</summary>
    uint ReadPort(ushort port, int size);

    /// <summary>
    /// REP INS: one IN of <paramref name="size"/> bytes (1, 2 or 4) after the other from the same port, until the elements are full. By
    /// default each is a <see cref="ReadPort"/>.
    /// </summary>
    void ReadPorts(ushort port, int size, Span<byte> elements)
    {
        for (int at = 0; at < elements.Length; at += size)
        {
            uint value = ReadPort(port, size);
            MemoryMarshal.AsBytes(new ReadOnlySpan<uint>(ref value))[..size].CopyTo(elements[at..]);
        }
    }

    /// <summary>OUT: <paramref name="size"/> is 1, 2 or 4.</summary>
    void WritePort(ushort port, int size, uint value);

    /// <summary>Reads MMIO: <paramref name="size"/> is 1, 2, 4 or 8; nobody there reads as all ones.</summary>
    ulong ReadMmio(ulong gpa, int size);

    void WriteMmio(ulong gpa, int size, ulong value);

    /// <summary>
    /// The highest-priority interrupt to deliver now (local APIC or, through it, the 8259), acknowledged: it is in
    /// service afterwards. -1 if there is none. Called only when the guest can take an interrupt.
    /// </summary>
    int AcknowledgeInterrupt();

    /// <summary>Reads an MSR that belongs to the local APIC (IA32_APIC_BASE, IA32_TSC_DEADLINE, x2APIC 0x800-0x8FF) or to the paravirtual interface (KVM's numbering: 0x11, 0x12, 0x4B564D00-0x4B564DFF). False: #GP.</summary>
    bool ReadMsr(uint index, out ulong value);

    /// <summary>Writes such an MSR. False: #GP.</summary>
    bool WriteMsr(uint index, ulong value);

    /// <summary>
    /// VMCALL or VMMCALL. The answer goes to RAX, cut to 32 bits outside 64-bit code. False: nobody answers
    /// hypercalls, and the instruction is #UD.
    /// </summary>
    bool Hypercall(in Hypercall call, out ulong result);

    /// <summary>The guest has set its time-stamp counter (IA32_TIME_STAMP_COUNTER or IA32_TSC_ADJUST): <see cref="IVcpu.TscOffset"/> is another.</summary>
    void TscMoved();

    /// <summary>
    /// The FERR# pin: an unmasked x87 exception with CR0.NE clear (SDM vol. 1, 8.7.2). The instruction that reports it is not
    /// executed, and tried again, until an interrupt is taken. By default nobody listens.
    /// </summary>
    void FloatingPointError()
    {
    }

    /// <summary>CR8: bits 7:4 of the local APIC's task-priority register.</summary>
    byte TaskPriority { get; set; }
}
