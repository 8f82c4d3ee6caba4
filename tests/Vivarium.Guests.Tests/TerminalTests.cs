using System.Diagnostics;
using Xunit;

namespace Vivarium.Guests.Tests;

/// <summary>viv on a real (pseudo) terminal, made by script(1): keys, and the terminal's state afterwards.</summary>
public sealed class TerminalTests : IDisposable
{
    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(30);
    private readonly Scratch _scratch = new();

    public void Dispose() => _scratch.Dispose();

    [Fact]
    public void Control_A_x_ends_a_guest_that_spins_with_interrupts_off()
    {
        using VivProcess terminal = OnTerminal(TinyKernel.Spin, "");
        Thread.Sleep(1500);
        terminal.Send("\u0001h");
        terminal.Expect("Ctrl-A x ends the machine", s_patience);
        terminal.Send("some keys that nobody reads\u0001x");
        terminal.Expect("status=0", s_patience);
        ExpectSane(terminal);
    }

    [Fact]
    public void Control_A_twice_reaches_the_guest()
    {
        using VivProcess terminal = OnTerminal(TinyKernel.Echo, "");
        Thread.Sleep(1500);
        terminal.Send("a\u0001\u0001b\u0003c");
        terminal.Expect("a\u0001b\u0003c", s_patience);
        terminal.Send("q");
        terminal.Expect("status=1", s_patience);
        ExpectSane(terminal);
    }

    [Theory]
    [InlineData("TERM", 143)]
    [InlineData("HUP", 129)]
    [InlineData("KILL", 137)]
    [InlineData("ABRT", 134)]
    public void The_terminal_is_restored_when_viv_is_killed(string signal, int status)
    {
        // viv kills itself from the background, so that no process is found by name.
        using VivProcess terminal = OnTerminal(TinyKernel.Spin, $"(sleep 2; kill -{signal} $$) & ");
        terminal.Expect($"status={status}", s_patience);
        ExpectSane(terminal);
    }

    private static void ExpectSane(VivProcess terminal) => terminal.Expect("(?<!-)icanon", s_patience);

    private VivProcess OnTerminal(byte[] kernel, string before)
    {
        string file = _scratch.Write("kernel", kernel);
        string session = _scratch.Script("session", $"""
            sh -c '{before}exec {Repository.Viv} run --kernel {file} --timeout 30s'
            echo status=$?
            sleep 0.5
            stty -a
            """);
        return VivProcess.Start("script", ["-qec", session, "/dev/null"], null);
    }
}
