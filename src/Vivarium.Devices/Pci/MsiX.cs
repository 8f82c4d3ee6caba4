using System.Buffers.Binary;

namespace Vivarium.Devices;

/// <summary>
/// Message-signalled interrupts with a table in memory (PCI 3.0, 6.8.2): the capability and what its BAR holds, the vector
/// table at 0 and the pending bits at <see cref="PendingOffset"/>.
/// </summary>
public sealed class MsiX : PciCapability, IMmioDevice
{
    public const byte CapabilityId = 0x11;
    public const int MaxVectors = 128;

    internal const ulong BarSize = 0x1000;

    private const int CapabilityLength = 12;
    private const ulong PendingOffset = 0x800;

    // Capability registers.
    private const int ControlRegister = 2;
    private const int TableRegister = 4;
    private const int PendingRegister = 8;
    private const ushort FunctionMask = 1 << 14;
    private const ushort EnableBit = 1 << 15;

    // Table entry, in dwords.
    private const int EntryDwords = 4;
    private const int AddressLow = 0;
    private const int AddressHigh = 1;
    private const int Data = 2;
    private const int VectorControl = 3;
    private const uint VectorMasked = 1;

    private readonly Lock _lock = new();
    private readonly PciFunction _function;
    private readonly int _bar;
    private readonly uint[] _table;
    private readonly bool[] _pending;
    private ushort _control;
    private int _waiting;
    private ApicBus? _apics;

    internal MsiX(PciFunction function, int vectors, int bar)
        : base(CapabilityId, CapabilityLength)
    {
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(vectors);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(vectors, MaxVectors);
        _function = function;
        _bar = bar;
        _table = new uint[vectors * EntryDwords];
        _pending = new bool[vectors];
        for (var i = 0; i < vectors; i++)
            _table[i * EntryDwords + VectorControl] = VectorMasked;
    }

    public int Vectors => _pending.Length;

    /// <summary>The guest uses messages; INTx is off.</summary>
    public bool Enabled => (Volatile.Read(ref _control) & EnableBit) != 0;

    /// <summary>Sends a vector's message, or notes it as pending while it is masked. Vectors that do not exist do nothing.</summary>
    public void Signal(int vector)
    {
        lock (_lock)
        {
            if ((uint)vector >= (uint)Vectors || (_control & EnableBit) == 0)
                return;
            if (CanSend(vector))
            {
                Send(vector);
            }
            else if (!_pending[vector])
            {
                _pending[vector] = true;
                _waiting++;
            }
        }
    }

    public override void Initialize(Span<byte> registers, Span<byte> writable)
    {
        BinaryPrimitives.WriteUInt16LittleEndian(registers[ControlRegister..], (ushort)(Vectors - 1));
        BinaryPrimitives.WriteUInt16LittleEndian(writable[ControlRegister..], FunctionMask | EnableBit);
        BinaryPrimitives.WriteUInt32LittleEndian(registers[TableRegister..], (uint)_bar);
        BinaryPrimitives.WriteUInt32LittleEndian(registers[PendingRegister..], (uint)PendingOffset | (uint)_bar);
    }

    public override void Written(Span<byte> registers, int offset, int size)
    {
        lock (_lock)
        {
            _control = BinaryPrimitives.ReadUInt16LittleEndian(registers[ControlRegister..]);
            if ((_control & EnableBit) == 0)
                ClearPending();
        }

        _function.InterruptModeChanged();
        DeliverPending();
    }

    public ulong ReadMmio(ulong offset, int size)
    {
        lock (_lock)
        {
            if (size == sizeof(ulong))
                return ReadDword(offset) | (ulong)ReadDword(offset + sizeof(uint)) << 32;
            return ReadDword(offset & ~3ul) >> (int)(8 * (offset & 3));
        }
    }

    public void WriteMmio(ulong offset, int size, ulong value)
    {
        // Only whole dwords and qwords are defined.
        if (size < sizeof(uint) || (offset & 3) != 0)
            return;
        lock (_lock)
        {
            WriteDword(offset, (uint)value);
            if (size == sizeof(ulong))
                WriteDword(offset + sizeof(uint), (uint)(value >> 32));
        }

        DeliverPending();
    }

    internal void Connect(ApicBus apics) => _apics = apics;

    /// <summary>Sends what has been pending and is masked no more.</summary>
    internal void DeliverPending()
    {
        lock (_lock)
        {
            for (var vector = 0; vector < Vectors && _waiting != 0; vector++)
            {
                if (!_pending[vector] || !CanSend(vector))
                    continue;
                _pending[vector] = false;
                _waiting--;
                Send(vector);
            }
        }
    }

    internal MsiXState Save()
    {
        lock (_lock)
            return new() { Table = [.. _table], Pending = [.. _pending] };
    }

    internal void Restore(MsiXState state)
    {
        StateFormat.Require(state.Table?.Length == _table.Length && state.Pending?.Length == _pending.Length, "MSI-X table");
        lock (_lock)
        {
            ClearPending();
            state.Table!.CopyTo(_table, 0);
            for (var i = 0; i < Vectors; i++)
            {
                _pending[i] = state.Pending![i];
                _waiting += _pending[i] ? 1 : 0;
            }
        }
    }

    /// <summary>Reads the control register again after the configuration space has been restored.</summary>
    internal void TakeControl(ReadOnlySpan<byte> registers)
    {
        lock (_lock)
            _control = BinaryPrimitives.ReadUInt16LittleEndian(registers[ControlRegister..]);
    }

    private bool CanSend(int vector) =>
        (_control & (EnableBit | FunctionMask)) == EnableBit
        && (_table[vector * EntryDwords + VectorControl] & VectorMasked) == 0
        && _function.IsBusMaster;

    private void Send(int vector)
    {
        var entry = _table.AsSpan(vector * EntryDwords, EntryDwords);

        // Any address may be written there; only those of the local APICs are messages.
        const uint messages = 0xFEE0_0000, messagesMask = 0xFFF0_0000;
        if (entry[AddressHigh] == 0 && (entry[AddressLow] & messagesMask) == messages)
            _apics?.SignalMessage(entry[AddressLow], entry[Data]);
    }

    private uint ReadDword(ulong offset)
    {
        var index = offset / sizeof(uint);
        if (index < (ulong)_table.Length)
            return _table[index];
        if (offset is < PendingOffset or >= PendingOffset + MaxVectors / 8)
            return 0;
        const int bits = 32;
        uint value = 0;
        var first = (int)(offset - PendingOffset) / sizeof(uint) * bits;
        for (var i = 0; i < bits && first + i < Vectors; i++)
            value |= (_pending[first + i] ? 1u : 0) << i;
        return value;
    }

    private void WriteDword(ulong offset, uint value)
    {
        var index = offset / sizeof(uint);
        if (index < (ulong)_table.Length)
            _table[index] = index % EntryDwords == VectorControl ? value & VectorMasked : value;
    }

    private void ClearPending()
    {
        Array.Clear(_pending);
        _waiting = 0;
    }
}
