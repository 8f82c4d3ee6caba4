namespace Vivarium.Devices.Tests;

public enum Transport
{
    PciMsiX,
    PciIntX,
    Mmio,
}

/// <summary>What a driver does to a virtio device, in the words of the specification, over either transport.</summary>
internal abstract class VirtioDriver(VirtioMachine machine)
{
    public const byte Acknowledge = 1;
    public const byte Driver = 2;
    public const byte DriverOk = 4;
    public const byte FeaturesOk = 8;
    public const byte NeedsReset = 64;

    /// <summary>The interrupt vector of queue n is this plus n; without MSI-X all come as this.</summary>
    public const int QueueVector = 0x50;
    public const int ConfigVector = 0x40;

    public VirtioMachine Machine { get; } = machine;

    public ulong Features { get; private set; }

    public abstract byte Status { get; set; }

    public abstract ulong DeviceFeatures { get; }

    public abstract ulong DriverFeatures { set; }

    public abstract byte ConfigGeneration { get; }

    public abstract int QueueSizeMax(int queue);

    public abstract void SetQueue(int queue, int size, ulong descriptor, ulong driver, ulong device);

    public abstract bool EnableQueue(int queue);

    public abstract void ResetQueue(int queue);

    public abstract void Notify(int queue);

    public abstract uint ReadConfig(int offset, int size);

    public abstract void WriteConfig(int offset, int size, uint value);

    /// <summary>Takes the interrupt that waits, acknowledged at the device and the local APIC; 0 if there is none.</summary>
    public abstract int TakeInterrupt();

    /// <summary>Reset and negotiation up to FEATURES_OK (3.1.1); false if the device refused.</summary>
    public bool Negotiate(ulong features)
    {
        Status = 0;
        Assert.Equal(0, Status);
        Status = Acknowledge;
        Status = Acknowledge | Driver;
        DriverFeatures = features;
        Status = Acknowledge | Driver | FeaturesOk;
        Features = features;
        return (Status & FeaturesOk) != 0;
    }

    public void Start() => Status = Acknowledge | Driver | FeaturesOk | DriverOk;

    /// <summary>Negotiates, sets up queues of the format that the features say, and starts.</summary>
    public GuestRing[] Begin(ulong features, params int[] sizes)
    {
        Assert.True(Negotiate(features | VirtioFeatures.Version1));
        var rings = new GuestRing[sizes.Length];
        for (var i = 0; i < sizes.Length; i++)
            rings[i] = AddQueue(i, sizes[i]);
        Start();
        return rings;
    }

    public GuestRing AddQueue(int queue, int size)
    {
        var ring = GuestRing.Create(Machine, this, queue, size, Features);
        SetQueue(queue, size, ring.DescriptorArea, ring.DriverArea, ring.DeviceArea);
        Assert.True(EnableQueue(queue));
        return ring;
    }

    protected uint Read(ulong address, int size) => (uint)Machine.Board.Mmio.Read(address, size);

    protected void Write(ulong address, int size, ulong value) => Machine.Board.Mmio.Write(address, size, value);

    protected int TakeVector()
    {
        if (!Machine.Board.Apic.HasInterrupt)
            return 0;
        return Machine.Board.Apic.AcknowledgeInterrupt();
    }
}

/// <summary>Over PCI: everything is found through the capability list, as drivers find it.</summary>
internal sealed class PciDriver : VirtioDriver
{
    private const byte VendorCapability = 9;
    private const byte MsiXCapability = 0x11;

    private readonly bool _useMsiX;
    private readonly ulong _common;
    private readonly ulong _isr;
    private readonly ulong _notify;
    private readonly ulong _config;
    private readonly uint _multiplier;

    public PciDriver(VirtioMachine machine, VirtioPciTransport transport, int device, bool useMsiX)
        : base(machine)
    {
        Transport = transport;
        Device = device;
        _useMsiX = useMsiX;
        machine.WritePci(device, 4, 2, 6);
        for (var at = (int)machine.ReadPci(device, 0x34, 1); at != 0; at = (int)machine.ReadPci(device, at + 1, 1))
        {
            var id = machine.ReadPci(device, at, 1);
            if (id == MsiXCapability)
            {
                MsiXControl = at + 2;
                MsiXTable = Bar((int)machine.ReadPci(device, at + 4, 4) & 7) + (machine.ReadPci(device, at + 4, 4) & ~7u);
                MsiXPending = Bar((int)machine.ReadPci(device, at + 8, 4) & 7) + (machine.ReadPci(device, at + 8, 4) & ~7u);
            }

            if (id != VendorCapability)
                continue;
            var type = machine.ReadPci(device, at + 3, 1);
            var place = type == 5 ? 0 : Bar((int)machine.ReadPci(device, at + 4, 1)) + machine.ReadPci(device, at + 8, 4);
            switch (type)
            {
                case 1:
                    _common = place;
                    break;
                case 2:
                    _notify = place;
                    _multiplier = machine.ReadPci(device, at + 16, 4);
                    break;
                case 3:
                    _isr = place;
                    break;
                case 4:
                    _config = place;
                    break;
                case 5:
                    AccessCapability = at;
                    break;
            }
        }

        if (useMsiX)
            EnableMsiX();
        else
            machine.Board.Redirect(IoApicPin, QueueVector | 1 << 15);
    }

    public VirtioPciTransport Transport { get; }

    public int Device { get; }

    public int MsiXControl { get; }

    public ulong MsiXTable { get; }

    public ulong MsiXPending { get; }

    public int AccessCapability { get; }

    public int IoApicPin => 16 + (Device + 3) % 4;

    public override byte Status
    {
        get => (byte)Read(_common + 0x14, 1);
        set
        {
            Write(_common + 0x14, 1, value);

            // Reset has taken the vectors away.
            if (value == 0 && _useMsiX)
                SetConfigVector(0);
        }
    }

    public override ulong DeviceFeatures
    {
        get
        {
            Write(_common, 4, 0);
            ulong features = Read(_common + 4, 4);
            Write(_common, 4, 1);
            return features | (ulong)Read(_common + 4, 4) << 32;
        }
    }

    public override ulong DriverFeatures
    {
        set
        {
            Write(_common + 8, 4, 0);
            Write(_common + 0xC, 4, (uint)value);
            Write(_common + 8, 4, 1);
            Write(_common + 0xC, 4, value >> 32);
        }
    }

    public override byte ConfigGeneration => (byte)Read(_common + 0x15, 1);

    public ulong CommonConfiguration => _common;

    public override int QueueSizeMax(int queue)
    {
        Write(_common + 0x16, 2, (ulong)queue);
        return (int)Read(_common + 0x18, 2);
    }

    public override void SetQueue(int queue, int size, ulong descriptor, ulong driver, ulong device)
    {
        Write(_common + 0x16, 2, (ulong)queue);
        Write(_common + 0x18, 2, (ulong)size);
        if (_useMsiX)
        {
            Write(_common + 0x1A, 2, (ulong)queue + 1);
            Assert.Equal((uint)queue + 1, Read(_common + 0x1A, 2));
        }

        Write(_common + 0x20, 8, descriptor);
        Write(_common + 0x28, 4, (uint)driver);
        Write(_common + 0x2C, 4, driver >> 32);
        Write(_common + 0x30, 8, device);
    }

    public override bool EnableQueue(int queue)
    {
        Write(_common + 0x16, 2, (ulong)queue);
        Write(_common + 0x1C, 2, 1);
        return Read(_common + 0x1C, 2) == 1;
    }

    public override void ResetQueue(int queue)
    {
        Write(_common + 0x16, 2, (ulong)queue);
        Write(_common + 0x3A, 2, 1);
        Assert.Equal(0u, Read(_common + 0x3A, 2));
        Assert.Equal(0u, Read(_common + 0x1C, 2));
    }

    public override void Notify(int queue)
    {
        Write(_common + 0x16, 2, (ulong)queue);
        Write(_notify + Read(_common + 0x1E, 2) * _multiplier, 2, (ulong)queue);
    }

    public override uint ReadConfig(int offset, int size) => Read(_config + (ulong)offset, size);

    public override void WriteConfig(int offset, int size, uint value) => Write(_config + (ulong)offset, size, value);

    public override int TakeInterrupt()
    {
        var vector = TakeVector();
        if (vector != 0 && !_useMsiX)
        {
            // Bit 1 alone is a configuration change.
            var isr = Read(_isr, 1);
            Machine.Board.EndOfInterrupt();
            return isr switch
            {
                0 => 0,
                2 => ConfigVector,
                _ => vector,
            };
        }

        if (vector != 0)
            Machine.Board.EndOfInterrupt();
        return vector;
    }

    public void SetConfigVector(int entry) => Write(_common + 0x10, 2, (ulong)entry);

    private void EnableMsiX()
    {
        var entries = (Machine.ReadPci(Device, MsiXControl, 2) & 0x7FF) + 1;
        for (uint i = 0; i < entries; i++)
        {
            Write(MsiXTable + 16 * i, 8, 0xFEE0_0000);
            Write(MsiXTable + 16 * i + 8, 8, i == 0 ? ConfigVector : QueueVector + i - 1);
        }

        Machine.WritePci(Device, MsiXControl, 2, 1 << 15);
    }

    private ulong Bar(int index)
    {
        var low = Machine.ReadPci(Device, 0x10 + 4 * index, 4);
        var high = (low & 6) == 4 ? Machine.ReadPci(Device, 0x14 + 4 * index, 4) : 0;
        return (low & ~0xFu) | (ulong)high << 32;
    }
}

internal sealed class MmioDriver : VirtioDriver
{
    public MmioDriver(VirtioMachine machine, VirtioMmioTransport transport)
        : base(machine)
    {
        Transport = transport;
        machine.Board.Redirect(VirtioMachine.MmioPin, QueueVector | 1 << 15);
        Assert.Equal(0x7472_6976u, this[0]);
        Assert.Equal(2u, this[4]);
    }

    public VirtioMmioTransport Transport { get; }

    public override byte Status
    {
        get => (byte)this[0x70];
        set => this[0x70] = value;
    }

    public override ulong DeviceFeatures
    {
        get
        {
            this[0x14] = 0;
            ulong features = this[0x10];
            this[0x14] = 1;
            return features | (ulong)this[0x10] << 32;
        }
    }

    public override ulong DriverFeatures
    {
        set
        {
            this[0x24] = 0;
            this[0x20] = (uint)value;
            this[0x24] = 1;
            this[0x20] = (uint)(value >> 32);
        }
    }

    public override byte ConfigGeneration => (byte)this[0xFC];

    private uint this[ulong register]
    {
        get => Read(VirtioMachine.MmioStart + register, 4);
        set => Write(VirtioMachine.MmioStart + register, 4, value);
    }

    public override int QueueSizeMax(int queue)
    {
        this[0x30] = (uint)queue;
        return (int)this[0x34];
    }

    public override void SetQueue(int queue, int size, ulong descriptor, ulong driver, ulong device)
    {
        this[0x30] = (uint)queue;
        this[0x38] = (uint)size;
        this[0x80] = (uint)descriptor;
        this[0x84] = (uint)(descriptor >> 32);
        this[0x90] = (uint)driver;
        this[0x94] = (uint)(driver >> 32);
        this[0xA0] = (uint)device;
        this[0xA4] = (uint)(device >> 32);
    }

    public override bool EnableQueue(int queue)
    {
        this[0x30] = (uint)queue;
        this[0x44] = 1;
        return this[0x44] == 1;
    }

    public override void ResetQueue(int queue)
    {
        this[0x30] = (uint)queue;
        this[0xC0] = 1;
        Assert.Equal(0u, this[0xC0]);
        Assert.Equal(0u, this[0x44]);
    }

    public override void Notify(int queue) => this[0x50] = (uint)queue;

    public override uint ReadConfig(int offset, int size) => Read(VirtioMachine.MmioStart + 0x100 + (ulong)offset, size);

    public override void WriteConfig(int offset, int size, uint value) => Write(VirtioMachine.MmioStart + 0x100 + (ulong)offset, size, value);

    public override int TakeInterrupt()
    {
        var vector = TakeVector();
        if (vector == 0)
            return 0;
        var cause = this[0x60];
        this[0x64] = cause;
        Machine.Board.EndOfInterrupt();
        return cause switch
        {
            0 => 0,
            2 => ConfigVector,
            _ => vector,
        };
    }
}
