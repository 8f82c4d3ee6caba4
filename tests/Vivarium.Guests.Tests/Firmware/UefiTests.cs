using Vivarium.Cli.Guests;
using Vivarium.Guests.Tests.Debian;
using Vivarium.Storage;
using Xunit;

namespace Vivarium.Guests.Tests.Firmware;

/// <summary>OVMF, as Debian packages it: two flash memories, one of which holds variables.</summary>
public sealed class UefiTests : IDisposable
{
    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(150);
    private readonly Scratch _scratch = new();

    public void Dispose() => _scratch.Dispose();

    [Fact]
    public async Task The_shell_waits_on_the_serial_line_and_variables_are_kept()
    {
        string kept = Path.Combine(_scratch.Folder, "variables.fd");
        await using (var machine = new LibraryMachine(Uefi(kept)))
        {
            Reach(machine);
            machine.Send("setvar Kept -guid 11111111-2222-3333-4444-555555555555 -bs -nv =0x42\r");
            machine.Expect("Shell> ", s_patience);
            machine.Send("reset -s\r");
            MachineExit exit = await machine.Machine.WaitAsync(TestContext.Current.CancellationToken).WaitAsync(s_patience, TestContext.Current.CancellationToken);
            Assert.Equal(ExitKind.PoweredOff, exit.Kind);
        }

        Assert.NotEqual(File.ReadAllBytes(Uefi(null).Firmware!.VariablesTemplate!), File.ReadAllBytes(kept));
        await using var again = new LibraryMachine(Uefi(kept));
        Reach(again);
        again.Send("setvar Kept -guid 11111111-2222-3333-4444-555555555555\r");
        again.Expect("0001 bytes.*42|\\b42\\b", s_patience);
    }

    [Fact]
    public void Variables_of_other_firmware_are_refused()
    {
        string kept = _scratch.Write("variables.fd", new byte[4096]);
        var refused = Assert.Throws<InvalidInputException>(() => VirtualMachine.Create(Uefi(kept)));
        Assert.Contains("remove the file to start afresh", refused.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Variables_in_a_folder_that_is_not_there_are_refused()
    {
        var refused = Assert.Throws<InvalidInputException>(() => VirtualMachine.Create(Uefi("/no/such/folder/variables.fd")));
        Assert.Contains("there is no such folder", refused.Message, StringComparison.Ordinal);
    }

    /// <summary>Each program that is started says where it is and fails, so that the firmware goes through all of its list.</summary>
    [Theory]
    [InlineData(new[] { BootDevice.Cd, BootDevice.Disk }, new[] { DiskBus.Ide, DiskBus.Ahci, DiskBus.Nvme, DiskBus.Virtio }, "Cd Ide Ahci Nvme Virtio")]
    [InlineData(new[] { BootDevice.Disk, BootDevice.Cd }, new[] { DiskBus.Virtio, DiskBus.Nvme, DiskBus.Ahci, DiskBus.Ide }, "Virtio Nvme Ahci Ide Cd")]
    public async Task Media_are_tried_in_the_order_asked_for(BootDevice[] order, DiskBus[] disks, string expected)
    {
        await using var machine = new LibraryMachine(Uefi(null) with
        {
            BootOrder = order,
            Disks = [.. disks.Select(bus => new DiskSpec { Path = EfiMedia.Disk(_scratch, $"{bus}"), Format = ImageFormat.Raw, Bus = bus, ReadOnly = true })],
            Cdroms = [new CdromSpec { Path = EfiMedia.Cd(_scratch, "Cd") }],
        });
        foreach (string line in expected.Split(' '))
        {
            // Anything else that is started here comes too early.
            string found = machine.Expect(@"\b(Cd|Ide|Ahci|Nvme|Virtio)\r?$", s_patience).Groups[1].Value;
            Assert.Equal(line, found);
        }
    }

    private static void Reach(LibraryMachine machine)
    {
        machine.Expect("to skip", s_patience);
        machine.Send("\u001b");
        machine.Expect("Shell> ", s_patience);
    }

    /// <param name="kept">Where its variables are kept; null to forget them.</param>
    internal static FirmwareSpec Ovmf(string? kept) => new()
    {
        Path = FirmwareFiles.Ovmf.Obtain(GuestCache.Default, "OVMF_CODE_4M.fd"),
        VariablesTemplate = FirmwareFiles.Ovmf.Obtain(GuestCache.Default, "OVMF_VARS_4M.fd"),
        Variables = kept,
    };

    private static MachineSpec Uefi(string? kept) => new()
    {
        Virtualization = Virtualization.Full,
        Firmware = Ovmf(kept),
        Memory = 256 * ByteSize.MiB,
    };
}
