using System.Diagnostics;
using System.Net;
using System.Security.Cryptography;
using System.Text.Json;
using Xunit;

namespace Vivarium.Guests.Tests.Debian;

/// <summary>
/// A user's Debian: <c>viv run debian</c> (Linux 6.1, virtio over PCI, split rings, throw-away overlay on the raw root, a raw data
/// disk), booted once for all tests here, which run as they stand; the last one stops it.
/// </summary>
[TestMethodOrderer(typeof(InFileOrder))]
public sealed class DebianCommandTests(DebianByCommand debian) : IClassFixture<DebianByCommand>
{
    private const string Greeting = "the package says hello";
    private const int CopyBytes = 100_000_000;
    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(120);
    private static readonly JsonSerializerOptions s_json = new(JsonSerializerDefaults.Web);

    [Fact]
    public void It_boots_and_is_well()
    {
        DebianShell shell = debian.Shell;
        shell.CheckHealth();
        Assert.Matches(@"^6\.1\.\S+-cloud-amd64$", shell.Answer("uname -r"));
        Assert.Contains("Debian GNU/Linux 12", shell.Answer("cat /etc/os-release"));
        Assert.Equal("debian", shell.Answer("uname -n"));
        Assert.Matches(@"pci0000:00/.*/virtio\d+/", shell.Answer("readlink /sys/block/vda"));
        Assert.Equal("data", shell.Answer("cat /sys/block/vdb/serial"));
        Assert.Equal("0", PackedRings.Bit(shell, "vda"));
    }

    [Fact]
    public void It_installs_a_package()
    {
        using var scratch = new Scratch();
        string root = Path.Combine(scratch.Folder, "root");
        _ = Directory.CreateDirectory(Path.Combine(root, "DEBIAN"));
        _ = Directory.CreateDirectory(Path.Combine(root, "usr/bin"));
        File.WriteAllText(Path.Combine(root, "DEBIAN/control"), "Package: greeting\nVersion: 1\nArchitecture: all\nMaintainer: Nobody <nobody@localhost>\nDescription: says hello\n");
        File.Move(scratch.Script("greeting", $"echo {Greeting}"), Path.Combine(root, "usr/bin/greeting"));
        string archive = Path.Combine(scratch.Folder, "greeting.deb");
        _ = HostTool.Must("dpkg-deb", "--root-owner-group", "-b", root, archive);
        debian.Server.Offer("/greeting.deb", File.ReadAllBytes(archive));

        DebianShell shell = debian.Shell;
        _ = shell.Answer($"curl -sSf -o /tmp/greeting.deb {debian.ServerUrl}/greeting.deb && apt-get install -y /tmp/greeting.deb");
        Assert.Equal(Greeting, shell.Answer("greeting"));
        Assert.Contains("Status: install ok installed", shell.Answer("dpkg -s greeting"));
    }

    [Fact]
    public void It_copies_a_hundred_megabytes_both_ways()
    {
        byte[] content = new byte[CopyBytes];
        new Random(4711).NextBytes(content);
        string hash = Convert.ToHexStringLower(SHA256.HashData(content));
        debian.Server.Offer("/big", content);
        DebianShell shell = debian.Shell;
        Assert.StartsWith(hash, shell.Answer($"curl -sSf -o /var/tmp/big {debian.ServerUrl}/big && sha256sum /var/tmp/big"), StringComparison.Ordinal);
        Assert.Equal(hash, shell.Answer($"curl -sSf -T /var/tmp/big {debian.ServerUrl}/up; rm /var/tmp/big"));
    }

    [Fact]
    public void It_answers_ssh_through_a_forward()
    {
        HostTool.Need(("ssh", "openssh-client"));
        (int status, string output, string errors) = VivProcess.Run("ssh", debian.Name, "--", "id -un; cat /etc/hostname; exit 7");
        Assert.True(status == 7, $"status {status}\n{output}{errors}");
        Assert.Equal("root\ndebian\n", output);
        (status, output, errors) = VivProcess.Run("ssh", "--user", "debian", debian.Name, "--", "sudo id -un");
        Assert.True(status == 0, $"status {status}\n{output}{errors}");
        Assert.Equal("root\n", output);
    }

    [Fact]
    public void It_shares_folders_with_its_host()
    {
        DebianShell shell = debian.Shell;
        _ = shell.Answer("mkdir /work /papers /gone && mount -t virtiofs work /work && mount -t virtiofs papers /papers && mount -t virtiofs gone /gone");
        string work = debian.Shared("work");

        // Big files both ways, from the disk and not from the guest's memory.
        byte[] content = new byte[20_000_000];
        new Random(1).NextBytes(content);
        File.WriteAllBytes(Path.Combine(work, "down"), content);
        string hash = Convert.ToHexStringLower(SHA256.HashData(content));
        Assert.StartsWith(hash, shell.Answer("sha256sum /work/down"));
        _ = shell.Answer("cp /work/down /work/up && sync /work/up && echo 3 >/proc/sys/vm/drop_caches && cmp /work/down /work/up");
        Assert.Equal(content, File.ReadAllBytes(Path.Combine(work, "up")));
        Assert.Equal("20000000", shell.Answer("dd if=/work/up bs=1M iflag=direct status=none | wc -c"));

        // Thousands of small files, links and folders, made, compared, moved and removed.
        _ = shell.Answer("tar -C / -cf - etc | tar -C /work -xpf - && diff -r --no-dereference /etc /work/etc");
        Assert.Equal(shell.Answer("cd /etc && find . -type f -perm /111 | sort"), shell.Answer("cd /work/etc && find . -type f -perm /111 | sort"));
        _ = shell.Answer("mv /work/etc /work/moved && diff -r --no-dereference /etc /work/moved && find /work/moved | wc -l");
        Assert.True(File.Exists(Path.Combine(work, "moved/passwd")));
        _ = shell.Answer("rm -r /work/moved && test ! -e /work/moved");
        Assert.False(Directory.Exists(Path.Combine(work, "moved")));

        // Programs, appending, renaming over, locks, holes, modes.
        _ = shell.Answer("cp /bin/true /work/true && /work/true && ln /work/true /work/hard && stat -c %h /work/true | grep -x 2");
        _ = shell.Answer("cd /work && echo a >f && echo b >>f && echo c >g && mv f g && cat g | tr -d '\\n' | grep -x ab && flock g true && cd /");
        _ = shell.Answer("truncate -s 1G /work/sparse && fallocate -p -o 0 -l 4096 /work/sparse && stat -c %s /work/sparse | grep -x 1073741824 && rm /work/sparse");
        Assert.Equal("640", shell.Answer("touch /work/mode && chmod 640 /work/mode && stat -c %a /work/mode"));
        Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.GroupRead, File.GetUnixFileMode(Path.Combine(work, "mode")));
        Assert.Equal("755", shell.Answer("chmod 6755 /work/mode && stat -c %a /work/mode"));

        // What the host changes is seen a second later.
        File.AppendAllText(Path.Combine(work, "g"), "from the host\n");
        Assert.Contains("from the host", shell.Answer("sleep 1.1; cat /work/g"));

        // A link is resolved by the guest, in the guest.
        File.CreateSymbolicLink(Path.Combine(work, "link"), "/etc/hostname");
        Assert.Equal("debian", shell.Answer("cat /work/link"));
        Assert.Contains("work", shell.Answer("ls /work/.."));
        Assert.Contains("not permitted", shell.Try("mknod /work/null c 1 3").Said);

        File.WriteAllText(Path.Combine(debian.Shared("papers"), "read"), "read me");
        Assert.Equal("read me", shell.Answer("cat /papers/read"));
        Assert.Contains("Read-only file system", shell.Try("echo no >/papers/read").Said);
        Assert.Contains("Read-only file system", shell.Try("rm /papers/read").Said);

        Directory.Delete(debian.Shared("gone"), recursive: true);
        Assert.Contains("No such file", shell.Try("sleep 1.1; touch /gone/x").Said);

        _ = shell.Answer("umount /work /papers /gone && mount -t virtiofs work /work && cmp /work/down /work/up && umount /work");
        Assert.Equal("", shell.Answer("dmesg | grep -E 'BUG|WARNING|Oops|Call Trace|virtio.*(fail|error)' || true"));
    }

    [Fact]
    public void Its_sockets_lead_to_the_host_and_back() => VsockCheck.Run(debian.Shell, debian.Vsock, cid: 42);

    [Fact]
    public void What_it_does_not_use_goes_back_to_the_host()
    {
        DebianShell shell = debian.Shell;
        Assert.True(Balloon().HasDriver);

        // Tmpfs takes memory and gives it back; half a minute is many rounds of the guest's reports.
        _ = shell.Answer("head -c 300M /dev/zero >/dev/shm/big");
        BalloonStatistics full = Balloon();
        Assert.True(full.Host > 300 * ByteSize.MiB);
        _ = shell.Answer("rm /dev/shm/big");
        BalloonStatistics after = BalloonWhen(figures => full.Host - figures.Host > 200 * ByteSize.MiB && figures.Host < full.Host);
        Assert.True(after.Reported > full.Reported + (200 * ByteSize.MiB));
        TestContext.Current.TestOutputHelper?.WriteLine($"held by the host: {full.Host >> 20} MiB with the file, {after.Host >> 20} MiB without");

        // The balloon takes, tells, and gives again.
        ulong free = Balloon("--target", "300M").Guest!.Free!.Value;
        BalloonStatistics inflated = BalloonWhen(figures => figures.Actual == 300 * ByteSize.MiB && figures.Guest?.Free < free - (200 * ByteSize.MiB));
        Assert.Equal(300 * ByteSize.MiB, inflated.Inflated);
        _ = Balloon("--target", "0");
        _ = BalloonWhen(figures => figures.Actual == 0 && figures.Guest?.Free > free - (100 * ByteSize.MiB));

        // All free pages at once, of which there are many, and the guest goes on with them.
        BalloonStatistics collected = Balloon("--collect");
        Assert.True(collected.Hinted > 200 * ByteSize.MiB, $"{collected}");
        _ = shell.Answer("head -c 100M /dev/zero | sha256sum");
        (int status, _, string errors) = VivProcess.Run("balloon", debian.Name, "--target", "2G");
        Assert.NotEqual(0, status);
        Assert.Contains("the balloon cannot take 2G of a machine that has 1G of memory", Assert.Single(errors.TrimEnd().Split('\n')));
        shell.CheckHealth();
    }

    [Fact]
    public void It_stops_when_its_power_button_is_pressed_and_leaves_its_disk_clean()
    {
        HostTool.Need(("e2fsck", "e2fsprogs"));
        DebianShell shell = debian.Shell;
        _ = shell.Answer("mkfs.ext4 -q /dev/vdb && mount /dev/vdb /mnt && cp -a /etc /mnt && umount /mnt && mount /dev/vdb /mnt && diff -r --no-dereference /etc /mnt/etc");
        _ = shell.Answer("echo written before the end >/mnt/last");
        (int status, _, string errors) = VivProcess.Run("stop", debian.Name, "--timeout", "110s");
        Assert.True(status == 0, $"status {status}\n{errors}\n{debian.Process.Output}");
        Assert.Equal(0, debian.Process.WaitForExit(TimeSpan.FromSeconds(30)));

        Assert.False(File.Exists(debian.Vsock));
        _ = HostTool.Must("e2fsck", "-fn", debian.DataDisk);
        Assert.Contains("written before the end", HostTool.Must("debugfs", "-R", "cat last", debian.DataDisk));
    }

    private BalloonStatistics Balloon(params string[] words)
    {
        (int status, string output, string errors) = VivProcess.Run(["balloon", debian.Name, "--json", .. words]);
        Assert.True(status == 0, $"status {status}\n{output}{errors}");
        return JsonSerializer.Deserialize<BalloonStatistics>(output, s_json)!;
    }

    private BalloonStatistics BalloonWhen(Predicate<BalloonStatistics> isSo)
    {
        var since = Stopwatch.StartNew();
        while (true)
        {
            BalloonStatistics figures = Balloon();
            if (isSo(figures))
            {
                return figures;
            }

            Assert.True(since.Elapsed < s_patience, $"{figures}");
            Thread.Sleep(200);
        }
    }
}

/// <summary>One <c>viv run debian</c>, a server on the host that it can reach, and a data disk.</summary>
public sealed class DebianByCommand : IDisposable
{
    private const long DataDiskSize = 1L << 30;

    private readonly Scratch _scratch = new();
    private readonly Lazy<(VivProcess Process, DebianShell Shell)> _machine;

    public DebianByCommand() => _machine = new(Boot);

    internal string Name { get; } = $"test-{Guid.NewGuid():N}"[..16];

    internal HostServer Server { get; } = new(IPAddress.Loopback);

    internal string ServerUrl => $"http://10.0.2.2:{Server.Port}";

    internal string DataDisk => Path.Combine(_scratch.Folder, "data.raw");

    /// <summary>The folder of the host that is shared by this tag.</summary>
    internal string Shared(string tag) => Path.Combine(_scratch.Folder, "shared", tag);

    internal string Vsock => Path.Combine(_scratch.Folder, "vsock");

    internal VivProcess Process => _machine.Value.Process;

    internal DebianShell Shell => _machine.Value.Shell;

    public void Dispose()
    {
        if (_machine.IsValueCreated)
        {
            Process.Dispose();
        }

        Server.Dispose();
        _scratch.Dispose();
    }

    private (VivProcess Process, DebianShell Shell) Boot()
    {
        Slirp.Need();
        string cache = TestGuests.CacheWithDebian(_scratch.Folder);
        using (FileStream disk = File.Create(DataDisk))
        {
            disk.SetLength(DataDiskSize);
        }

        foreach (string tag in new[] { "work", "papers", "gone" })
        {
            _ = Directory.CreateDirectory(Shared(tag));
        }

        VivProcess viv = VivProcess.Start(
            Repository.Viv,
            [
                "run", "debian", "--name", Name, "--timeout", "600s", "--disk", $"{DataDisk},format=raw,serial=data",
                "--share", $"{Shared("work")}:work", "--share", $"{Shared("papers")}:papers,readonly", "--share", $"{Shared("gone")}:gone",
                "--vsock", $"{Vsock},cid=42",
            ],
            new Dictionary<string, string> { ["XDG_CACHE_HOME"] = cache });
        try
        {
            var shell = new DebianShell(viv, TestGuests.Debian("6.1."));
            shell.LogIn();
            return (viv, shell);
        }
        catch
        {
            viv.Dispose();
            throw;
        }
    }
}
