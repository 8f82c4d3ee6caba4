using System.Buffers.Binary;

namespace Vivarium.Firmware.Boot;

/// <summary>
/// How firmware starts a kernel: it finds an expansion ROM of ours that can boot (BIOS Boot Specification 1.01; Plug and Play BIOS
/// Specification 1.0A, 3), calls it when it has set up the machine, and the ROM fetches the kernel through the firmware
/// configuration device and jumps to it.
/// </summary>
public sealed class FirmwareHandover
{
    /// <summary>What firmware keeps at the top of RAM for its tables, and more; in bytes.</summary>
    public const ulong ReservedAtTop = 1 << 20;

    /// <summary>Where firmware looks for ROMs to start, among the files of the configuration device.</summary>
    public const string RomFile = "genroms/vivarium-kernel.bin";

    /// <summary>The line of the file <c>bootorder</c> that puts the ROM before all disks.</summary>
    public const string BootOrder = "/rom@" + RomFile;

    /// <summary>The item of the configuration device that holds <see cref="Payload"/>: the kernel's data, by QEMU's names.</summary>
    public const ushort PayloadItem = 0x11;

    /// <summary>An item that no machine has, which reads as zeros: the initrd's data, by QEMU's names.</summary>
    private const ushort ZeroItem = 0x12;

    /// <summary>What one request of the ROM fetches at most.</summary>
    private const int MostAtOnce = 16 << 20;

    private FirmwareHandover(byte[] rom, byte[] payload)
    {
        Rom = rom;
        Payload = payload;
    }

    public ReadOnlyMemory<byte> Rom { get; }

    /// <summary>All pieces of memory, one after the other.</summary>
    public ReadOnlyMemory<byte> Payload { get; }

    /// <param name="pieces">What belongs into memory.</param>
    /// <param name="entry">How the kernel is entered: in real mode, or in protected mode with a GDT among the pieces.</param>
    internal static FirmwareHandover Create(IReadOnlyList<BootPiece> pieces, EntryState entry)
    {
        using var payload = new MemoryStream();
        var requests = new List<HandoverRom.Request>();
        void Ask(ushort item, ulong from, ulong length)
        {
            for (ulong done = 0; done < length; done += MostAtOnce)
            {
                requests.Add(new HandoverRom.Request(item, (uint)(from + done), (uint)Math.Min(length - done, MostAtOnce)));
            }
        }

        foreach (BootPiece piece in pieces)
        {
            payload.Write(piece.Bytes.Span);
            Ask(PayloadItem, piece.Address, (ulong)piece.Bytes.Length);
        }

        foreach (BootPiece piece in pieces)
        {
            Ask(ZeroItem, piece.Address + (ulong)piece.Bytes.Length, piece.Zeros);
        }

        return new FirmwareHandover(HandoverRom.Build(requests, entry), payload.ToArray());
    }
}
