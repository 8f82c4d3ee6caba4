using Vivarium.Cli.Guests;
using Vivarium.Expect;
using Vivarium.Network;
using Xunit;

namespace Vivarium.Guests.Tests.Firmware;

/// <summary>SeaBIOS boots from iPXE in a card's ROM.</summary>
public sealed class NetworkBootTests
{
    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(120);
    private static readonly GuestCache s_cache = new(Path.Combine(GuestCache.Default.Root, "test-guests"));

    [Theory]
    [InlineData(NetworkModel.E1000, "pxe-e1000.rom")]
    [InlineData(NetworkModel.Rtl8139, "pxe-rtl8139.rom")]
    [InlineData(NetworkModel.Virtio, "pxe-virtio.rom")]
    [InlineData(NetworkModel.E1000, "efi-e1000.rom")]
    public async Task IPXE_in_the_cards_ROM_gets_an_address(NetworkModel card, string rom)
    {
        await using VirtualMachine machine = VirtualMachine.Create(new MachineSpec
        {
            Firmware = new FirmwareSpec
            {
                Path = FirmwareFiles.SeaBios.Obtain(s_cache, "bios-256k.bin"),
                VideoBios = FirmwareFiles.SeaBios.Obtain(s_cache, "vgabios-stdvga.bin"),
            },
            BootOrder = [BootDevice.Network],
            Virtualization = Virtualization.Full,
            Memory = 64 * ByteSize.MiB,
            Networks = [new NetworkSpec { Network = new NetworkOption.User(), Model = card, Rom = FirmwareFiles.NetworkRoms.Obtain(s_cache, rom) }],
        });
        machine.Start();
        await Expect(machine, TextPattern.Literal("Booting from ROM"));
        await Expect(machine, TextPattern.Expression(@"^Configuring \(net0 [0-9a-f:]+\)\.+ ok"));
        await Expect(machine, TextPattern.Expression(@"^net0: 10\.0\.2\.15"));
    }

    [Fact]
    public void A_card_that_is_not_on_the_PCI_bus_has_no_room_for_a_ROM()
    {
        var refused = Assert.Throws<InvalidInputException>(() => new MachineSpec
        {
            Firmware = new FirmwareSpec { Path = "bios" },
            Networks = [new NetworkSpec { Model = NetworkModel.Virtio, Rom = "rom" }],
            Virtio = new VirtioSpec { Transport = VirtioTransport.Mmio },
        }.Validate());
        Assert.Contains("--virtio mmio", refused.Message, StringComparison.Ordinal);
    }

    private static async Task Expect(VirtualMachine machine, TextPattern pattern)
    {
        FoundText? found = await machine.ExpectAsync(pattern, s_patience, TextSource.Screen, cancellation: TestContext.Current.CancellationToken);
        Assert.True(found is not null, $"'{pattern}' has not come; the screen shows:\n{machine.Screen!.ReadText()}");
    }
}
