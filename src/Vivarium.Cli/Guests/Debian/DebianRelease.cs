namespace Vivarium.Cli.Guests.Debian;

/// <summary>Which Debian: the host's own where it is one, so that its package sources and keys serve; otherwise Debian 12.</summary>
internal static class DebianRelease
{
    private const string Default = "bookworm";

    public static string Suite { get; } = HostSuite() ?? Default;

    private static string? HostSuite()
    {
        try
        {
            // os-release(5): assignments as a shell reads them.
            Dictionary<string, string> words = File.ReadLines("/etc/os-release")
                .Select(line => line.Split('=', 2))
                .Where(pair => pair.Length == 2)
                .ToDictionary(pair => pair[0], pair => pair[1].Trim('"', '\''));
            return words.GetValueOrDefault("ID") == "debian" ? words.GetValueOrDefault("VERSION_CODENAME") : null;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or ArgumentException)
        {
            return null;
        }
    }
}
