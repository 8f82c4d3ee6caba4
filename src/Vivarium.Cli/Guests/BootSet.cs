namespace Vivarium.Cli.Guests;

/// <summary>The files that boot a guest, and the kernel command line it needs.</summary>
internal sealed record BootSet(string Kernel, string? Initrd, string CommandLine)
{
    /// <summary>The root disk in the cache, raw: it is many machines' base and must not be written. Null: the guest has none.</summary>
    public string? Disk { get; init; }

    /// <summary>Who may log in on the console, to be told to the user.</summary>
    public IReadOnlyList<GuestLogin> Logins { get; init; } = [];

    /// <summary>How to reach it by SSH; null if it runs no server.</summary>
    public SshAccess? Ssh { get; init; }
}

/// <summary>A user of a guest and the password.</summary>
internal sealed record GuestLogin(string User, string Password);

/// <summary>How to log in by SSH without a question.</summary>
/// <param name="User">Whom the key lets in.</param>
/// <param name="KeyFile">Private key, readable by its owner only.</param>
/// <param name="HostKey">The guest's public host key: type and base64, as a known_hosts line has them after the host's name.</param>
internal sealed record SshAccess(string User, string KeyFile, string HostKey);
