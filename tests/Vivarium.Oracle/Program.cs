using System.Diagnostics;
using System.Globalization;
using Iced.Intel;
using Vivarium.Oracle.Generate;
using Vivarium.Oracle.Native;

namespace Vivarium.Oracle;

/// <summary>
/// Without options of its own this is the xunit test program; with <c>--long</c> (or <c>--form</c>, <c>--sequence</c>,
/// <c>--list</c>) it compares for as long as asked and prints every mismatch.
/// </summary>
internal static class Program
{
    private static int Main(string[] args)
    {
        if (args.Contains("--server") || args.Contains("--internal-msbuild-node"))
        {
            return Xunit.MicrosoftTestingPlatform.TestPlatformTestFramework.RunAsync(args, SelfRegisteredExtensions.AddSelfRegisteredExtensions).GetAwaiter().GetResult();
        }

        return args.Any(argument => argument is "--long" or "--form" or "--sequence" or "--list")
            ? RunLong(args)
            : Xunit.Runner.InProc.SystemConsole.ConsoleRunner.Run(args).GetAwaiter().GetResult();
    }

    private static int RunLong(string[] args)
    {
        int bitness = Option(args, "--bits") switch { "16" => 16, "32" => 32, _ => 64 };
        FormCatalog catalog = FormCatalog.For(bitness);
        if (args.Contains("--list"))
        {
            PrintLeftOut(catalog, all: true);
            return 0;
        }

        ulong seed = ulong.Parse(Option(args, "--seed") ?? "1", CultureInfo.InvariantCulture);
        double minutes = double.Parse(Option(args, "--minutes") ?? "5", CultureInfo.InvariantCulture);
        bool self = Option(args, "--against") == "host";
        var native = new NativeRunner();
        if (!native.Runs(bitness))
        {
            Console.Error.WriteLine($"oracle: this host runs no {bitness}-bit code, so that it cannot be compared with; leave --bits out or use another host");
            return 2;
        }

        using var engine = self ? null : Runners.Software(Option(args, "--cpu"));
        var run = new OracleRun(native, (ICaseRunner?)engine ?? native, seed, catalog, bitness)
        {
            Trace = args.Contains("--trace") ? test => Console.Error.WriteLine($"{test.Form} {test.Index} {test.Instructions[0]}") : null,
        };
        var clock = Stopwatch.StartNew();
        if (Option(args, "--sequence") is { } sequence)
        {
            run.CompareSequence(int.Parse(sequence, CultureInfo.InvariantCulture));
        }
        else if (Option(args, "--case") is { } index)
        {
            run.CompareCase(Enum.Parse<Code>(Option(args, "--form")!), int.Parse(index, CultureInfo.InvariantCulture));
        }
        else
        {
            string? prefix = Option(args, "--form");
            TimeSpan limit = TimeSpan.FromMinutes(minutes);
            int round = int.Parse(Option(args, "--count") ?? "20", CultureInfo.InvariantCulture);
            for (int first = 0; clock.Elapsed < limit; first += round)
            {
                run.CompareForms(first, round, clock, limit, prefix is null ? null : form => form.ToString().StartsWith(prefix, StringComparison.OrdinalIgnoreCase));
                if (prefix is null)
                {
                    run.CompareSequences(first * 1000, round * 1000, clock, limit);
                }

                Console.WriteLine($"{clock.Elapsed.TotalSeconds:f0} s: {run.Summary()}");
                if (Option(args, "--count") is not null)
                {
                    break;
                }
            }
        }

        foreach (Mismatch mismatch in run.Mismatches)
        {
            Console.WriteLine();
            Console.Write(mismatch.Text);
        }

        Console.WriteLine();
        if (args.Contains("--long"))
        {
            PrintLeftOut(catalog, all: false);
            Console.WriteLine($"no case could be made: {(run.NotMade.Count == 0 ? "none" : string.Join(' ', run.NotMade))}");
        }

        if (run.FormsWithMismatch.Count != 0)
        {
            Console.WriteLine($"forms with mismatches: {string.Join(' ', run.FormsWithMismatch.Order())}");
        }

        Console.WriteLine($"{clock.Elapsed.TotalSeconds:f1} s: {run.Summary()}");
        return run.MismatchCount == 0 ? 0 : 1;
    }

    private static void PrintLeftOut(FormCatalog catalog, bool all)
    {
        Console.WriteLine($"{catalog.Forms.Count} forms compared; left out:");
        foreach ((string reason, List<Code> forms) in catalog.LeftOut)
        {
            Console.WriteLine($"{forms.Count,5}  {reason}: {string.Join(' ', all ? forms : forms.Take(4))}{(all || forms.Count <= 4 ? "" : " ...")}");
        }
    }

    private static string? Option(string[] args, string name)
    {
        int at = Array.IndexOf(args, name);
        return at >= 0 && at + 1 < args.Length ? args[at + 1] : null;
    }
}
