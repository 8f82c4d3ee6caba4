using Vivarium.Storage;

namespace Vivarium.Cli.Verbs;

/// <summary><c>--disk FILE[,format=raw|qcow2][,readonly][,overlay][,serial=TEXT][,bus=virtio|ide|ahci|nvme]</c>; a comma in the file's name is written twice.</summary>
internal static class DiskOption
{
    private const string Form = "write --disk FILE[,format=raw|qcow2][,readonly][,overlay][,serial=TEXT][,bus=virtio|ide|ahci|nvme], with commas in FILE doubled";

    /// <exception cref="InvalidInputException">The text is no disk; the message says why.</exception>
    public static DiskSpec Parse(string text)
    {
        List<string> parts = OptionParts.Split(text);
        if (parts[0].Length == 0)
        {
            throw new InvalidInputException($"'{text}' names no file; {Form}");
        }

        var disk = new DiskSpec { Path = parts[0] };
        var seen = new HashSet<string>();
        foreach (string part in parts.Skip(1))
        {
            int equals = part.IndexOf('=', StringComparison.Ordinal);
            string key = equals < 0 ? part : part[..equals];
            string? value = equals < 0 ? null : part[(equals + 1)..];
            if (!seen.Add(key))
            {
                throw new InvalidInputException($"the disk '{text}' says {key} twice");
            }

            disk = (key, value) switch
            {
                ("format", "raw") => disk with { Format = ImageFormat.Raw },
                ("format", "qcow2") => disk with { Format = ImageFormat.Qcow2 },
                ("format", _) => throw new InvalidInputException($"'{value}' is no disk format that viv knows; known are raw, qcow2"),
                ("readonly", null) => disk with { ReadOnly = true },
                ("overlay", null) => disk with { Overlay = true },
                ("serial", { Length: > 0 }) => disk with { Serial = value },
                ("bus", "virtio") => disk with { Bus = DiskBus.Virtio },
                ("bus", "ide") => disk with { Bus = DiskBus.Ide },
                ("bus", "ahci") => disk with { Bus = DiskBus.Ahci },
                ("bus", "nvme") => disk with { Bus = DiskBus.Nvme },
                ("bus", _) => throw new InvalidInputException($"'{value}' is no way to connect a disk that viv knows; known are virtio, ide, ahci, nvme"),
                _ => throw new InvalidInputException($"the disk '{text}' has the unknown property '{part}'; {Form}"),
            };
        }

        return disk;
    }
}
