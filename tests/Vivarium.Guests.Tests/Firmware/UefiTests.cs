using Vivarium.Cli.Guests;
using Vivarium.Guests.Tests.Debian;
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
        Assert.SkipUnless(
            Environment.GetEnvironmentVariable("VIVARIUM_LONG_TESTS") == "1",
            "the variable that the shell sets is not in the file yet, and two starts of OVMF take minutes; VIVARIUM_LONG_TESTS=1 ./test tries it");
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

    private static void Reach(LibraryMachine machine)
    {
        machine.Expect("to skip", s_patience);
        machine.Send("\u001b");
        machine.Expect("Shell> ", s_patience);
    }

    private static MachineSpec Uefi(string? kept) => new()
    {
        Virtualization = Virtualization.Full,
        Firmware = new FirmwareSpec
        {
            Path = FirmwareFiles.Ovmf.Obtain(GuestCache.Default, "OVMF_CODE_4M.fd"),
            VariablesTemplate = FirmwareFiles.Ovmf.Obtain(GuestCache.Default, "OVMF_VARS_4M.fd"),
            Variables = kept,
        },
        Memory = 256 * ByteSize.MiB,
    };
}
