using System.Net.Sockets;
using System.Security.Cryptography;
using Xunit;

namespace Vivarium.Guests.Tests;

/// <summary>Every mistake a user can make gives one sentence on stderr and status 2, never a stack trace.</summary>
public sealed class BadInputTests : IDisposable
{
    private readonly Scratch _scratch = new();

    public void Dispose() => _scratch.Dispose();

    [Theory]
    [InlineData("say what to do")]
    [InlineData("unknown verb 'fly'", "fly")]
    [InlineData("unknown option '--fly'", "--fly")]
    [InlineData("say what to run", "run")]
    [InlineData("--initrd goes with --kernel", "run", "--virt", "full", "--initrd", "x")]
    [InlineData("/no/such/file does not exist; give the path of a firmware image", "run", "--firmware", "/no/such/file")]
    [InlineData("unknown option '--fly'", "run", "--fly")]
    [InlineData("unknown option '--fly'", "run", "linux", "--fly")]
    [InlineData("no guest 'solaris'", "run", "solaris")]
    [InlineData("leave out either", "run", "linux", "--kernel", "x")]
    [InlineData("brings its own initrd", "run", "linux", "--initrd", "x")]
    [InlineData("--kernel", "run", "--kernel")]
    [InlineData("needs memory", "run", "--kernel", "x", "--memory", "0")]
    [InlineData("too small", "run", "--kernel", "x", "--memory", "1M")]
    [InlineData("whole MiB", "run", "--kernel", "x", "--memory", "4000001")]
    [InlineData("more than this host has", "run", "--kernel", "x", "--memory", "100T")]
    [InlineData("not a memory size", "run", "--kernel", "x", "--memory", "lots")]
    [InlineData("not a memory size", "run", "--kernel", "x", "--memory", "99999999999999999999G")]
    [InlineData("not a memory size", "run", "--kernel", "x", "--memory=-5M")]
    [InlineData("unknown CPU model 'z80'", "run", "--kernel", "x", "--cpu", "z80")]
    [InlineData("unknown engine 'warp'", "run", "--kernel", "x", "--engine", "warp")]
    [InlineData("kvm engine is not there yet", "run", "--kernel", "x", "--engine", "kvm")]
    [InlineData("no place for the serial port", "run", "--kernel", "x", "--serial", "moon")]
    [InlineData("no place for the serial port", "run", "--kernel", "x", "--serial", "file:")]
    [InlineData("not a time limit", "run", "--kernel", "x", "--timeout", "soon")]
    [InlineData("not a time limit", "run", "--kernel", "x", "--timeout", "0s")]
    [InlineData("has no tag", "run", "--kernel", "x", "--share", ".")]
    [InlineData("needs a tag", "run", "--kernel", "x", "--share", ".:")]
    [InlineData("needs a folder", "run", "--kernel", "x", "--share", ":tag")]
    [InlineData("longer than 36 bytes", "run", "--kernel", "x", "--share", ".:0123456789012345678901234567890123456")]
    [InlineData("two shares with the tag 'a'", "run", "--kernel", "x", "--share", ".:a", "--share", "/:a,readonly")]
    [InlineData("does not exist", "run", "--kernel", "/no/such/file")]
    [InlineData("say what to do with guests", "guest")]
    public void A_wrong_command_line_is_explained(string explanation, params string[] words) => Refuses(explanation, words);

    [Fact]
    public void An_empty_kernel_is_refused() => Refuses("empty", "run", "--kernel", _scratch.Write("kernel", []));

    [Fact]
    public void A_folder_is_no_kernel() => Refuses("folder|directory", "run", "--kernel", _scratch.Folder);

    [Fact]
    public void Random_bytes_are_no_kernel() => Refuses("not a Linux kernel", "run", "--kernel", _scratch.Write("kernel", RandomNumberGenerator.GetBytes(100_000)));

    [Fact]
    public void A_kernel_for_another_processor_is_refused()
    {
        byte[] image = new byte[4096];
        "ARMd"u8.CopyTo(image.AsSpan(0x38));
        Refuses("ARM64", "run", "--kernel", _scratch.Write("Image", image));
    }

    [Theory]
    [InlineData(100)]
    [InlineData(600)]
    [InlineData(5000)]
    [InlineData(1_000_000)]
    public void A_truncated_kernel_is_refused(int length)
    {
        byte[] whole = File.ReadAllBytes(TestGuests.Cloud61.Kernel);
        Refuses(".", "run", "--kernel", _scratch.Write("kernel", whole.AsSpan(0, length)));
    }

    [Fact]
    public void A_truncated_elf_kernel_is_refused()
    {
        byte[] whole = TinyKernel.Spin;
        for (int length = 1; length < whole.Length; length += 37)
        {
            var error = Assert.Throws<InvalidInputException>(() => VirtualMachine.Create(new MachineSpec { Kernel = _scratch.Write("kernel", whole.AsSpan(0, length)) }));
            Assert.DoesNotContain('\n', error.Message);
        }
    }

    [Fact]
    public void An_initrd_larger_than_memory_is_refused()
    {
        string initrd = Path.Combine(_scratch.Folder, "initrd");
        using (FileStream file = File.Create(initrd))
        {
            file.SetLength(200 << 20);
        }

        Refuses("initrd .* does not fit", "run", "--kernel", TestGuests.Cloud61.Kernel, "--initrd", initrd, "--memory", "128M");
    }

    [Fact]
    public void A_missing_initrd_is_refused() => Refuses("does not exist", "run", "--kernel", _scratch.Write("k", TinyKernel.Spin), "--initrd", "/no/such/file");

    [Fact]
    public void Memory_too_small_for_the_kernel_is_refused() => Refuses("memory", "run", "--kernel", TestGuests.Cloud61.Kernel, "--memory", "8M");

    [Fact]
    public void An_overlong_command_line_is_refused() =>
        Refuses("command line", "run", "--kernel", TestGuests.Cloud61.Kernel, "--append", new string('a', 5000));

    [Fact]
    public void A_serial_file_that_cannot_be_written_is_refused() =>
        Refuses("cannot write the serial output", "run", "--kernel", _scratch.Write("k", TinyKernel.Spin), "--serial", "file:/no/such/folder/log");

    [Fact]
    public void A_share_that_is_not_there_or_no_folder_is_refused()
    {
        string kernel = _scratch.Write("k", TinyKernel.Spin);
        Refuses("there is no folder '/no/such/folder' to share", "run", "--kernel", kernel, "--share", "/no/such/folder:tag");
        Refuses("is no folder", "run", "--kernel", kernel, "--share", $"{kernel}:tag");
    }

    [Fact]
    public void A_vsock_path_that_is_taken_or_cannot_be_is_refused()
    {
        string kernel = _scratch.Write("k", TinyKernel.Spin);
        string taken = _scratch.Write("taken", "precious"u8);
        Refuses("'.*taken' exists and is no socket", "run", "--kernel", kernel, "--vsock", taken);
        Assert.Equal("precious", File.ReadAllText(taken));
        Refuses("no folder '.*missing'", "run", "--kernel", kernel, "--vsock", Path.Combine(_scratch.Folder, "missing", "v"));
        Refuses("too long", "run", "--kernel", kernel, "--vsock", Path.Combine(_scratch.Folder, new string('x', 100)));
        Refuses("number from 3", "run", "--kernel", kernel, "--vsock", $"{taken},cid=2");

        string live = Path.Combine(_scratch.Folder, "live");
        using var listener = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        listener.Bind(new UnixDomainSocketEndPoint(live));
        listener.Listen();
        Refuses("in use by another process", "run", "--kernel", kernel, "--vsock", live);
    }

    [Fact]
    public void More_devices_than_places_are_refused()
    {
        string disk = _scratch.Write("disk", new byte[4096]);
        string[] disks = [.. Enumerable.Repeat(new[] { "--disk", $"{disk},readonly,format=raw" }, MachineSpec.MostDisks).SelectMany(words => words)];
        Refuses("room for 16 virtio devices with --virtio mmio", ["run", "--kernel", _scratch.Write("k", TinyKernel.Spin), "--virtio", "mmio", "--net", "none", .. disks]);
    }

    [Fact]
    public void A_read_only_cache_names_the_way_out()
    {
        // A file where the folder should be stops root as well.
        string file = _scratch.Write("cache", "x"u8);
        Refuses("cannot write to the cache.*--kernel", ["run", "linux"], new() { ["XDG_CACHE_HOME"] = file });
    }

    [Fact]
    public void Absent_apt_get_names_the_way_out()
    {
        string shell = LinkTools("bash", "sh", "readlink", "dirname", "find", "sort", "cksum", "cat");
        Refuses("no apt-get.*--kernel", ["run", "linux"], new() { ["PATH"] = shell, ["XDG_CACHE_HOME"] = _scratch.Folder });
    }

    [Fact]
    public void Failing_apt_get_names_the_way_out()
    {
        string tools = Directory.CreateDirectory(Path.Combine(_scratch.Folder, "bin")).FullName;
        _scratch.Script("bin/apt-cache", "echo '  Depends: linux-image-1'");
        _scratch.Script("bin/apt-get", "echo 'E: Could not resolve host' >&2; exit 100");
        Refuses("Could not resolve host.*network.*--kernel", ["run", "linux"], new()
        {
            ["PATH"] = $"{tools}:{Environment.GetEnvironmentVariable("PATH")}",
            ["XDG_CACHE_HOME"] = Path.Combine(_scratch.Folder, "cache"),
        });
        Assert.False(Directory.Exists(Path.Combine(_scratch.Folder, "cache", "vivarium", "guests", "linux")));
        Assert.Empty(Directory.EnumerateDirectories(Path.Combine(_scratch.Folder, "cache", "vivarium"), ".*"));
    }

    private string LinkTools(params string[] names)
    {
        string folder = Directory.CreateDirectory(Path.Combine(_scratch.Folder, "tools")).FullName;
        foreach (string name in names)
        {
            string program = new[] { "/usr/bin/", "/bin/" }.Select(place => place + name).First(File.Exists);
            File.CreateSymbolicLink(Path.Combine(folder, name), program);
        }

        return folder;
    }

    private static void Refuses(string explanation, params string[] words) => Refuses(explanation, words, null);

    private static void Refuses(string explanation, string[] words, Dictionary<string, string>? environment)
    {
        (int status, string output, string errors) = VivProcess.Run(words, environment);
        string sentence = Assert.Single(errors.TrimEnd('\n').Split('\n'), line => !line.EndsWith("package lists", StringComparison.Ordinal) && !line.StartsWith("viv: downloading", StringComparison.Ordinal));
        Assert.StartsWith("viv: ", sentence);
        Assert.Matches(explanation, sentence);
        Assert.DoesNotContain("   at ", errors);
        Assert.Empty(output);
        Assert.Equal(2, status);
    }
}
