using System.Numerics;

namespace Vivarium.Devices;

/// <summary>
/// What connects local APICs and I/O APICs: carries interrupt messages to the local APICs that they name, end-of-interrupt
/// messages back, and the 8259's output to everyone's LINT0. Carrying a message takes no lock.
/// </summary>
public sealed class ApicBus
{
    /// <summary>The physical destination that means everyone; sources with 8-bit destinations widen theirs to it.</summary>
    internal const uint Broadcast = 0xFFFF_FFFF;

    private const byte Broadcast8 = 0xFF;

    // Message-signalled interrupts: address and data formats, SDM vol. 3A, 11.11.
    private const int MessageDestinationShift = 12;
    private const ulong MessageLogical = 1 << 2;
    private const int MessageModeShift = 8;
    private const uint MessageLevelTriggered = 1 << 15;

    private LocalApic[] _locals = [];

    /// <summary>The same by APIC ID.</summary>
    private LocalApic?[] _byId = [];
    private IoApic[] _ioApics = [];
    private int _arbitration;

    internal ApicBus(Lock interruptLock) => Lock = interruptLock;

    /// <summary>The lock of the 8259 and the I/O APICs.</summary>
    internal Lock Lock { get; }

    internal Pic8259? Pic { get; set; }

    /// <summary>An interrupt that a device signals by writing to 0xFEExxxxx (MSI and MSI-X).</summary>
    public void SignalMessage(ulong address, uint data)
    {
        var message = new ApicMessage(
            (byte)data,
            (DeliveryMode)((data >> MessageModeShift) & 7),
            (address & MessageLogical) != 0,
            Widen((byte)(address >> MessageDestinationShift)),
            (data & MessageLevelTriggered) != 0);
        Deliver(message);
    }

    /// <summary>A non-maskable interrupt on everyone's LINT1 pin, as from a front-panel button.</summary>
    public void SignalNmi()
    {
        foreach (var local in _locals)
            local.SignalLint1();
    }

    internal static uint Widen(byte destination) => destination == Broadcast8 ? Broadcast : destination;

    internal void Add(LocalApic local)
    {
        lock (Lock)
        {
            if (local.Id >= _byId.Length)
                Array.Resize(ref _byId, (int)local.Id + 1);
            if (_byId[local.Id] is not null)
                throw new InvalidOperationException($"There are two processors with APIC ID {local.Id}.");
            _byId[local.Id] = local;
            _locals = [.. _locals, local];
        }
    }

    internal void Add(IoApic ioApic)
    {
        lock (Lock)
            _ioApics = [.. _ioApics, ioApic];
    }

    internal void SetExternalInterrupt(bool level)
    {
        foreach (var local in _locals)
            local.SetLint0(level);
    }

    /// <summary>Takes a message to those it names; false if nobody accepted it.</summary>
    internal bool Deliver(in ApicMessage message)
    {
        if (message.Mode == DeliveryMode.LowestPriority)
            return LowestPriority(message) is { } chosen && chosen.Accept(message);
        if (!message.Logical && message.Destination != Broadcast)
            return message.Destination < (uint)_byId.Length && _byId[message.Destination] is { } one && one.Accept(message);

        var accepted = false;
        foreach (var local in _locals)
        {
            if (local.IsAddressedBy(message.Destination, message.Logical))
                accepted |= local.Accept(message);
        }

        return accepted;
    }

    /// <summary>Takes an interrupt command with a shorthand to everyone, or everyone but its sender.</summary>
    internal void DeliverToAll(in ApicMessage message, LocalApic? except)
    {
        foreach (var local in _locals)
        {
            if (local != except)
                local.Accept(message);
        }
    }

    /// <summary>
    /// Takes a message to the APIC IDs from <paramref name="first"/> on whose bits are set, whatever its destination says.
    /// </summary>
    /// <returns>How many accepted it.</returns>
    internal int SendToSet(in ApicMessage message, ulong set, ulong first)
    {
        var accepted = 0;
        for (; set != 0; set &= set - 1)
        {
            var id = first + (uint)BitOperations.TrailingZeroCount(set);
            if (id < (uint)_byId.Length && _byId[id] is { } local && local.Accept(message))
                accepted++;
        }

        return accepted;
    }

    internal void EndOfInterrupt(byte vector)
    {
        foreach (var ioApic in _ioApics)
            ioApic.EndOfInterrupt(vector);
    }

    /// <summary>The addressed processor with the lowest priority; equals take turns.</summary>
    private LocalApic? LowestPriority(in ApicMessage message)
    {
        LocalApic? best = null;
        var first = _arbitration + 1;
        for (var i = 0; i < _locals.Length; i++)
        {
            var local = _locals[(first + i) % _locals.Length];
            if (local.IsEnabled && local.IsAddressedBy(message.Destination, message.Logical)
                && (best is null || local.ProcessorPriority < best.ProcessorPriority))
            {
                best = local;
            }
        }

        if (best is not null)
            _arbitration = Array.IndexOf(_locals, best);
        return best;
    }
}
