using System.Diagnostics;
using System.Globalization;
using System.Text.Json;
using Spectre.Console;
using Vivarium.Cli.Compare;
using Vivarium.Cli.Statistics;
using Vivarium.Cli.Verbs;
using Vivarium.Engine;
using Vivarium.Guests.Tests;
using Xunit;

namespace Vivarium.Cli.Tests;

/// <summary><c>viv compare</c> and the presets that it compares, without a guest.</summary>
public sealed class CompareTests
{
    private static readonly PhaseFigures s_phase = new()
    {
        Seconds = 2,
        GuestSeconds = 1,
        MonitorSeconds = 0.5,
        DeviceSeconds = 0.25,
        IdleSeconds = 0.25,
        Interrupts = 7,
        Exits = Enum.GetValues<ExitCause>().ToDictionary(CauseNames.Json, cause => (long)cause),
    };

    private static readonly MachineFigures s_machine = new() { Boot = s_phase, Work = s_phase, Figures = Workload.Understand("@source tsc\n@clock 500000000\n") };

    private static RunOptions Words => new() { Cpu = "x86-64-v2", Engine = EngineKind.Auto, Serial = SerialTarget.None };

    private static Comparison Comparison => new() { Guest = "linux", Memory = 1 << 29, Cpus = 1, Cpu = "x86-64-v2", Para = s_machine, Full = s_machine };

    [Fact]
    public void What_a_guest_has_printed_is_understood()
    {
        WorkloadFigures figures = Workload.Understand("$ tell clock ./clock\r\n\u001b[?2004l\r@source kvm-clock\r\n@clock 250000000\r\n@switch 2000000000\r\n[1] Done dd\r\n@write 500000000\r\n@read 100000000\r\n@small 1000000000\r\n");
        Assert.Equal("kvm-clock", figures.ClockSource);
        Assert.Equal(4e6, figures.ClockReadsPerSecond);
        Assert.Equal(20_000, figures.ContextSwitchesPerSecond);
        Assert.Equal(384.0 * (1 << 20), figures.DiskWriteBytesPerSecond);
        Assert.Equal(1920.0 * (1 << 20), figures.DiskReadBytesPerSecond);
        Assert.Equal(4096, figures.DiskSmallReadsPerSecond);
    }

    [Theory]
    [InlineData("")]
    [InlineData("@clock ")]
    [InlineData("@clock 0")]
    [InlineData("@clock -5")]
    [InlineData("@clock 1e9999")]
    [InlineData("@clock 99999999999999999999999")]
    public void What_a_guest_has_not_measured_is_null(string said) => Assert.Equal(new WorkloadFigures(), Workload.Understand(said));

    [Fact]
    public void The_end_is_not_said_by_the_echo_of_the_script() => Assert.DoesNotContain(Workload.End, Workload.Script);

    [Fact]
    public void The_clock_program_runs_and_tells_times()
    {
        using var scratch = new Scratch();
        string program = scratch.Write("clock", ClockProgram.Build());
        File.SetUnixFileMode(program, UnixFileMode.UserRead | UnixFileMode.UserExecute);
        Assert.InRange(Run(program), 1, long.MaxValue);
        long before = Run(program, "now"), after = Run(program, "now");
        Assert.InRange(after - before, 1, long.MaxValue);
    }

    [Fact]
    public void Json_has_both_machines_with_phases_times_exits_and_figures()
    {
        using JsonDocument json = JsonDocument.Parse(JsonSerializer.Serialize(Comparison, ComparisonJson.Default.Comparison));
        JsonElement root = json.RootElement;
        Assert.Equal("linux", root.GetProperty("guest").GetString());
        foreach (string machine in new[] { "para", "full" })
        {
            foreach (string phase in new[] { "boot", "work" })
            {
                JsonElement part = root.GetProperty(machine).GetProperty(phase);
                Assert.Equal(2, part.GetProperty("seconds").GetDouble());
                Assert.Equal(0.25, part.GetProperty("deviceSeconds").GetDouble());
                Assert.Equal(7, part.GetProperty("interrupts").GetInt64());
                Assert.Equal((long)ExitCause.LocalApic, part.GetProperty("exits").GetProperty("localApic").GetInt64());
                Assert.Equal(Enum.GetValues<ExitCause>().Length, part.GetProperty("exits").EnumerateObject().Count());
            }

            JsonElement figures = root.GetProperty(machine).GetProperty("figures");
            Assert.Equal(2e6, figures.GetProperty("clockReadsPerSecond").GetDouble());
            Assert.Equal(JsonValueKind.Null, figures.GetProperty("diskReadBytesPerSecond").ValueKind);
        }
    }

    [Fact]
    public void The_table_names_every_cause_and_leaves_a_dash_for_what_was_not_measured()
    {
        var text = new StringWriter(CultureInfo.InvariantCulture);
        IAnsiConsole console = AnsiConsole.Create(new AnsiConsoleSettings { Out = new AnsiConsoleOutput(text), Ansi = AnsiSupport.No });
        console.Write(ComparisonTable.Build(Comparison));
        string table = text.ToString();
        Assert.Contains("port I/O", table);
        Assert.Matches(@"clock reads\s+2,000,000/s\s+2,000,000/s\s+1\.00", table);
        Assert.Matches(@"disk, read\s+-\s+-", table);
        long all = 2 * Enum.GetValues<ExitCause>().Sum(cause => (long)cause);
        Assert.Matches($@"all\s+{all}\s+{all}\s+1\.00", table);
    }

    [Theory]
    [InlineData("para", Virtualization.Para)]
    [InlineData("full", Virtualization.Full)]
    public void A_preset_is_para_or_full(string text, Virtualization virtualization) => Assert.Equal(virtualization, RunOptions.ParseVirtualization(text));

    [Theory]
    [InlineData("")]
    [InlineData("PARA")]
    [InlineData("hvm")]
    public void Any_other_preset_is_explained(string text) =>
        Assert.Contains("known are para, full", Assert.Throws<InvalidInputException>(() => RunOptions.ParseVirtualization(text)).Message);

    [Theory]
    [InlineData("there is no guest 'nobody'", "nobody")]
    [InlineData("unknown option '--fast'", "--fast")]
    [InlineData("not a memory size", "--memory", "lots")]
    [InlineData("1 to 64 processors", "--cpus", "0")]
    [InlineData("not a time limit", "--timeout", "soon")]
    public void Compare_explains_bad_input(string explanation, params string[] words)
    {
        (int status, _, string errors) = VivProcess.Run(["compare", .. words]);
        Assert.Equal(2, status);
        Assert.Contains(explanation, errors);
        Assert.Single(errors.Trim().Split('\n'));
    }

    private static long Run(string program, params string[] words)
    {
        using Process process = Process.Start(new ProcessStartInfo(program, words) { RedirectStandardOutput = true })!;
        string said = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        Assert.Equal(0, process.ExitCode);
        return long.Parse(said, NumberStyles.AllowTrailingWhite, CultureInfo.InvariantCulture);
    }
}
