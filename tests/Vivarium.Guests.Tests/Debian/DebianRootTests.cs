using Xunit;

namespace Vivarium.Guests.Tests.Debian;

/// <summary>
/// Making the root disk when things go wrong, with a program of ours in mmdebstrap's place: whatever happens, a half-made disk is
/// never used and nothing is left behind.
/// </summary>
public sealed class DebianRootTests : IDisposable
{
    private const string Mark = "fetching the package lists";

    /// <summary>Leaves a tree that the rest of the recipe can work on; one of its words says where.</summary>
    private const string MakeTree = """
        for word in "$@"; do case $word in */tree) tree=$word ;; esac; done
        mkdir -p "$tree/boot" "$tree/etc/ssh"
        echo no kernel >"$tree/boot/vmlinuz-6.1.0-1"
        echo no initrd >"$tree/boot/initrd.img-6.1.0-1"
        echo ssh-ed25519 AAAA root@debian >"$tree/etc/ssh/ssh_host_ed25519_key.pub"
        """;

    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(60);

    private readonly Scratch _scratch = new();

    public DebianRootTests() => HostTool.Need(("apt-get", "apt"), ("mke2fs", "e2fsprogs"), ("ssh-keygen", "openssh-client"), ("unshare", "util-linux"));

    private string Cache => Path.Combine(_scratch.Folder, "vivarium");

    private string Entries => Path.Combine(Cache, "guests", "debian");

    public void Dispose() => _scratch.Dispose();

    [Fact]
    public void A_failing_download_is_told_and_leaves_nothing()
    {
        Stand("echo 'E: Failed to fetch http://mirror.invalid/x.deb  404  Not Found'; exit 100");
        (int status, string output, string errors) = VivProcess.Run(["run", "debian"], Environment());
        Assert.Equal(2, status);
        Assert.Empty(output);
        Assert.Matches(@"^viv: the root disk could not be made: packages could not be downloaded \(Failed to fetch .* 404  Not Found\); see that the network is there, and try again", LastLine(errors));
        Assert.Empty(Leftovers());
        Assert.False(Directory.Exists(Entries) && Directory.EnumerateFileSystemEntries(Entries).Any());
    }

    [Fact]
    public void A_full_disk_is_told()
    {
        Stand("echo 'dpkg: error: cannot write: No space left on device'; echo 'E: run_dpkg failed'; exit 1");
        (int status, _, string errors) = VivProcess.Run(["run", "debian"], Environment());
        Assert.Equal(2, status);
        Assert.Contains("the disk is full; free some space, or set XDG_CACHE_HOME", LastLine(errors));
        Assert.Empty(Leftovers());
    }

    [Theory]
    [InlineData("INT", 130)]
    [InlineData("TERM", 143)]
    [InlineData("HUP", 129)]
    public void A_signal_ends_it_and_leaves_nothing(string signal, int expected)
    {
        Assert.SkipWhen(IsIgnored(expected - 128), $"SIG{signal} is ignored where this test runs, as under nohup, and viv inherits that");
        using VivProcess viv = StartAndWait();
        _ = HostTool.Must("kill", $"-{signal}", $"{viv.Id}");
        Assert.Equal(expected, viv.WaitForExit(s_patience));
        Assert.Equal("viv: interrupted; the half-made root disk has been removed", LastLine(viv.Errors));
        Assert.Empty(Leftovers());
        CheckThatItEnds(Marked());
    }

    [Fact]
    public void What_a_killed_viv_leaves_is_removed_by_the_next()
    {
        using VivProcess viv = StartAndWait();
        viv.Kill();
        Assert.NotEmpty(Leftovers());
        CheckThatItEnds(Marked());
        Stand("exit 1");
        Assert.Equal(2, VivProcess.Run(["run", "debian"], Environment()).Status);
        Assert.Empty(Leftovers());
    }

    [Fact]
    public void A_second_viv_waits_for_the_first_and_takes_over_if_it_fails()
    {
        using VivProcess first = StartAndWait();
        using VivProcess second = VivProcess.Start(Repository.Viv, ["run", "debian"], Environment());
        _ = second.ExpectError("waiting for another viv that is making guests/debian/", s_patience);
        Stand("exit 1");
        first.Kill();
        Assert.Equal(2, second.WaitForExit(s_patience));
        Assert.Contains(Mark, second.Errors);
        Assert.Empty(Leftovers());
    }

    [Fact]
    public void It_is_made_once_and_again_when_asked()
    {
        string calls = Path.Combine(_scratch.Folder, "calls");
        Stand($"echo called >>{calls}\n{MakeTree}");
        string[] run = ["run", "debian", "--net", "none"];
        for (int times = 1; times <= 2; times++)
        {
            (int status, _, string errors) = VivProcess.Run(run, Environment());
            Assert.Equal(2, status);
            Assert.Contains("vmlinuz-6.1.0-1", LastLine(errors));
            Assert.Single(File.ReadAllLines(calls));
        }

        string entry = Assert.Single(Directory.GetDirectories(Entries));
        Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute, File.GetUnixFileMode(entry));
        Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite, File.GetUnixFileMode(Path.Combine(entry, "ssh_key")));
        string password = File.ReadAllText(Path.Combine(entry, "password"));

        _ = VivProcess.Run([.. run, "--rebuild"], Environment());
        Assert.Equal(2, File.ReadAllLines(calls).Length);
        Assert.Equal(entry, Assert.Single(Directory.GetDirectories(Entries)));
        Assert.NotEqual(password, File.ReadAllText(Path.Combine(entry, "password")));
        Assert.Empty(Leftovers());
    }

    /// <summary>Puts a script in mmdebstrap's place.</summary>
    private void Stand(string body) => _scratch.Script("mmdebstrap", body);

    private Dictionary<string, string> Environment() => new()
    {
        ["XDG_CACHE_HOME"] = _scratch.Folder,
        ["PATH"] = $"{_scratch.Folder}:{System.Environment.GetEnvironmentVariable("PATH")}",
    };

    /// <summary>A viv in the middle of making a root disk.</summary>
    private VivProcess StartAndWait()
    {
        Stand($"echo I: extracting archives...; exec sleep {Marked()}");
        VivProcess viv = VivProcess.Start(Repository.Viv, ["run", "debian"], Environment());
        _ = viv.ExpectError("unpacking the essential packages", s_patience);
        return viv;
    }

    /// <summary>A time to sleep that tells this test's sleeper from all other processes of the host.</summary>
    private string Marked() => $"{100_000 + (uint)StringComparer.Ordinal.GetHashCode(_scratch.Folder) % 1_000_000}";

    private static bool IsIgnored(int signal)
    {
        const string Ignored = "SigIgn:";
        string mask = File.ReadLines("/proc/self/status").First(line => line.StartsWith(Ignored, StringComparison.Ordinal))[Ignored.Length..];
        return (Convert.ToUInt64(mask.Trim(), 16) >> (signal - 1) & 1) != 0;
    }

    private static void CheckThatItEnds(string marked)
    {
        long end = System.Environment.TickCount64 + (long)s_patience.TotalMilliseconds;
        while (Directory.EnumerateDirectories("/proc").Any(process => CommandLine(process) == $"sleep\0{marked}\0"))
        {
            Assert.True(System.Environment.TickCount64 < end, "the build is still running");
            Thread.Sleep(50);
        }
    }

    private static string CommandLine(string process)
    {
        try
        {
            return File.ReadAllText(Path.Combine(process, "cmdline"));
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return "";
        }
    }

    private IEnumerable<string> Leftovers() => Directory.EnumerateDirectories(Cache, ".*");

    private static string LastLine(string text) => text.Split('\n', StringSplitOptions.RemoveEmptyEntries)[^1];
}
