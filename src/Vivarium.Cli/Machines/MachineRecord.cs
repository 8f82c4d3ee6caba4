using System.Text.Json.Serialization;

namespace Vivarium.Cli.Machines;

/// <summary>What a running machine tells about itself: machine.json in its folder, and the answer to a status request.</summary>
internal sealed record MachineRecord
{
    public required string Name { get; init; }

    /// <summary>The process that runs the machine.</summary>
    public required int Pid { get; init; }

    public required MachineStage Stage { get; init; }

    /// <summary>The guest's name (<c>linux</c>, <c>debian</c>) or its kernel file.</summary>
    public required string Guest { get; init; }

    public required DateTimeOffset Started { get; init; }

    /// <summary>Guest RAM in bytes.</summary>
    public required ulong Memory { get; init; }

    public required int Cpus { get; init; }

    /// <summary>Nobody's terminal is its console.</summary>
    public bool Background { get; init; }

    public IReadOnlyList<DiskRecord> Disks { get; init; } = [];

    public IReadOnlyList<string> Networks { get; init; } = [];

    public IReadOnlyList<ForwardRecord> Forwards { get; init; } = [];

    /// <summary>How to log in, if viv knows.</summary>
    public SshRecord? Ssh { get; init; }

    /// <summary>What viv itself said about a background machine.</summary>
    public string? Log { get; init; }

    /// <summary>How it ended, for a background machine that nobody watched.</summary>
    public EndRecord? Ended { get; init; }
}

[JsonConverter(typeof(JsonStringEnumConverter<MachineStage>))]
internal enum MachineStage
{
    /// <summary>Its files are being fetched and checked.</summary>
    [JsonStringEnumMemberName("starting")]
    Starting,

    [JsonStringEnumMemberName("running")]
    Running,

    [JsonStringEnumMemberName("ended")]
    Ended,
}

internal sealed record DiskRecord(string File, string Format, bool ReadOnly, bool Overlay);

/// <summary>A port of this host that leads into the guest.</summary>
/// <param name="Protocol">tcp or udp.</param>
internal sealed record ForwardRecord(string Protocol, string Address, int HostPort, int GuestPort);

/// <param name="User">The account to log in to.</param>
/// <param name="Address">Where its sshd can be reached from this host.</param>
/// <param name="Port">The port there.</param>
/// <param name="KeyFile">Private key for that account, or null.</param>
/// <param name="HostKey">The guest's public host key (<c>ssh-ed25519 AAAA...</c>), or null if the first connection is to tell.</param>
internal sealed record SshRecord(string User, string Address, int Port, string? KeyFile, string? HostKey);

/// <param name="Status">What viv run would have given as its exit status.</param>
/// <param name="Reason">In a few words.</param>
internal sealed record EndRecord(int Status, string Reason);

[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase, DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull, WriteIndented = true)]
[JsonSerializable(typeof(MachineRecord))]
[JsonSerializable(typeof(IReadOnlyList<MachineRecord>))]
internal sealed partial class MachineJson : JsonSerializerContext;
