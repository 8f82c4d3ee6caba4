using System.CommandLine;
using System.Runtime.InteropServices;
using Spectre.Console;
using Vivarium.Cli.Guests;
using Vivarium.Cli.Machines;

namespace Vivarium.Cli.Verbs;

/// <summary><c>viv doctor</c>: what this host offers, and what to do about what is missing.</summary>
internal static class DoctorVerb
{
    private enum Health
    {
        Good,
        Advice,
        Bad,
    }

    private readonly record struct Finding(string Subject, Health Health, string Text);

    public static Command Build()
    {
        var doctor = new Command("doctor", "Say what this host offers, and what to do about what is missing.");
        doctor.SetAction(_ => Examine());
        return doctor;
    }

    private static int Examine()
    {
        Finding[] findings = [Host(), Processor(), Models(), Memory(), SoftwareEngine(), KvmEngine(), Rights(), Packages("apt-get"), Packages("dpkg-deb"), UserNetwork(), SshClient(), Registry(), Cache(), Guests()];
        var table = new Table().Border(TableBorder.None).HideHeaders().AddColumns("", "", "");
        foreach (Finding finding in findings)
        {
            string mark = finding.Health switch { Health.Good => "[green]ok[/]", Health.Advice => "[yellow]--[/]", _ => "[red]no[/]" };
            table.AddRow(new Markup(mark), new Text(finding.Subject), new Text(finding.Text));
        }

        Report.Create().Write(table);
        return findings.Any(finding => finding.Health == Health.Bad) ? ExitStatus.Failure : ExitStatus.Success;
    }

    private static Finding Host() => OperatingSystem.IsLinux() && RuntimeInformation.ProcessArchitecture == Architecture.X64
        ? new("host", Health.Good, $"{RuntimeInformation.OSDescription}, {Environment.ProcessorCount} processors")
        : new("host", Health.Bad, $"{RuntimeInformation.RuntimeIdentifier} is not supported; viv needs Linux on x86-64");

    private static Finding Processor()
    {
        IReadOnlyList<string> missing = HostReport.MissingFor("x86-64-v2");
        return missing.Count == 0
            ? new("processor", Health.Good, $"{ModelName()}: {string.Join(' ', HostReport.CpuFeatures)}")
            : new("processor", Health.Bad, $"{ModelName()} lacks {string.Join(", ", missing)}, which the engine needs; use a newer host");
    }

    private static Finding Models()
    {
        string models = string.Join(", ", HostReport.CpuModels.Where(model => HostReport.MissingFor(model).Count == 0));
        string standard = HostReport.CpuModels[0];
        IReadOnlyList<string> missing = HostReport.MissingFor(standard);
        return missing.Count == 0
            ? new("cpu models", Health.Good, models)
            : new("cpu models", Health.Advice, $"{models}; the default {standard} needs {string.Join(", ", missing)}, so say --cpu x86-64-v2");
    }

    private static Finding Memory()
    {
        GCMemoryInfo memory = GC.GetGCMemoryInfo();
        return new("memory", Health.Good, $"{memory.TotalAvailableMemoryBytes >> 20} MiB");
    }

    private static Finding SoftwareEngine() => HostReport.SoftwareEngineObstacle() is { } obstacle
        ? new("engine software", Health.Bad, $"{obstacle}; allow executable memory to this process (SELinux, seccomp, limits)")
        : new("engine software", Health.Good, "binary translation; the host lets it map executable memory");

    private static Finding Rights() => Environment.IsPrivilegedProcess
        ? new("permissions", Health.Good, "root: apt-get can refresh its package lists; running machines needs no right at all")
        : new("permissions", Health.Good, "an ordinary user: enough to run machines; apt-get update, if it is needed, wants root");

    private static Finding KvmEngine() => File.Exists("/dev/kvm")
        ? new("engine kvm", Health.Advice, "the host has /dev/kvm, but viv cannot use it yet; the software engine runs instead")
        : new("engine kvm", Health.Advice, "no /dev/kvm, and none is needed; the software engine runs");

    private static Finding Packages(string program) => HostCommand.Run(program, ["--version"]) is { Succeeded: true }
        ? new(program, Health.Good, "present, so viv run linux can fetch its guest")
        : new(program, Health.Advice, "missing: viv run linux cannot fetch its guest; boot your own with viv run --kernel FILE");

    private static Finding UserNetwork() => NativeLibrary.TryLoad("libslirp.so.0", out _)
        ? new("libslirp", Health.Good, "present, so machines can have a network without privileges")
        : new("libslirp", Health.Advice, "missing: --net user does not work; install Debian's package libslirp0, or run with --net none");

    private static Finding SshClient() => HostCommand.Run("ssh", ["-V"]) is { Succeeded: true }
        ? new("ssh", Health.Good, "present, so viv ssh works")
        : new("ssh", Health.Advice, "missing: viv ssh does not work; install Debian's package openssh-client");

    private static Finding Registry()
    {
        try
        {
            MachineRegistry registry = MachineRegistry.Open();
            return new("machines", Health.Good, $"{registry.List().Count} running, registered in {registry.Root}");
        }
        catch (VivariumException e)
        {
            return new("machines", Health.Bad, e.Message);
        }
    }

    private static Finding Cache()
    {
        string root = GuestCache.Default.Root;
        try
        {
            Directory.CreateDirectory(root);
            string probe = Path.Combine(root, $".probe.{Environment.ProcessId}");
            Directory.CreateDirectory(probe);
            Directory.Delete(probe);
            return new("cache", Health.Good, root);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return new("cache", Health.Advice, $"{root} cannot be written ({e.Message.TrimEnd('.')}); set XDG_CACHE_HOME to a folder that can");
        }
    }

    private static Finding Guests()
    {
        string cached = string.Join(", ", GuestCatalog.All.Where(guest => guest.IsCached(GuestCache.Default)).Select(guest => guest.Name));
        return cached.Length > 0
            ? new("guests", Health.Good, $"{cached} in the cache: no network needed")
            : new("guests", Health.Advice, "none in the cache yet; viv run linux fetches one (needs the network, once)");
    }

    private static string ModelName()
    {
        const string Key = "model name";
        string? line = File.Exists("/proc/cpuinfo") ? File.ReadLines("/proc/cpuinfo").FirstOrDefault(l => l.StartsWith(Key, StringComparison.Ordinal)) : null;
        return line is null ? "unknown processor" : line[(line.IndexOf(':', StringComparison.Ordinal) + 1)..].Trim();
    }
}
