using System.Diagnostics;
using System.Net;
using System.Net.Sockets;
using System.Text;
using System.Text.Json;
using Vivarium.Cli.Machines;
using Vivarium.Guests.Tests;
using Xunit;

namespace Vivarium.Cli.Tests;

/// <summary>viv's verbs on machines that really run, each test in a registry of its own.</summary>
public sealed class OperationsTests : IDisposable
{
    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(60);

    private readonly Scratch _scratch = new();

    /// <summary>Polls the power button (PM1 status, ACPI 6.4, 4.8.4.1.1) and switches itself off (S5) when it is pressed.</summary>
    private static byte[] ObeysPowerButton => TinyKernel.Build(
        0x66, 0xBA, 0x00, 0x06,             // mov dx, 0x600
        0x66, 0xED,                         // in ax, dx
        0xF6, 0xC4, 0x01, 0x74, 0xF9,       // test ah, 1; jz -7
        0x66, 0xBA, 0x04, 0x06,             // mov dx, 0x604
        0x66, 0xB8, 0x00, 0x20, 0x66, 0xEF, // mov ax, SLP_EN | S5, which is 0; out dx, ax
        0xF4, 0xEB, 0xFD);

    public void Dispose()
    {
        foreach (MachineEntry machine in Registry.List())
        {
            _ = MachineKiller.Kill(Registry, machine);
        }

        _scratch.Dispose();
    }

    private MachineRegistry Registry => MachineRegistry.Open(Path.Combine(_scratch.Folder, "vivarium"));

    [Fact]
    public void Linux_runs_in_the_background_and_is_typed_at_from_outside()
    {
        Assert.Equal("web", Succeed("run", "-d", "--name", "web", "linux"));
        Assert.Contains("runs already", Fail(2, "run", "--name", "web", "linux"));
        using JsonDocument list = JsonDocument.Parse(Succeed("ps", "--json"));
        JsonElement machine = Assert.Single(list.RootElement.EnumerateArray());
        Assert.Equal("web", machine.GetProperty("name").GetString());
        Assert.Equal("linux", machine.GetProperty("guest").GetString());
        Assert.Equal("running", machine.GetProperty("stage").GetString());
        Assert.Matches(@"(?m)^web\s+background\s+linux\s+512M", Succeed("ps"));

        using (VivProcess console = Start("console", "web"))
        {
            console.Expect("# ", s_patience);
            console.Send("echo $((6 * 7)) is the answer\n");
            console.Expect("^42 is the answer", s_patience);
        }

        using VivProcess later = Start("console", "web");
        later.Expect("Welcome to Vivarium", s_patience);
        later.Expect("^42 is the answer", s_patience);
        later.Send("poweroff\n");
        Assert.Equal(0, later.WaitForExit(s_patience));
        Eventually(() => Registry.List().Count == 0);
    }

    [Fact]
    public void Stop_presses_the_power_button_and_waits()
    {
        Run("web", ObeysPowerButton);
        using JsonDocument report = JsonDocument.Parse(Succeed("stop", "web", "--json"));
        Assert.Equal("powered off", report.RootElement.GetProperty("ended").GetProperty("reason").GetString());
        Assert.False(report.RootElement.GetProperty("killed").GetBoolean());
        Assert.Empty(Registry.List());
        Assert.Empty(Directory.EnumerateDirectories(Registry.Root));
    }

    [Fact]
    public void A_guest_that_does_not_answer_is_reported_and_can_be_killed()
    {
        Run("web", TinyKernel.Halt);
        Assert.Matches("did not shut down within 0.3 s.*viv kill web", Fail(4, "stop", "web", "--timeout", "300ms"));
        Assert.Single(Registry.List());
        using JsonDocument report = JsonDocument.Parse(Succeed("stop", "web", "--timeout", "100ms", "--kill", "--json"));
        Assert.True(report.RootElement.GetProperty("killed").GetBoolean());
        Assert.Empty(Registry.List());
    }

    [Fact]
    public void Kill_ends_a_machine_in_the_foreground_too()
    {
        using VivProcess foreground = Start("run", "--name", "web", "--kernel", _scratch.Write("kernel", TinyKernel.Spin));
        Eventually(() => Registry.List() is [{ Record.Stage: MachineStage.Running }]);
        Succeed("kill", "web");
        Assert.Equal(0, foreground.WaitForExit(s_patience));
        Assert.Empty(Registry.List());
    }

    [Fact]
    public void Nothing_is_left_of_a_machine_whose_process_was_killed()
    {
        Run("web", TinyKernel.Halt);
        using (Process process = Process.GetProcessById(Registry.Find("web").Record!.Pid))
        {
            process.Kill();
        }

        Eventually(() => Registry.List().Count == 0);
        Assert.DoesNotContain("web", Succeed("ps"));
        Assert.Empty(Directory.EnumerateDirectories(Registry.Root));
        Run("web", TinyKernel.Halt);
    }

    [Fact]
    public void A_stopped_process_is_told_apart_from_a_deaf_guest_and_killed_all_the_same()
    {
        Run("web", TinyKernel.Halt);
        int pid = Registry.Find("web").Record!.Pid;
        using (Process stop = Process.Start("kill", ["-STOP", $"{pid}"]))
        {
            stop.WaitForExit();
        }

        Assert.Matches($"process {pid}.*does not answer.*viv kill web", Fail(1, "stop", "web"));
        Succeed("kill", "web");
        Assert.Empty(Registry.List());
    }

    [Fact]
    public void Top_ends_when_nobody_reads_it_any_more()
    {
        Run("web", TinyKernel.Halt);
        using VivProcess shell = VivProcess.Start("/bin/bash", ["-c", $"{Repository.Viv} top web --json --interval 100ms | head -c 1; echo; echo ended ${{PIPESTATUS[0]}}"], Environment);
        shell.Expect("^ended 0", s_patience);
    }

    [Fact]
    public void A_background_machine_that_cannot_start_says_why_and_fails()
    {
        Assert.Contains("not a Linux kernel", Fail(2, "run", "-d", "--kernel", _scratch.Write("kernel", new byte[5000])));
        Assert.Contains("does not exist", Fail(2, "run", "-d", "--kernel", "/no/such/kernel"));
        Assert.Contains("cannot name a machine", Fail(2, "run", "-d", "--name", "A B", "--kernel", "/no/such/kernel"));
        Assert.Contains("viv console", Fail(2, "run", "-d", "--serial", "stdio", "--kernel", "/no/such/kernel"));
        Assert.Empty(Registry.List(ended: true));
    }

    [Fact]
    public void A_background_machine_that_ended_badly_is_remembered()
    {
        Run("web", TinyKernel.TripleFault);
        Eventually(() => Registry.List().Count == 0);
        Assert.DoesNotContain("web", Succeed("ps"));
        Assert.Matches(@"web\s+ended \(3\): the guest crashed: triple fault", Succeed("ps", "-a"));
        string log = File.ReadAllText(Path.Combine(Registry.Root, "web", MachineEntry.LogFile));
        Assert.Contains("viv: the guest crashed: triple fault", log);
        Assert.Contains("RIP", log, StringComparison.OrdinalIgnoreCase);
    }

    [Theory]
    [InlineData("stop")]
    [InlineData("kill")]
    [InlineData("console")]
    [InlineData("ssh")]
    public void An_unknown_name_is_refused_and_told_what_runs(string verb)
    {
        using MachineFolder other = Registry.Claim("other");
        Assert.Contains("no machine named 'web' runs; these do: other", Fail(2, verb, "web"));
    }

    [Fact]
    public void A_console_on_a_terminal_is_left_by_Control_A_d_and_the_machine_runs_on()
    {
        Run("web", TinyKernel.Echo);
        string session = _scratch.Script("session", $"{Repository.Viv} console web; echo status=$?; stty -a");
        using (VivProcess terminal = VivProcess.Start("script", ["-qec", session, "/dev/null"], Environment))
        {
            terminal.Expect("console of 'web'; Ctrl-A d leaves", s_patience);
            terminal.Send("a\u0001\u0001b");
            terminal.Expect("a\u0001b", s_patience);
            terminal.Send("\u0001d");
            terminal.Expect("left 'web', which runs on", s_patience);
            terminal.Expect("status=0", s_patience);
            terminal.Expect("(?<!-)icanon", s_patience);
        }

        Assert.Single(Registry.List());
        using VivProcess again = VivProcess.Start("script", ["-qec", session, "/dev/null"], Environment);
        again.Expect("a\u0001b", s_patience);
        again.Send("\u0001x");
        again.Expect("'web' has ended", s_patience);
        again.Expect("status=0", s_patience);
    }

    [Fact]
    public void Ssh_is_told_where_to_go_and_its_status_is_passed_on()
    {
        using var guest = new TcpListener(IPAddress.Loopback, 0);
        guest.Start();
        _ = Greet(guest);
        int port = ((IPEndPoint)guest.LocalEndpoint).Port;
        using MachineFolder folder = Registry.Claim("web");
        folder.Write(TestRecords.Running("web") with { Ssh = new SshRecord("root", "127.0.0.1", port, "/some/key", "ssh-ed25519 AAAA") });
        string tools = Directory.CreateDirectory(Path.Combine(_scratch.Folder, "bin")).FullName;
        _scratch.Script("bin/ssh", "printf '%s|' \"$@\"; exit 42");
        (int status, string output, string errors) = VivProcess.Run(["ssh", "web", "--", "grep", "-c", "a b"], new Dictionary<string, string>(Environment) { ["PATH"] = $"{tools}:{System.Environment.GetEnvironmentVariable("PATH")}" });
        Assert.Equal("", errors);
        Assert.Equal(42, status);
        Assert.Contains($"|-p|{port}|-l|root|-i|/some/key|-o|IdentitiesOnly=yes|--|127.0.0.1|grep|-c|a b|", output);
        Assert.Contains("StrictHostKeyChecking=yes", output);
        Assert.Equal("web ssh-ed25519 AAAA\n", File.ReadAllText(Path.Combine(folder.FullPath, MachineEntry.KnownHostsFile)));
    }

    [Fact]
    public void Ssh_explains_what_is_missing()
    {
        using MachineFolder folder = Registry.Claim("web");
        folder.Write(TestRecords.Running("web"));
        Assert.Matches("no way to log in.*--publish 2222:22", Fail(2, "ssh", "web"));

        using var deaf = new TcpListener(IPAddress.Loopback, 0);
        folder.Write(TestRecords.Running("web") with { Ssh = new SshRecord("root", "127.0.0.1", 1, null, null) });
        string tools = Directory.CreateDirectory(Path.Combine(_scratch.Folder, "bin")).FullName;
        _scratch.Script("bin/ssh", "exit 0");
        var withSsh = new Dictionary<string, string>(Environment) { ["PATH"] = $"{tools}:{System.Environment.GetEnvironmentVariable("PATH")}" };
        (int status, _, string errors) = VivProcess.Run(["ssh", "web", "--timeout", "100ms"], withSsh);
        Assert.Equal(1, status);
        Assert.Contains("no sshd has answered in 'web' within 0.1 s", errors);
    }

    private IReadOnlyDictionary<string, string> Environment => new Dictionary<string, string> { ["XDG_RUNTIME_DIR"] = _scratch.Folder };

    private void Run(string name, byte[] kernel) =>
        Assert.Equal(name, Succeed("run", "-d", "--name", name, "--kernel", _scratch.Write($"{name}.kernel", kernel), "--timeout", "300s"));

    private VivProcess Start(params string[] words) => VivProcess.Start(Repository.Viv, words, Environment);

    private string Succeed(params string[] words)
    {
        (int status, string output, string errors) = VivProcess.Run(words, Environment);
        Assert.True(status == 0, $"viv {string.Join(' ', words)} gave {status}: {errors}");
        return output.Trim();
    }

    private string Fail(int expected, params string[] words)
    {
        (int status, string output, string errors) = VivProcess.Run(words, Environment);
        Assert.Equal(expected, status);
        Assert.Empty(output);
        string sentence = Assert.Single(errors.TrimEnd('\n').Split('\n'));
        Assert.StartsWith("viv: ", sentence);
        return sentence;
    }

    private static async Task Greet(TcpListener guest)
    {
        using Socket client = await guest.AcceptSocketAsync();
        await client.SendAsync(Encoding.ASCII.GetBytes("SSH-2.0-test\r\n"));
    }

    private static void Eventually(Func<bool> true_)
    {
        long end = System.Environment.TickCount64 + (long)s_patience.TotalMilliseconds;
        while (!true_())
        {
            Assert.True(System.Environment.TickCount64 < end, "it did not come to pass");
            Thread.Sleep(20);
        }
    }
}
