using System.Buffers.Binary;

namespace Vivarium.Devices;

/// <summary>An entry of a submission queue (NVMe 1.4, 4.2), copied out of guest memory.</summary>
internal readonly struct NvmeCommand
{
    public const int Length = 64;

    private const uint FusedAndTransfer = 0xC300;

    private readonly uint _first;

    public NvmeCommand(ReadOnlySpan<byte> entry)
    {
        _first = BinaryPrimitives.ReadUInt32LittleEndian(entry);
        Namespace = BinaryPrimitives.ReadUInt32LittleEndian(entry[4..]);
        Prp1 = BinaryPrimitives.ReadUInt64LittleEndian(entry[24..]);
        Prp2 = BinaryPrimitives.ReadUInt64LittleEndian(entry[32..]);
        Dword10 = BinaryPrimitives.ReadUInt32LittleEndian(entry[40..]);
        Dword11 = BinaryPrimitives.ReadUInt32LittleEndian(entry[44..]);
        Dword12 = BinaryPrimitives.ReadUInt32LittleEndian(entry[48..]);
        Dword13 = BinaryPrimitives.ReadUInt32LittleEndian(entry[52..]);
    }

    public byte Opcode => (byte)_first;

    public ushort Id => (ushort)(_first >> 16);

    /// <summary>Half of a fused operation, or with scatter gather lists: what this controller does not do.</summary>
    public bool IsFusedOrScattered => (_first & FusedAndTransfer) != 0;

    public uint Namespace { get; }

    public ulong Prp1 { get; }

    public ulong Prp2 { get; }

    public uint Dword10 { get; }

    public uint Dword11 { get; }

    public uint Dword12 { get; }

    public uint Dword13 { get; }

    /// <summary>Starting LBA of read and write commands.</summary>
    public ulong Lba => Dword10 | (ulong)Dword11 << 32;

    /// <summary>Logical blocks of read and write commands.</summary>
    public uint Blocks => (Dword12 & 0xFFFF) + 1;
}
