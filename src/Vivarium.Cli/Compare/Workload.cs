using System.Globalization;
using System.Text.RegularExpressions;

namespace Vivarium.Cli.Compare;

/// <summary>
/// What both machines do: a shell script, typed at the guest's console, so that it is the same in every guest that has a
/// shell and dd. It prints one line for each figure: an at sign, the figure's name, what a program said.
/// </summary>
internal static partial class Workload
{
    /// <summary>The scratch disk's serial number, by which the guest finds it.</summary>
    public const string DiskSerial = "viv-compare";

    /// <summary>Bytes of the scratch disk.</summary>
    public const long DiskSize = 256L << 20;

    /// <summary>Said when all is done. The script has it in two pieces, because the console may echo what is typed.</summary>
    public const string End = "@end";

    private const int RoundTrips = 20_000;
    private const int LargeBlocks = 192;
    private const int SmallBlocks = 4096;
    private const int BytesInLine = 54;

    /// <summary>To be typed at a shell of root.</summary>
    public static string Script => $$"""
        exec sh
        PS1= PS2=; stty -echo; cd /tmp
        tell() { name=$1; shift; printf '@%s %s\n' "$name" "$("$@" 2>&1 | tail -n 1)"; }
        base64 -d >clock <<'END'
        {{InLines(Convert.ToBase64String(ClockProgram.Build()))}}
        END
        chmod +x clock
        tell source cat /sys/devices/system/clocksource/clocksource0/current_clocksource
        tell clock ./clock
        mkfifo there back
        exec 3<>there 4<>back
        taskset 1 dd bs=1 count={{RoundTrips}} <&3 >&4 2>/dev/null &
        printf x >&3
        tell switch sh -c 'taskset 1 dd bs=1 count={{RoundTrips}} <&4 2>&1 >&3 | cat'
        wait
        disk=; for found in /dev/disk/by-id/*{{DiskSerial}}; do [ -b "$found" ] && disk=$found; done
        if [ "$disk" ]; then
        tell write dd if=/dev/zero of="$disk" bs=1M count={{LargeBlocks}} oflag=direct
        tell read dd if="$disk" of=/dev/null bs=1M count={{LargeBlocks}} iflag=direct
        tell small dd if="$disk" of=/dev/null bs=4k count={{SmallBlocks}} iflag=direct
        fi
        printf '@%s\n' end

        """;

    /// <summary>Reads what the script has printed.</summary>
    public static WorkloadFigures Understand(string said)
    {
        double? clock = Number(Line(said, "clock"));
        return new WorkloadFigures
        {
            ClockSource = Line(said, "source"),
            ClockReadsPerSecond = clock is > 0 ? ClockProgram.Reads / clock * 1e9 : null,
            // There and back again are two.
            ContextSwitchesPerSecond = Seconds(Line(said, "switch")) is { } trips ? 2 * RoundTrips / trips : null,
            DiskWriteBytesPerSecond = Seconds(Line(said, "write")) is { } write ? ((long)LargeBlocks << 20) / write : null,
            DiskReadBytesPerSecond = Seconds(Line(said, "read")) is { } read ? ((long)LargeBlocks << 20) / read : null,
            DiskSmallReadsPerSecond = Seconds(Line(said, "small")) is { } small ? SmallBlocks / small : null,
        };
    }

    private static string? Line(string said, string name)
    {
        string start = $"@{name} ";
        return said.Split('\n', StringSplitOptions.TrimEntries).FirstOrDefault(line => line.StartsWith(start, StringComparison.Ordinal))?[start.Length..];
    }

    /// <summary>The time in dd's last line: "20000 bytes (20 kB, 20 KiB) copied, 0.0123 s, 1.6 MB/s", or busybox's "..., 0.012345 seconds, ...".</summary>
    private static double? Seconds(string? line) => line is not null && DdReport().Match(line) is { Success: true } report && Number(report.Groups[1].Value) is > 0 and var seconds ? seconds : null;

    private static double? Number(string? text) => double.TryParse(text, NumberStyles.Float, CultureInfo.InvariantCulture, out double value) && double.IsFinite(value) ? value : null;

    private static string InLines(string text) => string.Join('\n', text.Chunk(BytesInLine).Select(line => new string(line)));

    [GeneratedRegex(@" copied, ([0-9.e+-]+) s")]
    private static partial Regex DdReport();
}
