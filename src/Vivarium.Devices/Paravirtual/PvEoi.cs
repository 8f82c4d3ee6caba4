using Vivarium.Memory;

namespace Vivarium.Devices;

/// <summary>
/// A vCPU's byte in guest RAM by which it may end an interrupt without writing to its local APIC: when
/// <see cref="LocalApic"/> has offered it, the guest clears the bit instead. Only the vCPU's own thread touches the byte,
/// while the guest does not run, because the guest clears the bit by a plain instruction.
/// </summary>
internal sealed unsafe class PvEoi(GuestMemory memory)
{
    private const int Size = 1;
    private const ulong AlignmentMask = 3;
    private const byte Offered = 1;

    /// <summary>MSR_KVM_PV_EOI_EN: the address and <see cref="KvmMsr.Enabled"/>.</summary>
    public ulong Value { get; private set; }

    private byte* Host => (Value & KvmMsr.Enabled) != 0 ? new GuestArea(memory, Value & ~KvmMsr.Enabled, Size).Host : null;

    /// <returns>False: #GP.</returns>
    public bool Write(ulong value)
    {
        if (!IsValid(value))
            return false;
        Value = value;
        return true;
    }

    /// <summary>Lets the guest end the interrupt by the byte. False: it is to write to the local APIC.</summary>
    public bool Offer() => Set(Offered);

    /// <summary>Takes the offer back.</summary>
    public void Withdraw() => Set(0);

    /// <summary>The guest has ended the interrupt.</summary>
    public bool IsTaken
    {
        get
        {
            var host = Host;
            return host != null && (*host & Offered) == 0;
        }
    }

    /// <summary>Switches it off, as INIT does.</summary>
    public void Reset() => Value = 0;

    private bool IsValid(ulong value)
    {
        var address = value & ~KvmMsr.Enabled;
        return (address & AlignmentMask) == 0
            && ((value & KvmMsr.Enabled) == 0 || new GuestArea(memory, address, Size).Host != null);
    }

    private bool Set(byte value)
    {
        var host = Host;
        if (host == null)
            return false;
        *host = value;
        memory.NoteWritten(host, Size);
        return true;
    }
}
