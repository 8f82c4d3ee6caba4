using Vivarium.Cli.Guests;
using Vivarium.Guests.Tests.Debian;
using Xunit;

namespace Vivarium.Guests.Tests.Firmware;

/// <summary>SeaBIOS, as Debian packages it, from the reset vector to where it finds nothing to boot.</summary>
public sealed class SeaBiosTests : IDisposable
{
    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(60);
    private readonly Scratch _scratch = new();

    public void Dispose() => _scratch.Dispose();

    [Fact]
    public async Task It_finds_the_board_and_says_that_nothing_can_be_booted()
    {
        await using var machine = new LibraryMachine(ClassicPc(Bios()));
        machine.ExpectLog("^SeaBIOS \\(version ", s_patience);
        machine.ExpectLog("^Running on QEMU \\(i440fx\\)", s_patience);
        machine.ExpectLog("^QEMU fw_cfg DMA interface supported", s_patience);
        machine.ExpectLog("^Found 1 cpu", s_patience);
        machine.ExpectLog("^Booting from Hard Disk", s_patience);
        machine.ExpectLog("^Boot failed", s_patience);
    }

    [Fact]
    public async Task It_starts_all_processors()
    {
        await using var machine = new LibraryMachine(ClassicPc(Bios()) with { Cpus = 3 });
        machine.ExpectLog("^Found 3 cpu\\(s\\) max supported 3", s_patience);
        machine.ExpectLog("^Booting from Hard Disk", s_patience);
    }

    [Theory]
    [InlineData(0, "is empty")]
    [InlineData(5000, "whole number of 4 KiB pages")]
    [InlineData(16 << 20, "firmware has at most 15 MiB")]
    public void What_cannot_be_firmware_is_refused(int length, string explanation)
    {
        var refused = Assert.Throws<InvalidInputException>(() => VirtualMachine.Create(ClassicPc(_scratch.Write("bios", new byte[length]))));
        Assert.Contains(explanation, refused.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Firmware_that_is_not_there_is_named()
    {
        var refused = Assert.Throws<InvalidInputException>(() => VirtualMachine.Create(ClassicPc("/no/such/bios.bin")));
        Assert.Contains("/no/such/bios.bin", refused.Message, StringComparison.Ordinal);
    }

    /// <summary>Zeros are ADD [BX+SI], AL over and over: the processor runs from ROM into the rest of memory, which is the guest's affair.</summary>
    [Fact]
    public async Task Firmware_that_is_nonsense_harms_nobody()
    {
        await using VirtualMachine machine = VirtualMachine.Create(ClassicPc(_scratch.Write("bios", new byte[65536])) with { Timeout = TimeSpan.FromSeconds(1) });
        machine.Start();
        MachineExit exit = await machine.WaitAsync(TestContext.Current.CancellationToken);
        Assert.NotEqual(ExitKind.PoweredOff, exit.Kind);
    }

    private static string Bios() => FirmwareFiles.SeaBios.Obtain(GuestCache.Default, "bios-256k.bin");

    private static MachineSpec ClassicPc(string firmware) => new()
    {
        Virtualization = Virtualization.Full,
        Firmware = new FirmwareSpec { Path = firmware },
        Memory = 64 * ByteSize.MiB,
    };
}
