using System.CommandLine;
using System.Runtime.InteropServices;
using Spectre.Console;
using Vivarium.Storage;
using Vivarium.Storage.Tools;

namespace Vivarium.Cli.Verbs;

/// <summary><c>viv disk convert</c>: copies a disk, with what is under it, into a new image.</summary>
internal static class DiskConvertVerb
{
    private const int SignalStatus = 128;
    private const int Interrupt = 2;
    private const int Terminate = 15;

    public static Command Build()
    {
        var source = new Argument<string>("from") { Description = "The image to copy" };
        var target = new Argument<string>("to") { Description = "The image to make" };
        Option<string?> format = DiskVerb.FormatOption("--format", "The new image's format (default: qcow2)");
        Option<string?> sourceFormat = DiskVerb.FormatOption("--from-format", "The old image's format (default: found from its content)");
        var compress = new Option<bool>("--compress", "-c") { Description = "Compress the new image; what a machine writes later is not compressed" };
        Option<string> compression = DiskVerb.CompressionOption();
        Option<string> clusterSize = DiskVerb.ClusterSizeOption();
        Option<bool> lazy = DiskVerb.LazyRefcountsOption();
        var convert = new Command("convert", "Copy a disk into a new image, of the same or another format.") { source, target, format, sourceFormat, compress, compression, clusterSize, lazy };
        convert.SetAction(parsed => Convert(parsed.GetValue(source)!, parsed.GetValue(target)!, () => new ConvertOptions
        {
            Format = DiskVerb.ParseFormat(parsed.GetValue(format)) ?? ImageFormat.Qcow2,
            SourceFormat = DiskVerb.ParseFormat(parsed.GetValue(sourceFormat)),
            Compress = parsed.GetValue(compress),
            CompressionType = DiskVerb.ParseCompression(parsed.GetValue(compression)!),
            ClusterSize = DiskVerb.ParseClusterSize(parsed.GetValue(clusterSize)!),
            LazyRefcounts = parsed.GetValue(lazy),
        }));
        return convert;
    }

    private static int Convert(string source, string target, Func<ConvertOptions> options)
    {
        using var stop = new CancellationTokenSource();
        int signal = 0;
        void EndBySignal(PosixSignalContext context)
        {
            context.Cancel = true;
            signal = context.Signal == PosixSignal.SIGTERM ? Terminate : Interrupt;
            stop.Cancel();
        }

        using var onTerminate = PosixSignalRegistration.Create(PosixSignal.SIGTERM, EndBySignal);
        using var onInterrupt = PosixSignalRegistration.Create(PosixSignal.SIGINT, EndBySignal);
        try
        {
            return DiskVerb.Run(() => WithProgress(progress => DiskTool.Convert(source, target, options(), progress, stop.Token)));
        }
        catch (OperationCanceledException)
        {
            Console.Error.WriteLine($"viv: interrupted; {target} was not made");
            return SignalStatus + signal;
        }
    }

    /// <summary>Shows how far it is, if stderr is a terminal.</summary>
    private static void WithProgress(Action<Action<long, long>?> work)
    {
        if (Console.IsErrorRedirected)
        {
            work(null);
            return;
        }

        IAnsiConsole console = AnsiConsole.Create(new AnsiConsoleSettings { Out = new AnsiConsoleOutput(Console.Error) });
        console.Progress().Columns(new ProgressBarColumn(), new PercentageColumn(), new RemainingTimeColumn()).AutoClear(true).Start(context =>
        {
            ProgressTask task = context.AddTask("convert");
            work((done, all) => task.Value(100.0 * done / all));
        });
    }
}
