using System.CommandLine;
using System.Globalization;
using System.Text.Json;
using System.Text.Json.Serialization;
using Spectre.Console;
using Vivarium.Cli.Machines;
using Vivarium.Devices;

namespace Vivarium.Cli.Verbs;

/// <summary><c>viv balloon</c>: how a machine's memory is used, and how much of it its guest is to do without.</summary>
internal static class BalloonVerb
{
    /// <summary>The guest may take a while to find all its free pages.</summary>
    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(40);

    public static Command Build()
    {
        var name = new Argument<string>("name") { Description = "A machine that viv ps lists" };
        var target = new Option<string?>("--target") { HelpName = "SIZE", Description = "How much memory the guest is to give back, for example 256M; 0 lets it have all again", Arity = ArgumentArity.ExactlyOne };
        var collect = new Option<bool>("--collect") { Description = "Ask the guest once for all its free memory" };
        var json = new Option<bool>("--json") { Description = "Print the figures as JSON, in bytes" };
        var balloon = new Command("balloon", "Show how a machine's memory is used, or take some of it back.") { name, target, collect, json };
        balloon.SetAction(parsed => Ask(
            MachineRegistry.Open().Find(parsed.GetValue(name)!),
            parsed.GetValue(target) is { } size ? ParseTarget(size) : null,
            parsed.GetValue(collect),
            parsed.GetValue(json)));
        return balloon;
    }

    /// <exception cref="InvalidInputException">The text is no size.</exception>
    public static ulong ParseTarget(string text) => ByteSize.TryParse(text, out ulong bytes)
        ? bytes
        : throw new InvalidInputException($"'{text}' is not a memory size; write for example --target 256M, or 0");

    private static int Ask(MachineEntry machine, ulong? target, bool collect, bool json)
    {
        using ControlClient client = ControlClient.Connect(machine);
        BalloonStatistics figures = client.Ask(new ControlOrder(ControlVerb.Balloon, target, collect), s_patience).Balloon
            ?? throw new VivariumException($"machine {machine.Described} says nothing of a balloon; is it run by another version of viv?");
        if (json)
        {
            Console.Out.WriteLine(JsonSerializer.Serialize(figures, BalloonJson.Default.BalloonStatistics));
            return ExitStatus.Success;
        }

        var table = new Table().Border(TableBorder.None).HideHeaders().AddColumns(new TableColumn(""), new TableColumn("").RightAligned());
        foreach ((string what, ulong? bytes) in Rows(figures))
        {
            if (bytes is { } known)
            {
                table.AddRow(what, string.Create(CultureInfo.InvariantCulture, $"{known / (double)ByteSize.MiB:N1} MiB"));
            }
        }

        Report.Create().Write(table);
        if (!figures.HasDriver)
        {
            Console.Out.WriteLine("no driver in the guest uses the balloon (yet)");
        }

        return ExitStatus.Success;
    }

    private static IEnumerable<(string What, ulong? Bytes)> Rows(BalloonStatistics figures)
    {
        BalloonGuestStatistics? guest = figures.Guest;
        return
        [
            ("memory of the machine", figures.Memory),
            ("  held by the host", figures.Host),
            ("balloon", figures.Actual),
            ("  target", figures.Target),
            ("guest: total", guest?.Total),
            ("  free", guest?.Free),
            ("  available", guest?.Available),
            ("  caches", guest?.Caches),
            ("given back: by the balloon", figures.Inflated),
            ("  reported as free", figures.Reported),
            ("  collected", figures.Hinted),
        ];
    }
}

[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase, DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull, WriteIndented = true)]
[JsonSerializable(typeof(BalloonStatistics))]
internal sealed partial class BalloonJson : JsonSerializerContext;
