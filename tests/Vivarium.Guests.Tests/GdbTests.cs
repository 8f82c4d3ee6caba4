using System.Globalization;
using System.Net;
using System.Text.RegularExpressions;
using Vivarium.Cli.Guests;
using Vivarium.Firmware.Cpio;
using Vivarium.Guests.Tests.Debian;
using Xunit;

namespace Vivarium.Guests.Tests;

/// <summary>Real gdb debugs real machines.</summary>
public sealed class GdbTests : IDisposable
{
    private const string Patience = "90";

    /// <summary>
    /// At 1 MiB: mov ecx, 0; then again and again inc ecx; mov [0x200000], ecx.
    /// </summary>
    private static readonly byte[] s_counter = TinyKernel.Build(0xB9, 0, 0, 0, 0, 0x41, 0x89, 0x0D, 0, 0, 0x20, 0, 0xEB, 0xF7);

    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(60);

    private readonly CancellationToken _cancel = TestContext.Current.CancellationToken;
    private readonly Scratch _scratch = new();

    public GdbTests() => HostTool.Need(("gdb", "gdb"));

    public void Dispose() => _scratch.Dispose();

    private MachineSpec Spec(byte[] kernel, bool wait = true) => new()
    {
        Kernel = _scratch.Write("kernel", kernel),
        Gdb = new GdbSpec { EndPoint = new IPEndPoint(IPAddress.Loopback, 0), Wait = wait },
        OnReboot = RebootPolicy.End,
        Timeout = TimeSpan.FromMinutes(3),
    };

    /// <summary>Runs gdb by a script; gives all it said.</summary>
    private string Gdb(VirtualMachine machine, string script)
    {
        string path = _scratch.Write("script.gdb", System.Text.Encoding.UTF8.GetBytes(
            $"set pagination off\nset confirm off\nset width 0\nset remotetimeout 60\n{script.Replace("CONNECT", $"target remote {machine.GdbEndPoint}", StringComparison.Ordinal)}\n"));
        return HostTool.Run("timeout", Patience, "gdb", "-nx", "-batch", "-x", path).Said;
    }

    [Fact]
    public async Task A_kernel_can_be_stopped_looked_into_and_changed()
    {
        await using VirtualMachine machine = VirtualMachine.Create(Spec(s_counter));
        machine.Start();
        string said = Gdb(machine, """
            CONNECT
            p/x $pc
            break *0x100006
            continue
            p $rcx
            stepi
            x/wx 0x200000
            delete
            watch *(int*)0x200000
            continue
            delete
            hbreak *0x100005
            continue
            continue
            p/x $pc
            set var *(int*)0x200000 = 0x7777
            x/wx 0x200000
            set var $rcx = 0x12340000
            delete
            stepi
            p/x $rcx
            monitor xp/2w 0x200000
            info registers cr0 efer eflags
            detach
            """);
        Assert.Contains("$1 = 0x100000", said);
        Assert.Contains("Breakpoint 1, 0x00100006", said.Replace("0x0000000000100006", "0x00100006"));
        Assert.Contains("$2 = 1", said);
        Assert.Contains("0x200000:\t0x00000001", said);
        Assert.Contains("Old value = 1\nNew value = 2", said);
        Assert.Contains("$3 = 0x100005", said);
        Assert.Contains("0x200000:\t0x00007777", said);
        Assert.Contains("$4 = 0x12340001", said);
        Assert.Contains("0000000000200000: 00007777 00000000", said);
        Assert.Contains("detached]", said);

        // It has run on, and another debugger may come.
        string again = Gdb(machine, "CONNECT\np/x *(int*)0x200000\nstepi\np/x $pc\ndetach");
        Assert.DoesNotContain("$1 = 0x7777", again);
        Assert.Matches(@"\$2 = 0x10000[56c]", again);
    }

    [Fact]
    public async Task The_end_of_a_machine_is_told()
    {
        await using VirtualMachine machine = VirtualMachine.Create(Spec(TinyKernel.Reset));
        machine.Start();
        Assert.Contains("exited with code 01", Gdb(machine, "CONNECT\ncontinue"));
        Assert.Equal(ExitKind.Rebooted, (await machine.WaitAsync(_cancel)).Kind);
    }

    [Fact]
    public async Task A_crash_can_be_looked_at()
    {
        await using VirtualMachine machine = VirtualMachine.Create(Spec(TinyKernel.TripleFault));
        machine.Start();
        string said = Gdb(machine, "CONNECT\ncontinue\np/x $pc\ncontinue");
        Assert.Contains("SIGABRT", said);
        Assert.Contains("$1 = 0x100000", said);
        Assert.Contains("SIGKILL", said);
        Assert.Equal(ExitKind.Crashed, (await machine.WaitAsync(_cancel)).Kind);
    }

    [Fact]
    public async Task A_killed_guest_ends()
    {
        await using VirtualMachine machine = VirtualMachine.Create(Spec(s_counter, wait: false));
        machine.Start();
        _ = Gdb(machine, "CONNECT\nkill");
        Assert.Equal(ExitKind.Stopped, (await machine.WaitAsync(_cancel)).Kind);
    }

    [Fact]
    public async Task A_port_in_use_is_refused_in_words()
    {
        await using VirtualMachine machine = VirtualMachine.Create(Spec(s_counter));
        MachineSpec second = Spec(s_counter) with { Gdb = new GdbSpec { EndPoint = machine.GdbEndPoint! } };
        Assert.Contains("cannot wait for a debugger on 127.0.0.1:", Assert.Throws<InvalidInputException>(() => VirtualMachine.Create(second)).Message);
    }

    [Fact]
    public async Task Linux_on_two_processors()
    {
        BootSet boot = TestGuests.Cloud61;
        await using LibraryMachine machine = Boot(boot, boot.Initrd!, cpus: 2);
        string symbols = Answer(machine, "grep -E ' (__do_sys_newuname|jiffies_64|linux_banner)$' /proc/kallsyms");
        ulong Symbol(string name) => ulong.Parse(Regex.Match(symbols, $"(?m)^([0-9a-f]{{16}}) . {name}$").Groups[1].ValueSpan, NumberStyles.HexNumber, CultureInfo.InvariantCulture);
        machine.Send("while true; do uname -a >/dev/null; sleep 0.1; done &\n");
        string said = Gdb(machine.Machine, $"""
            CONNECT
            info threads
            x/s {Symbol("linux_banner")}
            break *{Symbol("__do_sys_newuname")}
            continue
            p/x $pc
            x/10i $pc
            set var $return = *(long*)$rsp
            stepi
            stepi
            tbreak *$return
            continue
            p $pc == $return
            delete
            watch *(long*){Symbol("jiffies_64")}
            continue
            continue
            delete
            thread 2
            p $_thread
            stepi
            monitor info cpus
            p $cr3 == 0
            detach
            """);
        Assert.Contains("Thread 2 (CPU 1 [", said);
        Assert.Contains("\"Linux version 6.1.", said);
        Assert.Contains($"$1 = 0x{Symbol("__do_sys_newuname"):x}", said);
        Assert.Equal(10, Regex.Count(said, @"(?m)^(=>|  ) 0xffffffff[0-9a-f]+:\t"));
        Assert.Contains("$2 = 1", said);
        Assert.Equal(2, Regex.Count(said, "Old value = "));
        Assert.Contains("$3 = 2", said);
        Assert.Matches(@"1: rip [0-9a-f]{16} cr3 ", said);
        Assert.Contains("$4 = 0", said);

        // The guest has noticed nothing.
        Assert.Equal("", Answer(machine, "dmesg | grep -iE 'BUG[: ]|WARNING|lockup|rcu: INFO|stall|Oops|unstable|warp'"));
    }

    [Fact]
    public async Task A_program_in_the_guest()
    {
        HostTool.Need(("gcc", "gcc"));
        string source = _scratch.Write("prog.c", """
            volatile int counter;
            static void count(int by) { counter += by; }
            int main(void)
            {
                int here = 40;
                count(here);
                count(2);
                return counter != 42;
            }

            """u8);
        string program = Path.Combine(_scratch.Folder, "prog");
        _ = HostTool.Must("gcc", "-g", "-O0", "-static", "-Wl,-Ttext-segment=0x10000000", "-o", program, source);
        string initrd = Path.Combine(_scratch.Folder, "initrd");
        File.WriteAllBytes(initrd, [.. File.ReadAllBytes(TestGuests.Cloud61.Initrd!), .. InitramfsBuilder.Build(archive => archive.File("prog", File.ReadAllBytes(program), 0x1ED))]);

        await using LibraryMachine machine = Boot(TestGuests.Cloud61, initrd, cpus: 1);
        machine.Send("while true; do /prog && echo good; sleep 0.1; done &\n");
        string said = Gdb(machine.Machine, $"""
            file {program}
            directory {_scratch.Folder}
            set trust-readonly-sections on
            break main
            CONNECT
            continue
            next
            next
            print counter
            print here
            step
            print by
            finish
            watch counter
            continue
            bt
            detach
            """);
        Assert.Contains("Breakpoint 1, main () at", said);
        Assert.Contains("$1 = 40", said);
        Assert.Contains("$2 = 40", said);
        Assert.Contains("$3 = 2", said);
        Assert.Matches(@"main \(\) at .*prog\.c:8", said);
        Assert.Contains("Old value = 42", said);
        Assert.Contains("detached]", said);
        _ = machine.Expect("good", s_patience);
    }

    private static LibraryMachine Boot(BootSet boot, string initrd, int cpus)
    {
        var machine = new LibraryMachine(new MachineSpec
        {
            Kernel = boot.Kernel,
            Initrd = initrd,
            CommandLine = $"{boot.CommandLine} nokaslr",
            Cpus = cpus,
            Gdb = new GdbSpec { EndPoint = new IPEndPoint(IPAddress.Loopback, 0) },
            Timeout = TimeSpan.FromMinutes(5),
        });
        _ = machine.Expect("# ", s_patience);
        return machine;
    }

    private static string Answer(LibraryMachine machine, string command)
    {
        machine.Send($"echo BEG''IN; {command}; echo E''ND\n");
        return machine.Expect(@"^BEGIN\r?\n([^\x00]*?)^END\r?$", s_patience).Groups[1].Value.Replace("\r", "", StringComparison.Ordinal).Trim();
    }
}
