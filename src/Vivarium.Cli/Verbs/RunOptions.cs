using System.Globalization;
using System.Numerics;
using Vivarium.Cli.Guests;
using Vivarium.Engine;
using Vivarium.Engine.Software;

namespace Vivarium.Cli.Verbs;

/// <summary>The words after <c>viv run</c>, understood.</summary>
internal sealed record RunOptions
{
    private const string FilePrefix = "file:";
    private const string SocketPrefix = "unix:";

    public string? Guest { get; init; }
    public string? Kernel { get; init; }

    public IReadOnlyList<ModuleSpec> Modules { get; init; } = [];
    public string? Initrd { get; init; }

    /// <summary>Null: nothing was said about it.</summary>
    public IReadOnlyList<BootDevice>? BootOrder { get; init; }

    /// <summary>Null: a kernel starts.</summary>
    public FirmwareOption? Firmware { get; init; }

    /// <summary>Where what the guest writes to debug ports goes: a file, "-" for standard output, null for nowhere.</summary>
    public string? DebugConsole { get; init; }
    public string? Append { get; init; }

    /// <summary>Bytes; null leaves it to the guest.</summary>
    public ulong? Memory { get; init; }

    public required string Cpu { get; init; }
    public int Cpus { get; init; } = 1;
    public Virtualization Virtualization { get; init; }
    public required EngineKind Engine { get; init; }
    public EngineOptions EngineOptions { get; init; } = EngineOptions.Default;
    public required SerialTarget Serial { get; init; }

    /// <summary>Where the serial ports from COM2 on go; the guest has only those that are named.</summary>
    public IReadOnlyList<SerialTarget> MoreSerial { get; init; } = [];

    /// <summary>Where the guest's screen is shown.</summary>
    public DisplayOption Display { get; init; } = DisplayOption.None;

    public bool NoReboot { get; init; }
    public TimeSpan? Timeout { get; init; }
    public bool Statistics { get; init; }

    /// <summary>Null: perf is told nothing.</summary>
    public PerfMapSpec? PerfMap { get; init; }

    /// <summary>Null: nothing is traced.</summary>
    public TraceOption? Trace { get; init; }

    public string? Name { get; init; }
    public bool Background { get; init; }
    public bool Json { get; init; }
    public IReadOnlyList<DiskSpec> Disks { get; init; } = [];

    public IReadOnlyList<CdromSpec> Cdroms { get; init; } = [];
    public IReadOnlyList<FloppySpec> Floppies { get; init; } = [];

    /// <summary>All disks get throw-away overlays.</summary>
    public bool Ephemeral { get; init; }

    /// <summary>The named guest keeps what it writes to its disk.</summary>
    public bool Persist { get; init; }

    /// <summary>The named guest's files are made again.</summary>
    public bool Rebuild { get; init; }

    public NetworkOptions Network { get; init; } = NetworkOptions.Unsaid;
    public VirtioSpec Virtio { get; init; } = new();
    public VsockSpec? Vsock { get; init; }
    public GdbSpec? Gdb { get; init; }

    /// <summary>Null leaves it to <see cref="Virtualization"/>.</summary>
    public bool? Balloon { get; init; }

    public bool VirtioConsole { get; init; }
    public IReadOnlyList<PortOption> Ports { get; init; } = [];
    public IReadOnlyList<ShareSpec> Shares { get; init; } = [];

    /// <exception cref="InvalidInputException">Symbols are given and nobody is to be told of them.</exception>
    public static PerfMapSpec? ParsePerfMap(bool wanted, IReadOnlyList<string> symbols) => wanted
        ? new PerfMapSpec { Symbols = symbols }
        : symbols.Count == 0 ? null : throw new InvalidInputException("--perf-symbols goes with --perf-map");

    public static bool ParseConsole(string text) => text switch
    {
        "serial" => false,
        "virtio" => true,
        _ => throw new InvalidInputException($"'{text}' is no console; known are serial, virtio"),
    };

    public static bool? ParseBalloon(string? text) => text switch
    {
        null => null,
        "on" => true,
        "off" => false,
        _ => throw new InvalidInputException($"'{text}' is no way to have a balloon; write --balloon on or off"),
    };

    public static ulong ParseMemory(string text) => ByteSize.TryParse(text, out ulong bytes)
        ? bytes
        : throw new InvalidInputException($"'{text}' is not a memory size; write for example --memory 512M or 4G");

    public static string ParseCpu(string text) => CpuModel.Names.Contains(text)
        ? text
        : throw new InvalidInputException($"unknown CPU model '{text}'; known are {string.Join(", ", CpuModel.Names)}");

    public static int ParseCpus(string text) => BigInteger.TryParse(text, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out BigInteger count)
        ? count >= 1 && count <= MachineSpec.MostCpus
            ? (int)count
            : throw new InvalidInputException($"a machine has 1 to {MachineSpec.MostCpus} processors, and not {text}; write for example --cpus 2")
        : throw new InvalidInputException($"'{text}' is not a number of processors; write for example --cpus 2");

    /// <summary>A file, and behind the first blank what the kernel is told of it.</summary>
    public static ModuleSpec ParseModule(string text)
    {
        string[] parts = text.Split(' ', 2, StringSplitOptions.TrimEntries);
        return parts[0].Length == 0
            ? throw new InvalidInputException($"'{text}' names no file; write --module FILE, or --module 'FILE ARGUMENTS'")
            : new ModuleSpec { Path = parts[0], Arguments = parts.Length == 1 ? "" : parts[1] };
    }

    public static Virtualization ParseVirtualization(string text) => text switch
    {
        "para" => Virtualization.Para,
        "full" => Virtualization.Full,
        _ => throw new InvalidInputException($"'{text}' is no style of virtualization; known are para, full"),
    };

    public static EngineOptions ParseEngineOptions(string? text)
    {
        try
        {
            return EngineOptions.Parse(text ?? "");
        }
        catch (FormatException refused)
        {
            throw new InvalidInputException(refused.Message, refused);
        }
    }

    public static string? ParseCodeCache(string? text) => text switch
    {
        null => Path.Combine(GuestCache.Default.Root, "translations"),
        "off" => null,
        "" => throw new InvalidInputException("--code-cache wants a folder, or off"),
        _ => Path.GetFullPath(text),
    };

    public static EngineKind ParseEngine(string text) => text switch
    {
        "auto" => EngineKind.Auto,
        "software" => EngineKind.Software,
        "kvm" => throw new InvalidInputException("the kvm engine is not there yet; use --engine software"),
        _ => throw new InvalidInputException($"unknown engine '{text}'; known are auto, software"),
    };

    public static SerialTarget ParseSerial(string? text, bool background, DisplayOption display) => text switch
    {
        null => background || display.Kind == DisplayKind.Text ? SerialTarget.None : SerialTarget.Stdio,
        "stdio" when display.Kind == DisplayKind.Text => throw new InvalidInputException("--display text and --serial stdio both want this terminal; leave out one of them, and look at the serial console with viv console"),
        "stdio" when background => throw new InvalidInputException("a machine in the background has no terminal; leave out --serial stdio, and look in with viv console"),
        "stdio" => SerialTarget.Stdio,
        "none" => SerialTarget.None,
        _ when text.StartsWith(FilePrefix, StringComparison.Ordinal) && text.Length > FilePrefix.Length => new SerialTarget(SerialKind.File, text[FilePrefix.Length..]),
        _ when text.StartsWith(SocketPrefix, StringComparison.Ordinal) => throw new InvalidInputException("the first serial port is the machine's console, which viv console shows; give --serial unix:PATH for another port, after a --serial for the first"),
        _ => throw new InvalidInputException($"'{text}' is no place for the serial port; known are stdio, file:PATH, none"),
    };

    /// <param name="texts">The values from the second on.</param>
    /// <param name="first">Where the first port goes.</param>
    public static IReadOnlyList<SerialTarget> ParseMoreSerial(IReadOnlyList<string> texts, SerialTarget first, bool background, DisplayOption display)
    {
        if (texts.Count >= MachineSpec.MostSerialPorts)
        {
            throw new InvalidInputException($"a PC has at most {MachineSpec.MostSerialPorts} serial ports, and {texts.Count + 1} are asked for; leave out some --serial");
        }

        List<SerialTarget> targets = [first];
        foreach (string text in texts)
        {
            SerialTarget target = text.StartsWith(SocketPrefix, StringComparison.Ordinal) && text.Length > SocketPrefix.Length
                ? new SerialTarget(SerialKind.Socket, text[SocketPrefix.Length..])
                : ParseSerial(text, background, display);
            if (target.Kind != SerialKind.None && targets.Contains(target))
            {
                throw new InvalidInputException($"--serial {text} is there twice, and only one port can have it; send the other to file:PATH, unix:PATH or none");
            }

            targets.Add(target);
        }

        return targets[1..];
    }

    public static TimeSpan ParseTimeout(string text) => TryParseTime(text, out TimeSpan time)
        ? time
        : throw new InvalidInputException($"'{text}' is not a time limit; write for example --timeout 60s or 5m");

    /// <summary>Understands a number with ms, s (or nothing), m or h behind it.</summary>
    public static bool TryParseTime(string text, out TimeSpan time)
    {
        (string digits, double seconds) = text switch
        {
            _ when text.EndsWith("ms", StringComparison.Ordinal) => (text[..^2], 0.001),
            _ when text.EndsWith('s') => (text[..^1], 1),
            _ when text.EndsWith('m') => (text[..^1], 60),
            _ when text.EndsWith('h') => (text[..^1], 3600),
            _ => (text, 1.0),
        };
        bool understood = double.TryParse(digits, NumberStyles.AllowDecimalPoint, CultureInfo.InvariantCulture, out double value)
            && value * seconds is > 0 and <= MachineSpec.LongestTimeoutSeconds;
        time = understood ? TimeSpan.FromSeconds(value * seconds) : default;
        return understood;
    }
}
