using System.Runtime.InteropServices;
using System.Runtime.Intrinsics.X86;
using System.Text;
using System.Text.RegularExpressions;
using Vivarium.Cli.Guests;
using Vivarium.Engine;
using Vivarium.Guests.Tests.Debian;
using Xunit;

namespace Vivarium.Guests.Tests;

/// <summary>What guests find on a para and on a full machine.</summary>
public sealed class PresetTests
{
    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(120);

    public static TheoryData<string> Kernels => ["6.1", "6.12"];

    [Theory]
    [MemberData(nameof(Kernels))]
    public async Task A_full_machine_shows_no_hypervisor_and_nothing_of_ours(string kernel)
    {
        await using LibraryMachine machine = Boot(kernel, Virtualization.Full);
        string log = Answer(machine, "dmesg");
        Assert.DoesNotMatch("(?i)hypervisor|viv|kvm|virtio", WithoutCommandLine(log));
        Assert.Contains("i8042", log);
        Assert.Contains("HPET", log);
        Assert.Equal("0", Answer(machine, "grep -cw hypervisor /proc/cpuinfo"));
        Assert.DoesNotMatch("(?i)viv|virtual", Answer(machine, "grep -v -e ^address -e '^model name' /proc/cpuinfo"));
        // The processor has the host's name, whatever that says.
        Assert.Equal(HostBrand(), Answer(machine, "sed -n 's/^model name.*: //p' /proc/cpuinfo"));
        Assert.DoesNotMatch("(?i)viv|virtual|qemu|kvm", Answer(machine, "cat /sys/class/dmi/id/*_vendor /sys/class/dmi/id/product_* /sys/class/dmi/id/modalias /sys/class/dmi/id/bios_*"));
        Assert.DoesNotContain("1af4", Answer(machine, "cat /sys/bus/pci/devices/*/vendor /sys/bus/pci/devices/*/subsystem_vendor"));
        Assert.DoesNotContain("LNRO", Answer(machine, "ls /sys/bus/acpi/devices"));
        Assert.Equal("0", Answer(machine, "cat /sys/firmware/acpi/tables/DSDT /sys/firmware/acpi/tables/FACP /sys/firmware/acpi/tables/APIC | grep -ci viv"));
        // Firmware characteristics, second extension byte, bit 4: a virtual machine.
        Assert.Equal("0", Answer(machine, "echo $((0x$(dd if=/sys/firmware/dmi/tables/DMI bs=1 skip=19 count=1 2>/dev/null | xxd -p) >> 4 & 1))"));
    }

    [Theory]
    [MemberData(nameof(Kernels))]
    public async Task A_para_machine_says_what_it_is_and_has_no_superfluous_device(string kernel)
    {
        await using LibraryMachine machine = Boot(kernel, Virtualization.Para);
        Assert.Equal("1", Answer(machine, "grep -cw hypervisor /proc/cpuinfo"));
        Assert.Contains("0x1af4", Answer(machine, "cat /sys/bus/pci/devices/*/vendor"));
        Assert.DoesNotContain("HPET", Answer(machine, "ls /sys/firmware/acpi/tables"));
        Assert.DoesNotContain("PNP0303", Answer(machine, "ls /sys/bus/acpi/devices"));
        Assert.DoesNotMatch("(?i)i8042.*(0x60|irq 1)", Answer(machine, "dmesg"));
        Assert.Contains("PNP0501", Answer(machine, "ls /sys/bus/acpi/devices"));
    }

    [Fact]
    public async Task A_full_machine_has_a_virtio_device_if_it_is_asked_for()
    {
        await using LibraryMachine machine = Boot("6.1", Virtualization.Full, spec => spec with { VirtioConsole = true });
        Assert.Contains("0x1af4", Answer(machine, "cat /sys/bus/pci/devices/*/vendor"));
        Assert.Equal("0", Answer(machine, "grep -cw hypervisor /proc/cpuinfo"));
    }

    [Fact]
    public async Task Exits_are_counted_and_times_measured_when_asked_for()
    {
        const string text = "twelve bytes";
        using var scratch = new Scratch();
        var spec = new MachineSpec { Kernel = scratch.Write("kernel", TinyKernel.Print(text)), MeasureTimes = true };
        await using VirtualMachine machine = VirtualMachine.Create(spec);
        machine.Start();
        _ = await machine.WaitAsync(TestContext.Current.CancellationToken);
        // One more: the end.
        Assert.Equal(text.Length + 1, machine.Statistics.Exits(ExitCause.PortIo));
        Assert.True(machine.Statistics.Time(VcpuActivity.Monitor) > TimeSpan.Zero);
        Assert.True(machine.Statistics.Time(VcpuActivity.Devices) > TimeSpan.Zero);
        Assert.True(machine.Statistics.Time(VcpuActivity.Guest) > TimeSpan.Zero);

        await using VirtualMachine unmeasured = VirtualMachine.Create(spec with { MeasureTimes = false });
        unmeasured.Start();
        _ = await unmeasured.WaitAsync(TestContext.Current.CancellationToken);
        Assert.Equal(text.Length + 1, unmeasured.Statistics.Exits(ExitCause.PortIo));
        Assert.Equal(TimeSpan.Zero, unmeasured.Statistics.Time(VcpuActivity.Guest));
    }

    [Fact]
    public async Task A_full_machine_has_no_debug_port()
    {
        // in al, 0xE9; mov dx, 0x3F8; out dx, al; out 0xF4, al; then CF9, which ends it.
        using var scratch = new Scratch();
        byte[] kernel = TinyKernel.Build(0xE4, 0xE9, 0x66, 0xBA, 0xF8, 0x03, 0xEE, 0xE6, 0xF4, 0x66, 0xBA, 0xF9, 0x0C, 0xB0, 0x06, 0xEE, 0xFA, 0xF4, 0xEB, 0xFD);
        var spec = new MachineSpec { Kernel = scratch.Write("kernel", kernel), OnReboot = RebootPolicy.End };
        Assert.Equal(((byte)0xE9, ExitKind.DebugExit), await Run(spec));
        Assert.Equal(((byte)0xFF, ExitKind.Rebooted), await Run(spec with { Virtualization = Virtualization.Full }));
    }

    private static async Task<(byte Said, ExitKind End)> Run(MachineSpec spec)
    {
        var said = new MemoryStream();
        await using VirtualMachine machine = VirtualMachine.Create(spec);
        machine.Console.Output = said;
        machine.Start();
        MachineExit exit = await machine.WaitAsync(TestContext.Current.CancellationToken);
        return (Assert.Single(said.ToArray()), exit.Kind);
    }

    private static LibraryMachine Boot(string kernel, Virtualization virtualization, Func<MachineSpec, MachineSpec>? change = null)
    {
        BootSet boot = kernel == "6.1" ? TestGuests.Cloud61 : TestGuests.Cloud612;
        var spec = new MachineSpec
        {
            Kernel = boot.Kernel,
            Initrd = boot.Initrd,
            CommandLine = virtualization == Virtualization.Full ? $"{boot.CommandLine} {LinuxCommandLine.ForFull}" : boot.CommandLine,
            Virtualization = virtualization,
            Timeout = TimeSpan.FromMinutes(5),
        };
        var machine = new LibraryMachine(change is null ? spec : change(spec));
        _ = machine.Expect("# ", s_patience);
        return machine;
    }

    private static string Answer(LibraryMachine machine, string command)
    {
        // The quotes keep the echo of what is typed from looking like the marks themselves.
        machine.Send($"echo BEG''IN; {command}; echo E''ND\n");
        return machine.Expect(@"^BEGIN\r?\n([^\x00]*?)^END\r?$", s_patience).Groups[1].Value.Replace("\r", "", StringComparison.Ordinal).Trim();
    }

    /// <summary>Kernels print a table of what they could be built with, and their command line.</summary>
    /// <summary>CPUID leaves 80000002H to 80000004H, as Linux prints them.</summary>
    private static string HostBrand()
    {
        Span<int> words = stackalloc int[12];
        for (int leaf = 0; leaf < 3; leaf++)
        {
            (words[4 * leaf], words[(4 * leaf) + 1], words[(4 * leaf) + 2], words[(4 * leaf) + 3]) = X86Base.CpuId(unchecked((int)0x8000_0002) + leaf, 0);
        }

        return Encoding.ASCII.GetString(MemoryMarshal.AsBytes(words)).TrimEnd('\0').Trim();
    }

    private static string WithoutCommandLine(string log) =>
        string.Join('\n', log.Split('\n').Where(line => !Regex.IsMatch(line, "ommand line|vivarium:~|Booting paravirtualized")));
}
