using Vivarium.Cli.Guests;
using Vivarium.Devices;
using Vivarium.Disks;
using Vivarium.Expect;
using Vivarium.Input;
using Xunit;

namespace Vivarium.Guests.Tests.Firmware;

/// <summary>Boots from every drive that firmware knows, as somebody at the machine's screen and keyboard sees them.</summary>
public sealed class ScreenBootTests : IDisposable
{
    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(100);
    private static readonly TimeSpan s_installerPatience = TimeSpan.FromSeconds(300);
    private static readonly TimeSpan s_memtestPatience = TimeSpan.FromMinutes(20);
    private static readonly FirmwareFiles s_grub = new("grub-rescue-pc", "usr/lib/grub-rescue");
    private static readonly FirmwareFiles s_memtest = new("memtest86+", "boot");

    private readonly Scratch _scratch = new();

    public void Dispose() => _scratch.Dispose();

    [Theory]
    [InlineData(DiskBus.Ide)]
    [InlineData(DiskBus.Ahci)]
    [InlineData(DiskBus.Nvme)]
    public async Task Grub_starts_from_a_hard_disk(DiskBus bus)
    {
        await using VirtualMachine machine = Start(Pc() with
        {
            Disks = [new DiskSpec { Path = Grub("grub-rescue-usb.img"), Format = Storage.ImageFormat.Raw, Overlay = true, Bus = bus }],
        });
        await AskGrub(machine);
    }

    [Fact]
    public async Task Grub_starts_from_a_cd_on_ahci()
    {
        await using VirtualMachine machine = Start(Pc() with { Cdroms = [new CdromSpec { Path = Grub("grub-rescue-cdrom.iso"), Bus = DiskBus.Ahci }] });
        await AskGrub(machine);
    }

    [Fact]
    public async Task Grub_starts_from_a_floppy()
    {
        await using VirtualMachine machine = Start(Pc() with
        {
            BootOrder = [BootDevice.Floppy],
            Floppies = [new FloppySpec { Path = Grub("grub-rescue-floppy.img"), Overlay = true }],
        });
        await AskGrub(machine);
    }

    [Fact]
    public async Task Grub_starts_from_a_cd_that_stands_for_a_floppy()
    {
        await using VirtualMachine machine = Start(Pc() with { Cdroms = [new CdromSpec { Path = BootCd.WithFloppy(_scratch, Grub("grub-rescue-floppy.img")) }] });
        await AskGrub(machine);
    }

    [Theory]
    [InlineData("memtest86+x64.bin")]
    [InlineData("memtest86+ia32.bin")]
    public async Task Memtest86_starts_from_cd(string image)
    {
        await using VirtualMachine machine = Start(Pc() with
        {
            Cdroms = [new CdromSpec { Path = BootCd.WithKernel(_scratch, s_memtest.Obtain(GuestCache.Default, image), null, "") }],
            Memory = 16 * ByteSize.MiB,
        });
        await Expect(machine, @"Memtest86\+ v\d");
        await Expect(machine, "Status: Testing");
    }

    [Theory]
    [InlineData("memtest86+x64.bin")]
    [InlineData("memtest86+ia32.bin")]
    public async Task Memtest86_finds_no_error_in_a_full_pass(string image)
    {
        LongTests.SkipUnlessWanted("a pass over 16 MB takes four minutes");
        await using VirtualMachine machine = Start(Pc() with
        {
            Cdroms = [new CdromSpec { Path = BootCd.WithKernel(_scratch, s_memtest.Obtain(GuestCache.Default, image), null, "") }],
            Memory = 16 * ByteSize.MiB,
        });
        await Expect(machine, "Pass: +[1-9]", s_memtestPatience);
        await Expect(machine, "Errors: +0 *$");
    }

    [Theory]
    [InlineData("amd64", false)]
    [InlineData("amd64", true)]
    [InlineData("i386", false)]
    [InlineData("i386", true)]
    public async Task The_installer_starts_from_cd_and_asks_for_a_language(string architecture, bool serial)
    {
        if (architecture != "amd64" || serial)
        {
            LongTests.SkipUnlessWanted("starting all four installers takes minutes");
        }

        string cd = BootCd.WithKernel(
            _scratch, Installer(architecture, "linux"), Installer(architecture, "initrd.gz"), serial ? "console=ttyS0 ---" : "vga=normal nomodeset fb=false ---");
        await using VirtualMachine machine = Start(Pc() with { Cdroms = [new CdromSpec { Path = cd }], Memory = 1024 * ByteSize.MiB });
        if (serial)
        {
            FoundText? found = await machine.ExpectAsync(
                TextPattern.Literal("Select a language"), s_installerPatience, TextSource.Serial, cancellation: TestContext.Current.CancellationToken);
            Assert.NotNull(found);
            return;
        }

        await Expect(machine, "Select a language", s_installerPatience);
        await Expect(machine, "English");
    }

    private static string Installer(string architecture, string file)
        => new FirmwareFiles($"debian-installer-12-netboot-{architecture}", $"usr/lib/debian-installer/images/12/{architecture}/text/debian-installer/{architecture}")
            .Obtain(GuestCache.Default, file);

    private static string Grub(string image) => s_grub.Obtain(GuestCache.Default, image);

    /// <summary>What it says is read from the screen, what it is told is typed on the keyboard.</summary>
    private static async Task AskGrub(VirtualMachine machine)
    {
        CancellationToken cancellation = TestContext.Current.CancellationToken;
        await Expect(machine, "GNU GRUB +version");
        await machine.Keyboard.TypeAsync("c", cancellation: cancellation);
        await Expect(machine, "grub> *$");
        await machine.Keyboard.TypeAsync("expr=x; echo answer$expr${expr}y\n", cancellation: cancellation);
        await Expect(machine, "answerxxy");
    }

    private static async Task Expect(VirtualMachine machine, string pattern, TimeSpan? patience = null)
    {
        FoundText? found = await machine.ExpectAsync(
            TextPattern.Expression(pattern), patience ?? s_patience, TextSource.Screen, cancellation: TestContext.Current.CancellationToken);
        Assert.True(found is not null, $"'{pattern}' has not come; the screen shows:\n{machine.Screen!.ReadText()}");
    }

    private static VirtualMachine Start(MachineSpec spec)
    {
        VirtualMachine machine = VirtualMachine.Create(TestOptions.With(spec));
        machine.Start();
        return machine;
    }

    private static MachineSpec Pc() => new()
    {
        Virtualization = Virtualization.Full,
        Firmware = new FirmwareSpec
        {
            Path = FirmwareFiles.SeaBios.Obtain(GuestCache.Default, "bios-256k.bin"),
            VideoBios = FirmwareFiles.SeaBios.Obtain(GuestCache.Default, "vgabios-stdvga.bin"),
        },
        Memory = 64 * ByteSize.MiB,
    };
}
