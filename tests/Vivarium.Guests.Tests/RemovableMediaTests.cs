using Xunit;

namespace Vivarium.Guests.Tests;

/// <summary>What can be put into drives, and how media change while a machine is there; the guest is one that never looks.</summary>
public sealed class RemovableMediaTests : IDisposable
{
    private readonly Scratch _scratch = new();

    public void Dispose() => _scratch.Dispose();

    [Theory]
    [InlineData(0, "is empty and cannot be a CD")]
    [InlineData(100_000, "has 100000 bytes, and a CD has a multiple of 2048")]
    public void What_is_no_disc_is_refused(int length, string why) =>
        Assert.Contains(why, Refused(new MachineSpec { Kernel = Kernel(), Cdroms = [new CdromSpec { Path = File("a.iso", length) }] }), StringComparison.Ordinal);

    [Fact]
    public void What_is_no_floppy_is_refused_with_the_sizes_that_are()
    {
        string why = Refused(new MachineSpec { Kernel = Kernel(), Floppies = [new FloppySpec { Path = File("a.img", 1_000_000) }] });
        Assert.Contains("has 1000000 bytes, and no floppy disk has; they have 160K, 180K, 320K, 360K, 720K, 1200K, 1440K, 1680K, 1722K, 2880K", why, StringComparison.Ordinal);
        Assert.Contains("missing.img", Refused(new MachineSpec { Kernel = Kernel(), Floppies = [new FloppySpec { Path = "missing.img" }] }), StringComparison.Ordinal);
    }

    [Fact]
    public async Task Media_come_and_go()
    {
        string first = File("first.iso", 40 * 2048), second = File("second.iso", 60 * 2048), floppy = File("a.img", 1440 * 1024), odd = File("odd.img", 77);
        List<string> warnings = [];
        await using VirtualMachine machine = VirtualMachine.Create(new MachineSpec
        {
            Kernel = Kernel(),
            Cdroms = [new CdromSpec { Path = first }, new CdromSpec { Bus = DiskBus.Ahci }],
            Floppies = [new FloppySpec { Path = floppy }],
        });
        machine.Warned = warnings.Add;
        Assert.Contains("first.iso", Assert.Single(warnings), StringComparison.Ordinal);
        machine.InsertMedium("cd", second);
        machine.InsertMedium("cd2", first);
        machine.EjectMedium("cd");
        machine.EjectMedium("cd");
        machine.InsertMedium("floppy", floppy);
        Assert.Throws<InvalidInputException>(() => machine.InsertMedium("floppy", odd));
        machine.EjectMedium("floppy");
        machine.InsertMedium("floppy", floppy);
        Assert.Equal("this machine has no drive 'tape'; it has cd, cd2, floppy", Assert.Throws<InvalidInputException>(() => machine.EjectMedium("tape")).Message);
    }

    private static string Refused(MachineSpec spec) => Assert.Throws<InvalidInputException>(() => VirtualMachine.Create(spec)).Message;

    private string File(string name, int length)
    {
        string path = Path.Combine(_scratch.Folder, name);
        System.IO.File.WriteAllBytes(path, new byte[length]);
        return path;
    }

    private string Kernel()
    {
        string path = Path.Combine(_scratch.Folder, "kernel");
        System.IO.File.WriteAllBytes(path, TinyKernel.Halt);
        return path;
    }
}
