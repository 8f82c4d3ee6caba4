using System.Globalization;
using System.Text.RegularExpressions;

namespace Vivarium.Cli.Guests.Debian;

/// <summary>Keeps what a build says in a file, and tells from it how far the build is and, should it fail, why.</summary>
internal sealed partial class BuildLog : IDisposable
{
    private const string PhaseMark = "@phase ";

    /// <summary>What mmdebstrap says as it begins something, and what that means to a user.</summary>
    private static readonly (string Said, string Phase)[] s_phases =
    [
        ("I: downloading packages with apt", "downloading the essential packages"),
        ("I: extracting archives", "unpacking the essential packages"),
        ("I: installing essential packages", "installing the essential packages"),
        ("I: installing remaining packages", "downloading the other packages"),
    ];

    /// <summary>What apt and dpkg say about one package, and what is then being done.</summary>
    private static readonly (string Said, string Step)[] s_steps =
    [
        ("Get:", "downloading"),
        ("Unpacking ", "unpacking"),
        ("Setting up ", "setting up"),
    ];

    private readonly StreamWriter _file;
    private readonly Action<string, bool> _tell;
    private readonly Dictionary<string, int> _counts = [];
    private string? _error;
    private string _last = "";
    private bool _diskFull;
    private bool _fetchFailed;
    private int _packages;

    public BuildLog(string file, Action<string, bool> tell)
    {
        _file = new StreamWriter(file);
        _tell = tell;
    }

    public void Add(string line)
    {
        _file.WriteLine(line);
        if (line.StartsWith(PhaseMark, StringComparison.Ordinal))
        {
            _tell(line[PhaseMark.Length..], true);
            return;
        }

        NoteTrouble(line);
        foreach ((string said, string phase) in s_phases)
        {
            if (line.StartsWith(said, StringComparison.Ordinal))
            {
                _counts.Clear();
                _tell(phase, true);
                return;
            }
        }

        if (NewlyInstalled().Match(line) is { Success: true } match)
        {
            _packages = int.Parse(match.Groups[1].Value, CultureInfo.InvariantCulture);
            return;
        }

        foreach ((string said, string step) in s_steps)
        {
            if (_packages > 0 && line.StartsWith(said, StringComparison.Ordinal))
            {
                int count = _counts[step] = Math.Min(_counts.GetValueOrDefault(step) + 1, _packages);
                _tell($"{step} packages: {count} of {_packages} ({100 * count / _packages} %)", false);
                return;
            }
        }
    }

    /// <summary>Why it failed, for the end of a sentence.</summary>
    public string Explain(int status)
    {
        if (_diskFull)
        {
            return "the disk is full; free some space, or set XDG_CACHE_HOME to a folder elsewhere";
        }

        string said = _error ?? (_last.Length > 0 ? _last : $"status {status}");
        return _fetchFailed ? $"packages could not be downloaded ({said}); see that the network is there, and try again" : said;
    }

    public void Dispose() => _file.Dispose();

    private void NoteTrouble(string line)
    {
        if (line.Length > 0)
        {
            _last = line;
        }

        _diskFull |= line.Contains("No space left on device", StringComparison.Ordinal);
        _fetchFailed |= line.StartsWith("E: Failed to fetch", StringComparison.Ordinal) || line.StartsWith("E: Unable to fetch", StringComparison.Ordinal)
            || line.StartsWith("Err:", StringComparison.Ordinal);
        if (_error is null && line.StartsWith("E: ", StringComparison.Ordinal))
        {
            _error = line[3..].TrimEnd('.');
        }
    }

    [GeneratedRegex(@"^\d+ upgraded, (\d+) newly installed")]
    private static partial Regex NewlyInstalled();
}
