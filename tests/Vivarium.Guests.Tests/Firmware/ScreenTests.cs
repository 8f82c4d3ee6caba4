using Vivarium.Cli.Guests;
using Vivarium.Devices;
using Vivarium.Expect;
using Xunit;

namespace Vivarium.Guests.Tests.Firmware;

/// <summary>What SeaBIOS and its VGA BIOS put on the screen, as it is read and as it is seen.</summary>
public sealed class ScreenTests
{
    private const uint LightGrey = 0xAAAAAA;
    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(60);

    [Fact]
    public async Task The_firmwares_banner_is_on_the_screen()
    {
        await using VirtualMachine machine = VirtualMachine.Create(new MachineSpec
        {
            Virtualization = Virtualization.Full,
            Firmware = new FirmwareSpec
            {
                Path = FirmwareFiles.SeaBios.Obtain(GuestCache.Default, "bios-256k.bin"),
                VideoBios = FirmwareFiles.SeaBios.Obtain(GuestCache.Default, "vgabios-stdvga.bin"),
            },
            Memory = 64 * ByteSize.MiB,
        });
        machine.Start();
        CancellationToken cancellation = TestContext.Current.CancellationToken;
        Assert.NotNull(await machine.ExpectAsync(TextPattern.Literal("SeaBIOS (version"), s_patience, TextSource.Screen, cancellation: cancellation));
        Assert.NotNull(await machine.ExpectAsync(TextPattern.Literal("No bootable device"), s_patience, TextSource.Screen, cancellation: cancellation));

        // The letters are grey on black, and there are some: the font has been loaded.
        var frame = new Frame();
        Assert.True(machine.Screen!.Refresh(frame));
        Assert.Equal((720, 400), (frame.Width, frame.Height));
        Assert.InRange(frame.Pixels.Count(LightGrey), 500, 20_000);
        Assert.Equal(frame.Width * frame.Height, frame.Pixels.Count(LightGrey) + frame.Pixels.Count(0u));
    }

    [Fact]
    public async Task A_machine_that_tells_its_guest_has_no_screen()
    {
        using var scratch = new Scratch();
        await using VirtualMachine machine = VirtualMachine.Create(new MachineSpec { Kernel = scratch.Write("kernel", TinyKernel.Halt) });
        Assert.Null(machine.Screen);
    }
}
