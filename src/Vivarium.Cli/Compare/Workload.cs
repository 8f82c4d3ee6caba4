using System.Globalization;

namespace Vivarium.Cli.Compare;

/// <summary>
/// What both machines do: a shell script, typed at the guest's console, so that it is the same in every guest that has a
/// shell and dd. It prints one line for each figure: an at sign, the figure's name, and mostly how many nanoseconds it took.
/// </summary>
internal static class Workload
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
        tell() { name=$1; shift; printf '@%s %s\n' "$name" "$("$@")"; }
        clocked() { name=$1; shift; from=$(./clock now); "$@" 2>/dev/null && printf '@%s %s\n' "$name" $(($(./clock now) - from)); }
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
        clocked switch sh -c 'exec taskset 1 dd bs=1 count={{RoundTrips}} <&4 >&3'
        wait
        disk=; for found in /dev/disk/by-id/*{{DiskSerial}}; do [ -b "$found" ] && disk=$found; done
        if [ "$disk" ]; then
        clocked write dd if=/dev/zero of="$disk" bs=1M count={{LargeBlocks}} oflag=direct
        clocked read dd if="$disk" of=/dev/null bs=1M count={{LargeBlocks}} iflag=direct
        clocked small dd if="$disk" of=/dev/null bs=4k count={{SmallBlocks}} iflag=direct
        fi
        printf '@%s\n' end

        """;

    /// <summary>Reads what the script has printed.</summary>
    public static WorkloadFigures Understand(string said)
    {
        double? PerSecond(string name, double count) => Nanoseconds(Line(said, name)) is { } time ? count * 1e9 / time : null;
        return new WorkloadFigures
        {
            ClockSource = Line(said, "source"),
            ClockReadsPerSecond = PerSecond("clock", ClockProgram.Reads),
            // There and back again are two.
            ContextSwitchesPerSecond = PerSecond("switch", 2 * RoundTrips),
            DiskWriteBytesPerSecond = PerSecond("write", (long)LargeBlocks << 20),
            DiskReadBytesPerSecond = PerSecond("read", (long)LargeBlocks << 20),
            DiskSmallReadsPerSecond = PerSecond("small", SmallBlocks),
        };
    }

    /// <summary>What stands behind the name. Before it, on the same line, may be what a shell's line editor tells the terminal.</summary>
    private static string? Line(string said, string name)
    {
        string start = $"@{name} ";
        int at = said.IndexOf(start, StringComparison.Ordinal);
        return at < 0 ? null : said[(at + start.Length)..].Split('\n')[0].Trim();
    }

    private static double? Nanoseconds(string? text) => long.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out long time) && time > 0 ? time : null;

    private static string InLines(string text) => string.Join('\n', text.Chunk(BytesInLine).Select(line => new string(line)));
}
