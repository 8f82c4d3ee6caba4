using Xunit;

namespace Vivarium.Guests.Tests;

/// <summary>A few bytes of guest code at a time: how machines end, and what their end tells the caller.</summary>
public sealed class TinyKernelTests : IDisposable
{
    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(20);
    private readonly Scratch _scratch = new();

    public void Dispose() => _scratch.Dispose();

    [Theory]
    [InlineData(0, 1)]
    [InlineData(1, 3)]
    [InlineData(0x21, 0x43)]
    [InlineData(0x7F, 0xFF)]
    public void Debug_exit_sets_the_status(byte value, int status) => Assert.Equal(status, Run(TinyKernel.DebugExit(value)).Status);

    [Fact]
    public void Standard_output_is_the_serial_line_and_nothing_else()
    {
        (int status, string output, string errors) = Run(TinyKernel.Print("hello\r\n"));
        Assert.Equal("hello\r\n", output);
        Assert.Equal("", errors);
        Assert.Equal(1, status);
    }

    [Fact]
    public void Serial_output_can_go_to_a_file()
    {
        string log = Path.Combine(_scratch.Folder, "log");
        (_, string output, _) = Run(TinyKernel.Print("hello"), "--serial", "file:" + log);
        Assert.Equal("", output);
        Assert.Equal("hello", File.ReadAllText(log));
    }

    [Fact]
    public void Serial_output_can_go_nowhere() => Assert.Equal("", Run(TinyKernel.Print("hello"), "--serial", "none").Output);

    [Fact]
    public void Piped_input_reaches_the_guest_whole_and_its_end_does_not_end_the_machine()
    {
        using VivProcess viv = VivProcess.Start("run", "--kernel", _scratch.Write("kernel", TinyKernel.Echo), "--timeout", "20s");
        string text = string.Concat(Enumerable.Range(0, 2000).Select(number => $"{number},"));
        viv.Send(text);
        viv.Expect("1999,", s_patience);
        Assert.Equal(text, viv.Output);
        viv.Send("q");
        viv.CloseInput();
        Assert.Equal(1, viv.WaitForExit(s_patience));
    }

    [Fact]
    public void A_busy_guest_times_out()
    {
        (int status, _, string errors) = Run(TinyKernel.Spin, "--timeout", "1s");
        Assert.Equal(4, status);
        Assert.Matches("^viv: .*still running after 1 s\n$", errors);
    }

    [Fact]
    public void A_halted_guest_times_out_and_costs_no_processor_time()
    {
        using VivProcess viv = VivProcess.Start("run", "--kernel", _scratch.Write("kernel", TinyKernel.Halt), "--timeout", "4s");
        Thread.Sleep(1000);
        TimeSpan before = viv.CpuTime;
        Thread.Sleep(2000);
        Assert.InRange((viv.CpuTime - before).TotalMilliseconds, 0, 20);
        Assert.Equal(4, viv.WaitForExit(s_patience));
    }

    [Fact]
    public void A_triple_fault_is_reported_with_the_registers()
    {
        (int status, _, string errors) = Run(TinyKernel.TripleFault);
        Assert.Equal(3, status);
        Assert.Contains("the guest crashed: triple fault", errors);
        Assert.Contains("RIP 0000000000100000", errors);
        Assert.Contains("CR0 ", errors);
    }

    [Fact]
    public void The_keyboard_controller_resets_and_no_reboot_ends() => Assert.Equal(0, Run(TinyKernel.Reset, "--no-reboot").Status);

    [Fact]
    public void A_guest_that_resets_again_and_again_times_out()
    {
        (int status, _, string errors) = Run(TinyKernel.Reset, "--timeout", "1s", "--stats");
        Assert.Equal(4, status);
        Assert.Matches(@"resets +[\d,]*[1-9]", errors);
    }

    [Fact]
    public void Sleep_state_5_powers_off()
    {
        const ushort SleepEnable = 1 << 13;
        const int SleepTypeShift = 10;
        ushort value = (ushort)(SleepEnable | (Devices.AcpiPm.SleepTypeS5 << SleepTypeShift));
        Assert.Equal(0, Run(TinyKernel.OutWord((ushort)(Devices.AcpiPm.DefaultBase + Devices.AcpiPm.ControlOffset), value)).Status);
    }

    [Fact]
    public void Garbage_never_takes_the_monitor_down()
    {
        for (int seed = 0; seed < 12; seed++)
        {
            byte[] code = new byte[4096];
            new Random(seed).NextBytes(code);
            (int status, _, string errors) = Run(TinyKernel.Build(code), "--timeout", "500ms");
            Assert.True(status is 3 or 4 || (status & 1) == 1, $"seed {seed}: status {status}, {errors}");
            Assert.DoesNotContain("   at ", errors);
        }
    }

    [Theory]
    [InlineData("TERM", 143)]
    [InlineData("INT", 130)]
    [InlineData("HUP", 129)]
    public void A_signal_ends_the_machine(string signal, int status)
    {
        using VivProcess viv = VivProcess.Start("run", "--kernel", _scratch.Write("kernel", TinyKernel.Spin), "--timeout", "20s");
        Thread.Sleep(700);
        using var kill = System.Diagnostics.Process.Start("kill", [$"-{signal}", viv.Id.ToString(System.Globalization.CultureInfo.InvariantCulture)]);
        kill.WaitForExit();
        Assert.Equal(status, viv.WaitForExit(s_patience));
    }

    [Fact]
    public async Task The_library_runs_a_machine_in_the_shape_its_documentation_shows()
    {
        using var output = new MemoryStream();
        await using VirtualMachine machine = VirtualMachine.Create(new MachineSpec { Kernel = _scratch.Write("kernel", TinyKernel.Print("hi")), Timeout = s_patience });
        machine.Console.Output = output;
        machine.Start();
        MachineExit exit = await machine.WaitAsync(TestContext.Current.CancellationToken);
        Assert.Equal(new MachineExit(ExitKind.DebugExit), exit);
        Assert.Equal("hi"u8.ToArray(), output.ToArray());
    }

    [Fact]
    public async Task Stopping_is_prompt_and_may_be_repeated()
    {
        await using VirtualMachine machine = VirtualMachine.Create(new MachineSpec { Kernel = _scratch.Write("kernel", TinyKernel.Spin) });
        machine.Start();
        await Task.Delay(200, TestContext.Current.CancellationToken);
        long before = Environment.TickCount64;
        await machine.StopAsync();
        await machine.StopAsync();
        Assert.InRange(Environment.TickCount64 - before, 0, 1000);
        Assert.Equal(ExitKind.Stopped, (await machine.WaitAsync(TestContext.Current.CancellationToken)).Kind);
    }

    private (int Status, string Output, string Errors) Run(byte[] kernel, params string[] more) =>
        VivProcess.Run(["run", "--kernel", _scratch.Write("kernel", kernel), .. more, .. more.Contains("--timeout") ? Array.Empty<string>() : ["--timeout", "20s"]]);
}
