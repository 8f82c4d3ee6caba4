using System.Text.Json;
using System.Text.Json.Serialization;
using Vivarium.Cli.Statistics;
using Vivarium.Expect;

namespace Vivarium.Cli.Machines;

/// <summary>What can be asked of a running machine.</summary>
internal enum ControlVerb
{
    /// <summary>Its record, as in machine.json.</summary>
    Status,

    /// <summary>Press the power button. Answered at once; the guest takes its time, or never listens.</summary>
    Stop,

    /// <summary>Pull the plug. Answered at once.</summary>
    Kill,

    /// <summary>Answered at once, and again when the machine has ended.</summary>
    Wait,

    /// <summary>After the answer the connection is the guest's console, bytes both ways, until either side closes it.</summary>
    Console,

    /// <summary>The state of its memory, after <see cref="ControlOrder.Target"/> or <see cref="ControlOrder.Collect"/>. Answered when the guest has told its figures, or after a moment.</summary>
    Balloon,

    /// <summary>Its counters. From the first such request until the connection ends the machine measures where its time goes.</summary>
    Statistics,

    /// <summary>A picture of its screen. After the answer come <see cref="ControlReply.Length"/> bytes of a PNG file.</summary>
    Screenshot,

    /// <summary>Type <see cref="ControlOrder.Text"/>, each key held for <see cref="ControlOrder.Seconds"/>. Answered when it is typed.</summary>
    Type,

    /// <summary>Press the keys that <see cref="ControlOrder.Text"/> names. Answered when they are let go.</summary>
    Key,

    /// <summary>Do with the mouse what <see cref="ControlOrder.Text"/> says. Answered when it is done.</summary>
    Mouse,

    /// <summary>Answered when the guest has said <see cref="ControlOrder.Text"/>, or after <see cref="ControlOrder.Seconds"/>.</summary>
    Expect,

    /// <summary>Put <see cref="ControlOrder.File"/> into the drive that <see cref="ControlOrder.Text"/> names.</summary>
    Insert,

    /// <summary>Take out what is in the drive that <see cref="ControlOrder.Text"/> names.</summary>
    Eject,
}

/// <summary>A request, understood.</summary>
/// <param name="Verb">What is asked for.</param>
/// <param name="Target">To <see cref="ControlVerb.Balloon"/>: how large the balloon is to be, in bytes; null leaves it.</param>
/// <param name="Collect">To <see cref="ControlVerb.Balloon"/>: the guest is asked for its free pages.</param>
internal readonly record struct ControlOrder(ControlVerb Verb, ulong? Target = null, bool Collect = false)
{
    /// <summary>What to type, press, do, wait for; or the name of a drive.</summary>
    public string? Text { get; init; }

    /// <summary>How long to hold keys, or to wait.</summary>
    public double? Seconds { get; init; }

    /// <summary>To <see cref="ControlVerb.Expect"/>: the text is a regular expression.</summary>
    public bool Regex { get; init; }

    /// <summary>To <see cref="ControlVerb.Expect"/>: only what has come since the last text that was found.</summary>
    public bool New { get; init; }

    /// <summary>To <see cref="ControlVerb.Expect"/>: serial or screen; null for both.</summary>
    public string? On { get; init; }

    /// <summary>An image, by its whole path.</summary>
    public string? File { get; init; }

    /// <summary>To <see cref="ControlVerb.Eject"/>: also if the guest has locked the drive.</summary>
    public bool Force { get; init; }
}

/// <summary>One line from a client of the control socket: <c>{"request":"stop"}</c>.</summary>
internal static class ControlRequest
{
    /// <summary>Longest line in bytes, without its end.</summary>
    public const int LongestLine = 4096;

    private static readonly (string Word, ControlVerb Verb)[] s_verbs =
    [
        ("status", ControlVerb.Status),
        ("stop", ControlVerb.Stop),
        ("kill", ControlVerb.Kill),
        ("wait", ControlVerb.Wait),
        ("console", ControlVerb.Console),
        ("balloon", ControlVerb.Balloon),
        ("statistics", ControlVerb.Statistics),
        ("screenshot", ControlVerb.Screenshot),
        ("type", ControlVerb.Type),
        ("key", ControlVerb.Key),
        ("mouse", ControlVerb.Mouse),
        ("expect", ControlVerb.Expect),
        ("insert", ControlVerb.Insert),
        ("eject", ControlVerb.Eject),
    ];

    /// <summary>Understands a line, or says in one sentence what is wrong with it. Never throws.</summary>
    public static bool TryParse(ReadOnlySpan<byte> line, out ControlOrder order, out string error)
    {
        order = default;
        ControlRequestLine? request;
        try
        {
            request = JsonSerializer.Deserialize(line, ControlJson.Default.ControlRequestLine);
        }
        catch (JsonException)
        {
            error = """this is no request; write one JSON object on a line, for example {"request":"status"}""";
            return false;
        }

        foreach ((string word, ControlVerb known) in s_verbs)
        {
            if (request?.Request == word)
            {
                order = new ControlOrder(known, request.Target, request.Collect)
                {
                    Text = request.Text,
                    Seconds = request.Seconds,
                    Regex = request.Regex,
                    New = request.New,
                    On = request.On,
                    File = request.File,
                    Force = request.Force,
                };
                error = "";
                return true;
            }
        }

        error = $"unknown request; known are {string.Join(", ", s_verbs.Select(known => known.Word))}";
        return false;
    }

    /// <summary>The line that asks for something.</summary>
    public static byte[] Format(ControlOrder order)
    {
        var line = new ControlRequestLine
        {
            Request = s_verbs[(int)order.Verb].Word,
            Target = order.Target,
            Collect = order.Collect,
            Text = order.Text,
            Seconds = order.Seconds,
            Regex = order.Regex,
            New = order.New,
            On = order.On,
            File = order.File,
            Force = order.Force,
        };
        return [.. JsonSerializer.SerializeToUtf8Bytes(line, ControlJson.Default.ControlRequestLine), (byte)'\n'];
    }
}

internal sealed record ControlRequestLine
{
    public string? Request { get; init; }

    public ulong? Target { get; init; }

    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingDefault)]
    public bool Collect { get; init; }

    public string? Text { get; init; }

    public double? Seconds { get; init; }

    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingDefault)]
    public bool Regex { get; init; }

    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingDefault)]
    public bool New { get; init; }

    public string? On { get; init; }

    public string? File { get; init; }

    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingDefault)]
    public bool Force { get; init; }
}

/// <summary>The answer to a request, one line.</summary>
internal sealed record ControlReply
{
    public required bool Ok { get; init; }

    /// <summary>Without <see cref="Ok"/>: what is wrong, one sentence.</summary>
    public string? Error { get; init; }

    /// <summary>To a status request.</summary>
    public MachineRecord? Machine { get; init; }

    /// <summary>To a wait request, in the second answer.</summary>
    public EndRecord? Ended { get; init; }

    /// <summary>To a balloon request.</summary>
    public BalloonStatistics? Balloon { get; init; }

    /// <summary>To a screenshot request: how many bytes follow.</summary>
    public int? Length { get; init; }

    /// <summary>To an expect request; null if the text has not come.</summary>
    public FoundText? Found { get; init; }

    /// <summary>To a statistics request.</summary>
    public MachineSample? Statistics { get; init; }
}

[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase, DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull, MaxDepth = 16)]
[JsonSerializable(typeof(ControlRequestLine))]
[JsonSerializable(typeof(ControlReply))]
internal sealed partial class ControlJson : JsonSerializerContext;
