using Xunit;

namespace Vivarium.Guests.Tests;

/// <summary>A specification is checked before anything starts.</summary>
public sealed class MachineSpecTests
{
    private static readonly MachineSpec s_good = new() { Kernel = "kernel" };

    [Fact]
    public void The_defaults_are_good() => s_good.Validate();

    [Theory]
    [InlineData(0ul)]
    [InlineData(ByteSize.MiB)]
    [InlineData((64 * ByteSize.MiB) + 4096)]
    [InlineData(ulong.MaxValue - ByteSize.MiB + 1)]
    public void Impossible_memory_is_refused(ulong memory) => Refused(s_good with { Memory = memory });

    [Fact]
    public void An_unknown_processor_is_refused() => Refused(s_good with { Cpu = "z80" });

    [Theory]
    [InlineData(1)]
    [InlineData(3)]
    [InlineData(64)]
    public void One_to_sixty_four_processors_are_possible(int cpus) => (s_good with { Cpus = cpus }).Validate();

    [Theory]
    [InlineData(0)]
    [InlineData(-1)]
    [InlineData(65)]
    [InlineData(int.MaxValue)]
    [InlineData(int.MinValue)]
    public void Any_other_number_of_processors_is_refused(int cpus) => Refused(s_good with { Cpus = cpus });

    [Theory]
    [InlineData("console=ttyS0\0quiet")]
    [InlineData("console=ttyS0\nquiet")]
    public void Control_characters_in_the_command_line_are_refused(string line) => Refused(s_good with { CommandLine = line });

    [Theory]
    [InlineData(0)]
    [InlineData(-1)]
    [InlineData(1e9)]
    public void An_impossible_time_limit_is_refused(double seconds) => Refused(s_good with { Timeout = TimeSpan.FromSeconds(seconds) });

    [Theory]
    [InlineData("", "tag")]
    [InlineData("folder", "")]
    [InlineData("folder", "this tag is longer than it is allowed to be")]
    [InlineData("folder", "äöüäöüäöüäöüäöüäöüä")]
    [InlineData("folder", "two\nlines")]
    [InlineData("fol\0der", "tag")]
    public void An_impossible_share_is_refused(string path, string tag) => Refused(s_good with { Shares = [new() { Path = path, Tag = tag }] });

    [Fact]
    public void Shares_have_tags_of_their_own_and_are_not_too_many()
    {
        Refused(s_good with { Shares = [new() { Path = "a", Tag = "t" }, new() { Path = "b", Tag = "t" }] });
        List<ShareSpec> shares = [.. Enumerable.Range(0, MachineSpec.MostShares).Select(i => new ShareSpec { Path = "a", Tag = $"{i}" })];
        (s_good with { Shares = shares }).Validate();
        Refused(s_good with { Shares = [.. shares, new() { Path = "a", Tag = "more" }] });
    }

    [Theory]
    [InlineData("0", 0ul)]
    [InlineData("77", 77ul)]
    [InlineData("512M", 512 * ByteSize.MiB)]
    [InlineData("512m", 512 * ByteSize.MiB)]
    [InlineData("4G", 4 * ByteSize.GiB)]
    [InlineData("4GiB", 4 * ByteSize.GiB)]
    [InlineData("1MB", ByteSize.MiB)]
    [InlineData("1500K", 1500 * ByteSize.KiB)]
    public void Sizes_are_read(string text, ulong bytes)
    {
        Assert.True(ByteSize.TryParse(text, out ulong read));
        Assert.Equal(bytes, read);
        Assert.True(ByteSize.TryParse(ByteSize.Format(bytes), out ulong again));
        Assert.Equal(bytes, again);
    }

    [Theory]
    [InlineData("")]
    [InlineData("M")]
    [InlineData("B")]
    [InlineData("-1")]
    [InlineData("1.5G")]
    [InlineData("1 G")]
    [InlineData("0x10")]
    [InlineData("16777216T")]
    [InlineData("99999999999999999999")]
    public void What_is_no_size_is_refused(string text) => Assert.False(ByteSize.TryParse(text, out _));

    [Fact]
    public void A_fifth_IDE_disk_is_refused()
    {
        DiskSpec[] Disks(int count, DiskBus? bus) => [.. Enumerable.Range(0, count).Select(number => new DiskSpec { Path = $"{number}", Bus = bus })];
        (s_good with { Disks = [.. Disks(4, DiskBus.Ide), .. Disks(5, null)] }).Validate();
        Assert.Equal("a machine has at most 4 IDE disks and CD drives, and 5 are asked for; give the others bus=ahci or, disks, bus=virtio", Refused(s_good with { Disks = Disks(5, DiskBus.Ide) }));

        CdromSpec[] cds = [new CdromSpec(), new CdromSpec()];
        (s_good with { Disks = Disks(2, DiskBus.Ide), Cdroms = cds }).Validate();
        _ = Refused(s_good with { Disks = Disks(3, DiskBus.Ide), Cdroms = cds });
        Assert.Contains("at most 6 AHCI", Refused(s_good with { Disks = Disks(7, DiskBus.Ahci) }), StringComparison.Ordinal);
        Assert.Contains("at most 2 floppy drives", Refused(s_good with { Floppies = [new FloppySpec(), new FloppySpec(), new FloppySpec()] }), StringComparison.Ordinal);

        // A classic PC's disks are IDE disks unless something else is said.
        (s_good with { Virtualization = Virtualization.Full, Disks = [.. Disks(4, null), .. Disks(5, DiskBus.Virtio)] }).Validate();
        _ = Refused(s_good with { Virtualization = Virtualization.Full, Disks = Disks(5, null) });
    }

    private static string Refused(MachineSpec spec)
    {
        string sentence = Assert.Throws<InvalidInputException>(spec.Validate).Message;
        Assert.DoesNotContain('\n', sentence);
        Assert.NotEqual('.', sentence[^1]);
        return sentence;
    }
}
