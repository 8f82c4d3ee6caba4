using System.Buffers.Binary;
using System.Numerics;
using Vivarium.Memory;

namespace Vivarium.Devices;

/// <summary>
/// A PCI function with a type 0 header (PCI Local Bus Specification 3.0, 6): identity, command and status, base address
/// registers, capabilities, interrupts. A device makes one, adds what it has, and gives it to <see cref="PciBus.Attach"/>.
/// </summary>
/// <remarks>
/// Lock order: the device's lock, then the function's, then those of the buses and of interrupt delivery. Capabilities are
/// told of accesses without the function's lock, because they lead on to the device.
/// </remarks>
public sealed class PciFunction : IPciFunction
{
    public const int ConfigSize = 256;
    public const int Bars = 6;

    // Header.
    private const int VendorIdRegister = 0x00;
    private const int DeviceIdRegister = 0x02;
    private const int CommandRegister = 0x04;
    private const int StatusRegister = 0x06;
    private const int RevisionRegister = 0x08;
    private const int CacheLineSizeRegister = 0x0C;
    private const int HeaderTypeRegister = 0x0E;
    private const int FirstBar = 0x10;
    private const int SubsystemVendorIdRegister = 0x2C;
    private const int SubsystemIdRegister = 0x2E;
    private const int ExpansionRom = 0x30;
    private const int CapabilitiesPointer = 0x34;
    private const int InterruptLineRegister = 0x3C;
    private const int InterruptPinRegister = 0x3D;
    private const int FirstCapability = 0x40;

    // Command.
    private const ushort IoSpace = 1 << 0;
    private const ushort MemorySpace = 1 << 1;
    private const ushort BusMasterEnable = 1 << 2;
    private const ushort ParityErrorResponse = 1 << 6;
    private const ushort SerrEnable = 1 << 8;
    private const ushort InterruptDisable = 1 << 10;
    private const ushort CommandWritable = IoSpace | MemorySpace | BusMasterEnable | ParityErrorResponse | SerrEnable | InterruptDisable;

    // Status.
    private const ushort InterruptStatus = 1 << 3;
    private const ushort CapabilitiesList = 1 << 4;

    // Base address registers.
    private const uint BarIo = 1;
    private const uint Bar64Bit = 4;
    private const uint BarPrefetchable = 8;
    private const uint RomEnable = 1;

    private const byte InterruptPinA = 1;

    /// <summary>Header type: the device has more than this function.</summary>
    private const byte MultiFunction = 1 << 7;

    private readonly Lock _lock = new();
    private readonly byte[] _config = new byte[ConfigSize];
    private readonly byte[] _writable = new byte[ConfigSize];
    private readonly List<(int Offset, PciCapability Capability)> _capabilities = [];
    private readonly List<(int Offset, int Length, Action<PciFunction> Changed)> _registers = [];
    private readonly List<PciBar> _bars = [];
    private PciBus? _bus;
    private InterruptLine? _line;
    private bool _interrupt;

    /// <param name="name">For listings and messages.</param>
    /// <param name="hasInterrupt">It uses INTA#.</param>
    /// <param name="isMultiFunction">Function 0 of a device that has others.</param>
    public PciFunction(string name, PciIdentity identity, bool hasInterrupt = true, bool isMultiFunction = false)
    {
        Name = name;
        HasInterrupt = hasInterrupt;
        Set16(VendorIdRegister, identity.VendorId);
        Set16(DeviceIdRegister, identity.DeviceId);
        Set32(RevisionRegister, identity.ClassCode << 8 | identity.Revision);
        Set16(SubsystemVendorIdRegister, identity.SubsystemVendorId);
        Set16(SubsystemIdRegister, identity.SubsystemId);
        BinaryPrimitives.WriteUInt16LittleEndian(_writable.AsSpan(CommandRegister), CommandWritable);
        _writable[CacheLineSizeRegister] = 0xFF;
        if (hasInterrupt)
        {
            _writable[InterruptLineRegister] = 0xFF;
            _config[InterruptPinRegister] = InterruptPinA;
        }

        if (isMultiFunction)
            _config[HeaderTypeRegister] = MultiFunction;
    }

    public string Name { get; }

    /// <summary>The function has a wire to INTA#.</summary>
    public bool HasInterrupt { get; }

    /// <summary>The function's MSI-X capability, if it has one.</summary>
    public MsiX? MsiX { get; private set; }

    /// <summary>The function's MSI capability, if it has one.</summary>
    public Msi? Msi { get; private set; }

    /// <summary>The guest lets the function write to memory, which messages do as well.</summary>
    public bool IsBusMaster => (Volatile.Read(ref _config[CommandRegister]) & BusMasterEnable) != 0;

    /// <summary>What <see cref="SetInterrupt"/> was last told.</summary>
    public bool Interrupt => Volatile.Read(ref _interrupt);

    /// <summary>Called without any lock when <see cref="IsBusMaster"/> changes.</summary>
    public Action<bool>? BusMasterChanged { get; set; }

    internal IReadOnlyList<PciBar> BaseAddresses => _bars;

    private ushort Command => BinaryPrimitives.ReadUInt16LittleEndian(_config.AsSpan(CommandRegister));

    /// <summary>Adds a range of registers in memory; a 64-bit one takes two base address registers.</summary>
    /// <param name="size">A power of two, at least 16.</param>
    public void AddMemoryBar(int index, ulong size, IMmioDevice device, bool is64Bit = false)
    {
        const ulong smallest = 16;
        CheckBar(index, size, smallest, is64Bit ? 2 : 1);
        var register = FirstBar + index * sizeof(uint);
        Set32(register, is64Bit ? Bar64Bit : 0);
        var mask = ~(size - 1);
        BinaryPrimitives.WriteUInt32LittleEndian(_writable.AsSpan(register), (uint)mask);
        if (is64Bit)
            BinaryPrimitives.WriteUInt32LittleEndian(_writable.AsSpan(register + sizeof(uint)), (uint)(mask >> 32));
        _bars.Add(new PciBar { Index = index, Size = size, Registers = device, Is64Bit = is64Bit });
    }

    /// <summary>
    /// Adds memory of the device's own, which the guest reads, writes and executes without the device: a frame buffer. What is
    /// written is found by <see cref="GuestMemory.TakeDirty"/>.
    /// </summary>
    /// <param name="region">Its length is a power of two.</param>
    public void AddMemoryBar(int index, MemoryRegion region)
    {
        CheckBar(index, region.Length, GuestMemory.PageSize, 1);
        var register = FirstBar + index * sizeof(uint);
        Set32(register, BarPrefetchable);
        BinaryPrimitives.WriteUInt32LittleEndian(_writable.AsSpan(register), (uint)~(region.Length - 1));
        _bars.Add(new PciBar { Index = index, Size = region.Length, Region = region });
    }

    /// <summary>Adds an expansion ROM (PCI 3.0, 6.3), whose program firmware copies and runs.</summary>
    /// <param name="region">Its length is a power of two; the rest behind the ROM's image is zero.</param>
    public void AddRom(MemoryRegion region)
    {
        if (!BitOperations.IsPow2(region.Length))
            throw new ArgumentOutOfRangeException(nameof(region), region.Length, "A base address register's range is a power of two.");
        BinaryPrimitives.WriteUInt32LittleEndian(_writable.AsSpan(ExpansionRom), (uint)~(region.Length - 1) | RomEnable);
        _bars.Add(new PciBar { Index = Bars, Size = region.Length, Region = region });
    }

    /// <summary>Adds an expansion ROM with this program in it, for which memory is taken that nobody else has.</summary>
    public void AddRom(GuestMemory memory, ReadOnlySpan<byte> program)
    {
        var region = memory.Allocate(BitOperations.RoundUpToPowerOf2(Math.Max((ulong)program.Length, GuestMemory.PageSize)));
        program.CopyTo(region.Bytes);
        AddRom(region);
    }

    /// <summary>Adds a range of ports.</summary>
    /// <param name="size">A power of two from 4 to 256.</param>
    public void AddPortBar(int index, int size, IPortDevice device)
    {
        const int smallest = 4, greatest = 256;
        ArgumentOutOfRangeException.ThrowIfGreaterThan(size, greatest);
        CheckBar(index, (ulong)size, smallest, 1);
        var register = FirstBar + index * sizeof(uint);
        Set32(register, BarIo);
        BinaryPrimitives.WriteUInt32LittleEndian(_writable.AsSpan(register), ~(uint)(size - 1));
        _bars.Add(new PciBar { Index = index, Size = (ulong)size, Ports = device });
    }

    /// <summary>Adds registers of the device's own, which keep what is written to their <paramref name="writable"/> bits.</summary>
    /// <param name="offset">From 0x40 on, where no capability is.</param>
    /// <param name="changed">Called after a guest has written to them, without any lock.</param>
    public void AddRegisters(int offset, ReadOnlySpan<byte> values, ReadOnlySpan<byte> writable, Action<PciFunction>? changed = null)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(offset, FirstCapability);
        ArgumentOutOfRangeException.ThrowIfNotEqual(values.Length, writable.Length);
        values.CopyTo(_config.AsSpan(offset));
        writable.CopyTo(_writable.AsSpan(offset));
        if (changed is not null)
            _registers.Add((offset, values.Length, changed));
    }

    /// <summary>Adds to the capability list and returns where in the configuration space it stands.</summary>
    public int AddCapability(PciCapability capability)
    {
        var offset = FirstCapability;
        var link = CapabilitiesPointer;
        if (_capabilities.Count != 0)
        {
            var (last, other) = _capabilities[^1];
            offset = (last + other.Length + 3) & ~3;
            link = last + 1;
        }

        if (offset + capability.Length > ConfigSize)
            throw new InvalidOperationException($"The capabilities of {Name} do not fit into its configuration space.");
        _capabilities.Add((offset, capability));
        capability.Initialize(_config.AsSpan(offset, capability.Length), _writable.AsSpan(offset, capability.Length));
        _config[offset] = capability.Id;
        _config[offset + 1] = 0;
        _config[link] = (byte)offset;
        _config[StatusRegister] |= (byte)CapabilitiesList;
        return offset;
    }

    /// <summary>Adds message-signalled interrupts, with their table in a memory BAR of their own.</summary>
    public void AddMsiX(int vectors, int bar)
    {
        MsiX = new MsiX(this, vectors, bar);
        AddMemoryBar(bar, MsiX.BarSize, MsiX);
        AddCapability(MsiX);
    }

    /// <summary>Adds one message-signalled interrupt.</summary>
    public void AddMsi()
    {
        Msi = new Msi(this);
        AddCapability(Msi);
    }

    /// <summary>Asserts or releases INTA#; it reaches the wire unless it is disabled or replaced by MSI or MSI-X.</summary>
    public void SetInterrupt(bool level)
    {
        lock (_lock)
        {
            _interrupt = level;
            DriveInterrupt();
        }
    }

    public uint ReadConfig(int offset, int size)
    {
        foreach (var (first, capability) in _capabilities)
        {
            if (offset >= first && offset < first + capability.Length)
                capability.Reading(_config.AsSpan(first, capability.Length), offset - first, size);
        }

        uint value = 0;
        lock (_lock)
        {
            for (var i = 0; i < size; i++)
                value |= (uint)_config[offset + i] << (8 * i);
        }

        return value;
    }

    public void WriteConfig(int offset, int size, uint value)
    {
        bool wasMaster, isMaster;
        lock (_lock)
        {
            wasMaster = IsBusMaster;
            for (var i = 0; i < size; i++)
            {
                var mask = _writable[offset + i];
                _config[offset + i] = (byte)((_config[offset + i] & ~mask) | ((byte)(value >> (8 * i)) & mask));
            }

            isMaster = IsBusMaster;
            DriveInterrupt();
            if (offset is >= CommandRegister and < CommandRegister + 2 or >= FirstBar and < FirstBar + Bars * sizeof(uint) or >= ExpansionRom and < ExpansionRom + sizeof(uint))
                _bus?.Decode(this);
        }

        foreach (var (first, capability) in _capabilities)
        {
            if (offset >= first && offset < first + capability.Length)
                capability.Written(_config.AsSpan(first, capability.Length), offset - first, size);
        }

        foreach (var (first, length, changed) in _registers)
        {
            if (offset < first + length && first < offset + size)
                changed(this);
        }

        if (wasMaster == isMaster)
            return;
        MsiX?.DeliverPending();
        BusMasterChanged?.Invoke(isMaster);
    }

    public PciFunctionState Save()
    {
        lock (_lock)
            return new() { Config = [.. _config], Interrupt = _interrupt, MsiX = MsiX?.Save() };
    }

    /// <summary>Takes what a guest can write; the rest is what this function is.</summary>
    public void Restore(PciFunctionState state)
    {
        StateFormat.Require(state.Version == PciFunctionState.CurrentVersion && state.Config is { Length: ConfigSize }
            && (state.MsiX is null) == (MsiX is null), Name);
        MsiX?.Restore(state.MsiX!);
        _interrupt = state.Interrupt;
        for (var offset = 0; offset < ConfigSize; offset++)
        {
            // Registers that act when they are written are the device's to restore.
            if (offset < FirstCapability)
                WriteConfig(offset, 1, state.Config[offset]);
            else
                _config[offset] = (byte)((_config[offset] & ~_writable[offset]) | (state.Config[offset] & _writable[offset]));
        }

        foreach (var (first, capability) in _capabilities)
        {
            if (capability is MsiX messages)
                messages.TakeControl(_config.AsSpan(first, capability.Length));
            else if (capability is Msi message)
                message.TakeRegisters(_config.AsSpan(first, capability.Length));
        }

        lock (_lock)
            DriveInterrupt();
        foreach (var (_, _, changed) in _registers)
            changed(this);
    }

    /// <summary>The MSI or MSI-X capability has been switched on or off.</summary>
    internal void InterruptModeChanged()
    {
        lock (_lock)
            DriveInterrupt();
    }

    /// <summary>Called once by the bus.</summary>
    internal void Connect(PciBus bus, InterruptLine? line)
    {
        _bus = bus;
        _line = line;
    }

    /// <summary>Called by a bus that has found the places of the BARs and writes them as firmware does.</summary>
    internal void Configure(byte irq)
    {
        _config[InterruptLineRegister] = irq;
        var command = (ushort)0;
        foreach (var bar in _bars)
            command |= bar.Ports is null ? MemorySpace : IoSpace;
        WriteConfig(CommandRegister, sizeof(ushort), command);
    }

    internal void SetBar(PciBar bar, ulong address)
    {
        var register = bar.IsRom ? ExpansionRom : FirstBar + bar.Index * sizeof(uint);
        WriteConfig(register, sizeof(uint), (uint)address);
        if (bar.Is64Bit)
            WriteConfig(register + sizeof(uint), sizeof(uint), (uint)(address >> 32));
    }

    /// <summary>Where the function answers for a BAR now; null if decoding is off or no address has been given.</summary>
    internal ulong? DecodedAddress(PciBar bar)
    {
        var register = bar.IsRom ? ExpansionRom : FirstBar + bar.Index * sizeof(uint);
        ulong value = BinaryPrimitives.ReadUInt32LittleEndian(_config.AsSpan(register));
        if (bar.Is64Bit)
            value |= (ulong)BinaryPrimitives.ReadUInt32LittleEndian(_config.AsSpan(register + sizeof(uint))) << 32;
        var enabled = (Command & (bar.Ports is null ? MemorySpace : IoSpace)) != 0 && (!bar.IsRom || (value & RomEnable) != 0);
        value &= ~(bar.Size - 1);
        if (!enabled || value == 0 || (bar.Ports is not null && value >= PortBus.PortCount))
            return null;
        return value;
    }

    private void DriveInterrupt()
    {
        if (_interrupt)
            _config[StatusRegister] |= (byte)InterruptStatus;
        else
            _config[StatusRegister] &= unchecked((byte)~InterruptStatus);
        _line?.Set(_interrupt && (Command & InterruptDisable) == 0 && MsiX is not { Enabled: true } && Msi is not { Enabled: true });
    }

    private void CheckBar(int index, ulong size, ulong smallest, int registers)
    {
        if (index < 0 || index + registers > Bars)
            throw new ArgumentOutOfRangeException(nameof(index), index, "There is no such base address register.");
        if (size < smallest || !BitOperations.IsPow2(size))
            throw new ArgumentOutOfRangeException(nameof(size), size, "A base address register's range is a power of two.");
        foreach (var bar in _bars)
        {
            if (index < bar.Index + (bar.Is64Bit ? 2 : 1) && bar.Index < index + registers)
                throw new InvalidOperationException($"{Name} has base address register {index} already.");
        }
    }

    private void Set16(int register, ushort value) => BinaryPrimitives.WriteUInt16LittleEndian(_config.AsSpan(register), value);

    private void Set32(int register, uint value) => BinaryPrimitives.WriteUInt32LittleEndian(_config.AsSpan(register), value);
}
