using System.Buffers.Binary;

namespace Vivarium.Devices.Tests;

/// <summary>A board with an IDE controller, seen through its ports as a driver sees it.</summary>
internal sealed class IdeMachine : IDisposable
{
    public const int DiskSectors = 4096;
    public const int Sector = 512;
    public const byte Ready = 0x50;
    public const byte DataRequest = 0x58;
    public const byte Failed = 0x51;
    public const byte Busy = 0x80;
    public const byte Lba = 0x40;
    public const byte Slave = 0x10;

    // Command block registers.
    public const int Data = 0, Error = 1, Features = 1, Count = 2, LbaLow = 3, LbaMid = 4, LbaHigh = 5, Device = 6, Status = 7;

    // Bus master status.
    public const byte Active = 1, MasterError = 2, MasterInterrupt = 4;

    private const byte Vector = 0x40;
    private const ushort MasterPorts = 0xC000;
    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(30);

    private readonly VirtioMachine _machine = new();
    private readonly int _command;
    private readonly int _control;
    private readonly int _master;

    /// <param name="disks">As the controller takes them; a 2 MiB disk as primary master if there is none.</param>
    public IdeMachine(bool secondary = false, params MemoryDisk?[] disks)
        : this(secondary, disks, cd: null)
    {
    }

    /// <summary>With a CD drive as primary master.</summary>
    public IdeMachine(Func<IdeMachine, AtapiDrive> cd)
        : this(false, [null], cd)
    {
    }

    private IdeMachine(bool secondary, MemoryDisk?[] disks, Func<IdeMachine, AtapiDrive>? cd)
    {
        Disks = disks.Length == 0 ? [new MemoryDisk(DiskSectors * Sector)] : disks;
        AtaDevice?[] devices = [.. Disks.Select((disk, index) => disk is null ? null : new AtaDisk(Memory, disk, $"SN{index}") { Failed = Note })];
        if (cd is not null)
            devices = [cd(this), .. devices.Skip(1)];
        Ide = new PiixIde(Memory, Board.Interrupts, devices);
        _machine.Pci.Attach(PiixIsaBridge.Device, 0, PiixIsaBridge.Create(_machine.Board.Interrupts, routed: true));
        _machine.Pci.Attach(PiixIsaBridge.Device, PiixIde.FunctionNumber, Ide.Function);
        Ide.Map(Board.Ports);
        EnableBusMaster(true);
        Board.Redirect(secondary ? PiixIde.SecondaryIrq : PiixIde.PrimaryIrq, Vector);
        _command = secondary ? PiixIde.SecondaryCommand : PiixIde.PrimaryCommand;
        _control = secondary ? PiixIde.SecondaryControl : PiixIde.PrimaryControl;
        _master = MasterPorts + (secondary ? 8 : 0);
    }

    public PiixIde Ide { get; }

    public MemoryDisk?[] Disks { get; }

    public MemoryDisk Disk => Disks.First(disk => disk is not null)!;

    public List<string> Problems { get; } = [];

    public Board Board => _machine.Board;

    public Memory.GuestMemory Memory => _machine.Memory;

    public VirtioMachine Machine => _machine;

    public byte AlternateStatus => (byte)Board.Ports.Read((ushort)_control, 1);

    public byte MasterStatus => (byte)Board.Ports.Read((ushort)(_master + 2), 1);

    public void Dispose()
    {
        foreach (var disk in Disks)
            disk?.FlushGate.Set();
        Ide.Dispose();
        _machine.Dispose();
    }

    public void Note(string problem)
    {
        lock (Problems)
            Problems.Add(problem);
    }

    /// <summary>Writes a function's configuration: function 1 is the IDE controller.</summary>
    public void WritePci(int function, int register, int size, uint value)
    {
        Board.Ports.Write(0xCF8, 4, 1u << 31 | PiixIsaBridge.Device << 11 | (uint)function << 8 | (uint)register & 0xFC);
        Board.Ports.Write((ushort)(0xCFC + (register & 3)), size, value);
    }

    public uint ReadPci(int function, int register, int size)
    {
        Board.Ports.Write(0xCF8, 4, 1u << 31 | PiixIsaBridge.Device << 11 | (uint)function << 8 | (uint)register & 0xFC);
        return Board.Ports.Read((ushort)(0xCFC + (register & 3)), size);
    }

    public void EnableBusMaster(bool on) => WritePci(PiixIde.FunctionNumber, 0x04, 2, on ? 5u : 1u);

    public byte In(int register) => (byte)Board.Ports.Read((ushort)(_command + register), 1);

    /// <summary>REP INS.</summary>
    public byte[] ReadString(int register, int size, int length)
    {
        var elements = new byte[length];
        Board.Ports.Read((ushort)(_command + register), size, elements);
        return elements;
    }

    public void Out(int register, byte value) => Board.Ports.Write((ushort)(_command + register), 1, value);

    public void Control(byte value) => Board.Ports.Write((ushort)_control, 1, value);

    /// <summary>An edge of INTRQ has come since the last question.</summary>
    public bool Interrupted()
    {
        if (Board.Apic.AcknowledgeInterrupt() != Vector)
            return false;
        Board.EndOfInterrupt();
        return true;
    }

    /// <summary>Gives a command with a 28-bit address.</summary>
    public void Command(byte command, uint lba = 0, byte count = 1, byte features = 0, byte device = Lba)
    {
        Out(Device, (byte)(device | (lba >> 24) & 0xF));
        Out(Features, features);
        Out(Count, count);
        Out(LbaLow, (byte)lba);
        Out(LbaMid, (byte)(lba >> 8));
        Out(LbaHigh, (byte)(lba >> 16));
        Out(Status, command);
    }

    /// <summary>Gives a command with a 48-bit address.</summary>
    public void CommandExt(byte command, ulong lba = 0, ushort count = 1, byte features = 0, byte device = Lba)
    {
        Out(Device, device);
        Out(Count, (byte)(count >> 8));
        Out(LbaLow, (byte)(lba >> 24));
        Out(LbaMid, (byte)(lba >> 32));
        Out(LbaHigh, (byte)(lba >> 40));
        Out(Features, features);
        Out(Count, (byte)count);
        Out(LbaLow, (byte)lba);
        Out(LbaMid, (byte)(lba >> 8));
        Out(LbaHigh, (byte)(lba >> 16));
        Out(Status, command);
    }

    public byte[] ReadData(int bytes)
    {
        var data = new byte[bytes];
        for (var i = 0; i < bytes; i += 2)
            BinaryPrimitives.WriteUInt16LittleEndian(data.AsSpan(i), (ushort)Board.Ports.Read((ushort)_command, 2));
        return data;
    }

    public void WriteData(ReadOnlySpan<byte> data)
    {
        for (var i = 0; i < data.Length; i += 2)
            Board.Ports.Write((ushort)_command, 2, BinaryPrimitives.ReadUInt16LittleEndian(data[i..]));
    }

    public uint ReadDataDword() => Board.Ports.Read((ushort)_command, 4);

    /// <summary>Waits for what is done on another thread, then reads Status.</summary>
    public byte WaitReady()
    {
        Assert.True(SpinWait.SpinUntil(() => (AlternateStatus & Busy) == 0, s_patience), "the device stays busy");
        return In(Status);
    }

    public byte Master(int register) => (byte)Board.Ports.Read((ushort)(_master + register), 1);

    public void MasterOut(int register, int size, uint value) => Board.Ports.Write((ushort)(_master + register), size, value);

    public uint MasterIn(int register, int size) => Board.Ports.Read((ushort)(_master + register), size);

    /// <summary>Puts a list of regions into memory, the last with the end mark, and tells the bus master.</summary>
    public void SetRegions(params (ulong Address, int Length)[] regions)
    {
        var table = new byte[regions.Length * 8];
        for (var i = 0; i < regions.Length; i++)
        {
            BinaryPrimitives.WriteUInt32LittleEndian(table.AsSpan(i * 8), (uint)regions[i].Address);
            BinaryPrimitives.WriteUInt32LittleEndian(table.AsSpan(i * 8 + 4), (ushort)regions[i].Length | (i == regions.Length - 1 ? 1u << 31 : 0));
        }

        var address = _machine.Allocate(table.Length, 0x1_0000);
        Memory.Write(address, table);
        MasterOut(4, 4, (uint)address);
    }

    public void StartMaster(bool toMemory)
    {
        // Direction first, as drivers do; errors of before are cleared.
        MasterOut(2, 1, MasterError | MasterInterrupt);
        MasterOut(0, 1, toMemory ? 8u : 0);
        MasterOut(0, 1, toMemory ? 9u : 1);
    }

    public void StopMaster() => MasterOut(0, 1, 0);

    public static byte[] Pattern(int length, int seed = 1)
    {
        var bytes = new byte[length];
        new Random(seed).NextBytes(bytes);
        return bytes;
    }
}
