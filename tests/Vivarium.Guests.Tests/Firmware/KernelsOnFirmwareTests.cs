using Vivarium.Cli.Guests;
using Vivarium.Expect;
using Vivarium.Input;
using Vivarium.Network;
using Xunit;

namespace Vivarium.Guests.Tests.Firmware;

/// <summary>Programs that are started as kernels and call SeaBIOS beneath them, as Debian packages them; and multiboot kernels.</summary>
public sealed class KernelsOnFirmwareTests : IDisposable
{
    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(90);
    private static readonly GuestCache s_cache = new(Path.Combine(GuestCache.Default.Root, "test-guests"));

    private readonly Scratch _scratch = new();

    public void Dispose() => _scratch.Dispose();

    [Theory]
    [InlineData(NetworkModel.E1000, "82540em")]
    [InlineData(NetworkModel.Rtl8139, "rtl8139")]
    public async Task IPXE_gets_an_address_and_takes_commands(NetworkModel card, string driver)
    {
        await using VirtualMachine machine = Start(Packaged("ipxe", "ipxe.lkrn"), spec => spec with
        {
            Networks = [new NetworkSpec { Network = new NetworkOption.User(), Model = card }],
        });
        await Expect(machine, TextPattern.Expression("^iPXE 1\\."));
        await Expect(machine, TextPattern.Literal($"using {driver}"));
        await Expect(machine, TextPattern.Expression(@"^Configuring \(net0 [0-9a-f:]+\)\.+ ok"));
        await Expect(machine, TextPattern.Literal("No more network devices"));
        await machine.Keyboard.PressAsync(KeyChord.Parse("ctrl-b"), cancellation: TestContext.Current.CancellationToken);
        await Expect(machine, TextPattern.Expression("^iPXE> *$"));
        await machine.Keyboard.TypeAsync("show net0/ip\n", cancellation: TestContext.Current.CancellationToken);
        await Expect(machine, TextPattern.Expression(@"^net0\.dhcp/ip:ipv4 = 10\.0\.2\.15"));
    }

    [Theory]
    [InlineData("memtest86+ia32.bin")]
    [InlineData("memtest86+x64.bin")]
    public async Task Memtest86_shows_its_banner_and_begins(string file)
    {
        await using VirtualMachine machine = Start(Packaged("memtest86+", file), spec => spec with { Memory = 16 * ByteSize.MiB });
        await Expect(machine, TextPattern.Expression(@"Memtest86\+ v\d"));
        await Expect(machine, TextPattern.Literal("<F1> to configure"));
        await machine.Keyboard.PressAsync(KeyChord.Parse("enter"), cancellation: TestContext.Current.CancellationToken);
        await Expect(machine, TextPattern.Expression("Status: Testing"));
    }

    /// <summary>What the kernel is told, it writes to the screen, in the text mode in which the BIOS has left it.</summary>
    [Fact]
    public async Task A_multiboot_kernel_finds_a_text_screen_its_command_line_and_its_module()
    {
        string kernel = _scratch.Write("kernel", MultibootProgram.Build());
        await using VirtualMachine machine = Start(kernel, spec => spec with
        {
            CommandLine = "hello=multiboot",
            Modules = [new ModuleSpec { Path = _scratch.Write("module", "what the module holds\0"u8.ToArray()), Arguments = "named" }],
        });
        await Expect(machine, TextPattern.Literal("hello=multiboot"));
        await Expect(machine, TextPattern.Literal("what the module holds"));
        await Expect(machine, TextPattern.Literal("module named"));
    }

    [Fact]
    public void Programs_that_call_the_BIOS_are_explained_to_machines_without_one()
    {
        var refused = Assert.Throws<InvalidInputException>(() => VirtualMachine.Create(new MachineSpec { Kernel = Packaged("ipxe", "ipxe.lkrn") }));
        Assert.Contains("run it with --virt full", refused.Message, StringComparison.Ordinal);
    }

    private static async Task Expect(VirtualMachine machine, TextPattern pattern)
    {
        FoundText? found = await machine.ExpectAsync(pattern, s_patience, TextSource.Screen, cancellation: TestContext.Current.CancellationToken);
        Assert.True(found is not null, $"'{pattern}' has not come; the screen shows:\n{machine.Screen!.ReadText()}");
    }

    private static string Packaged(string package, string file) => new FirmwareFiles(package, "boot").Obtain(s_cache, file);

    private static VirtualMachine Start(string kernel, Func<MachineSpec, MachineSpec> change)
    {
        VirtualMachine machine = VirtualMachine.Create(TestOptions.With(change(new MachineSpec
        {
            Kernel = kernel,
            Firmware = new FirmwareSpec
            {
                Path = FirmwareFiles.SeaBios.Obtain(s_cache, "bios-256k.bin"),
                VideoBios = FirmwareFiles.SeaBios.Obtain(s_cache, "vgabios-stdvga.bin"),
            },
            Virtualization = Virtualization.Full,
            Memory = 64 * ByteSize.MiB,
        })));
        machine.Start();
        return machine;
    }
}
