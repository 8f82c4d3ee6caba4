using System.CommandLine;
using System.Text.Json;
using Spectre.Console;
using Vivarium.Cli.Compare;
using Vivarium.Cli.Guests;

namespace Vivarium.Cli.Verbs;

/// <summary><c>viv compare</c>: the same work on a para and a full machine, and what it cost each.</summary>
internal static class CompareVerb
{
    private const string DefaultGuest = "linux";
    private static readonly TimeSpan s_patience = TimeSpan.FromMinutes(10);

    public static Command Build()
    {
        var guest = new Argument<string?>("guest")
        {
            Description = $"A guest that viv knows by name: {string.Join(", ", GuestCatalog.Names)} ({DefaultGuest})",
            Arity = ArgumentArity.ZeroOrOne,
        };
        var memory = new Option<string?>("--memory") { HelpName = "SIZE", Description = "Memory of each machine, for example 512M or 4G (512M; debian has 1G)" };
        var cpus = new Option<string>("--cpus") { HelpName = "N", Description = "Processors of each machine", DefaultValueFactory = _ => "1" };
        var cpu = new Option<string>("--cpu") { HelpName = "MODEL", Description = "Processor that the guests see: " + string.Join(", ", Engine.CpuModel.Names), DefaultValueFactory = _ => Engine.CpuModel.Names[0] };
        var timeout = new Option<string?>("--timeout") { HelpName = "TIME", Description = "Give up on a machine after this time, for example 5m (10m)" };
        var json = new Option<bool>("--json") { Description = "Print a JSON object" };
        var compare = new Command("compare", "Run the same work on a --virt para and a --virt full machine, and show what it cost each.") { guest, memory, cpus, cpu, timeout, json };
        compare.SetAction(parsed => Compare(
            new RunOptions
            {
                Guest = parsed.GetValue(guest) ?? DefaultGuest,
                Memory = parsed.GetValue(memory) is { } size ? RunOptions.ParseMemory(size) : null,
                Cpu = RunOptions.ParseCpu(parsed.GetValue(cpu)!),
                Cpus = RunOptions.ParseCpus(parsed.GetValue(cpus)!),
                Engine = EngineKind.Auto,
                Serial = SerialTarget.None,
                Timeout = parsed.GetValue(timeout) is { } time ? RunOptions.ParseTimeout(time) : s_patience,
                Network = NetworkOptions.Parse("none", [], []),
            },
            parsed.GetValue(json)));
        return compare;
    }

    private static int Compare(RunOptions options, bool json)
    {
        if (options.Guest is ['-', ..])
        {
            // The parser takes an option that it does not know for the guest's name.
            throw new InvalidInputException($"unknown option '{options.Guest}'; see viv compare --help");
        }

        IGuest guest = GuestCatalog.Find(options.Guest!);
        // A slip in the options must not wait for a download.
        MachineSpec draft = MachinePlan.Draft(options);
        BootSet boot = guest.Obtain(GuestCache.Default);
        MachineFigures Run(Virtualization virtualization) => Waiting.Show(
            $"running {guest.Name} on a --virt {(virtualization == Virtualization.Para ? "para" : "full")} machine",
            _ => RunWithDisk(options with { Virtualization = virtualization }, boot));
        var comparison = new Comparison
        {
            Guest = guest.Name,
            Memory = MachinePlan.Complete(draft, options, boot, guest.Name).Spec.Memory,
            Cpus = options.Cpus,
            Cpu = options.Cpu,
            Para = Run(Virtualization.Para),
            Full = Run(Virtualization.Full),
        };
        if (json)
        {
            Console.Out.WriteLine(JsonSerializer.Serialize(comparison, ComparisonJson.Default.Comparison));
            return ExitStatus.Success;
        }

        IAnsiConsole console = Report.Create();
        console.Write(ComparisonTable.Build(comparison));
        if (comparison.Para.Figures.DiskReadBytesPerSecond is null && comparison.Full.Figures.DiskReadBytesPerSecond is null)
        {
            console.WriteLine($"no disk figures: the guest {guest.Name} brings no drivers for disks; viv compare debian does");
        }

        return ExitStatus.Success;
    }

    private static MachineFigures RunWithDisk(RunOptions options, BootSet boot)
    {
        string scratch = Path.GetTempFileName();
        try
        {
            using (FileStream file = File.OpenWrite(scratch))
            {
                file.SetLength(Workload.DiskSize);
            }

            return PresetRun.RunAsync(options, boot, scratch).GetAwaiter().GetResult();
        }
        finally
        {
            File.Delete(scratch);
        }
    }
}
