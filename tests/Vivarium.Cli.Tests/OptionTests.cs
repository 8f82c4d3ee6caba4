using Vivarium.Cli.Verbs;
using Vivarium.Network;
using Vivarium.Storage;
using Xunit;

namespace Vivarium.Cli.Tests;

/// <summary>The words of <c>viv run</c> about disks, networks and virtio.</summary>
public sealed class OptionTests
{
    [Fact]
    public void A_boot_order_is_a_list_without_repetition()
    {
        Assert.Null(BootOption.Parse(null));
        Assert.Equal([BootDevice.Cd, BootDevice.Disk, BootDevice.Floppy, BootDevice.Network], BootOption.Parse("cd,disk,floppy,net"));
        Assert.Contains("twice", Assert.Throws<InvalidInputException>(() => BootOption.Parse("cd,cd")).Message);
        Assert.Contains("'usb' is nothing to boot from", Assert.Throws<InvalidInputException>(() => BootOption.Parse("disk,usb")).Message);
        Assert.Contains("nothing to boot from", Assert.Throws<InvalidInputException>(() => BootOption.Parse("")).Message);
    }

    [Fact]
    public void A_disk_is_a_file_with_properties()
    {
        Assert.Equal(new DiskSpec { Path = "a.img" }, DiskOption.Parse("a.img"));
        Assert.Equal(
            new DiskSpec { Path = "a.img", Format = ImageFormat.Qcow2, ReadOnly = true, Serial = "s=1" },
            DiskOption.Parse("a.img,serial=s=1,readonly,format=qcow2"));
        Assert.Equal(new DiskSpec { Path = "/x", Format = ImageFormat.Raw, Overlay = true }, DiskOption.Parse("/x,overlay,format=raw"));
        Assert.Equal(new DiskSpec { Path = "b", Bus = DiskBus.Ide }, DiskOption.Parse("b,bus=ide"));
        Assert.Equal(new DiskSpec { Path = "c", Bus = DiskBus.Virtio }, DiskOption.Parse("c,bus=virtio"));
        Assert.Equal(new DiskSpec { Path = "d", Bus = DiskBus.Ahci }, DiskOption.Parse("d,bus=ahci"));
        Assert.Equal(new DiskSpec { Path = "e", Bus = DiskBus.Nvme }, DiskOption.Parse("e,bus=nvme"));
    }

    [Fact]
    public void Drives_have_a_medium_or_none()
    {
        Assert.Equal(new CdromSpec { Path = "a.iso" }, MediumOption.ParseCdrom("a.iso"));
        Assert.Equal(new CdromSpec { Path = "a,b", Bus = DiskBus.Ahci }, MediumOption.ParseCdrom("a,,b,bus=ahci"));
        Assert.Equal(new CdromSpec(), MediumOption.ParseCdrom("none"));
        Assert.Equal(new FloppySpec { Path = "a", ReadOnly = true }, MediumOption.ParseFloppy("a,readonly"));
        Assert.Equal(new FloppySpec { Path = "a", Overlay = true }, MediumOption.ParseFloppy("a,overlay"));
        Assert.Equal(new FloppySpec(), MediumOption.ParseFloppy("none"));
    }

    [Fact]
    public void Drives_that_are_none_are_explained()
    {
        Explains("names no file", () => MediumOption.ParseCdrom(""));
        Explains("unknown property 'bus=nvme'", () => MediumOption.ParseCdrom("a,bus=nvme"));
        Explains("names no file", () => MediumOption.ParseFloppy(",readonly"));
        Explains("unknown property 'x'", () => MediumOption.ParseFloppy("a,x"));
    }

    [Theory]
    [InlineData("a,,b", "a,b")]
    [InlineData(",,", ",")]
    [InlineData("a,,", "a,")]
    [InlineData(",,,,a", ",,a")]
    public void Commas_in_the_file_are_doubled(string text, string path) => Assert.Equal(path, DiskOption.Parse(text).Path);

    [Theory]
    [InlineData("", "names no file")]
    [InlineData(",readonly", "names no file")]
    [InlineData("a,", "unknown property ''")]
    [InlineData("a,writable", "unknown property 'writable'")]
    [InlineData("a,readonly=yes", "unknown property 'readonly=yes'")]
    [InlineData("a,serial", "unknown property 'serial'")]
    [InlineData("a,serial=", "unknown property 'serial='")]
    [InlineData("a,format=vmdk", "'vmdk' is no disk format")]
    [InlineData("a,format", "is no disk format")]
    [InlineData("a,bus=foo", "'foo' is no way to connect a disk that viv knows; known are virtio, ide, ahci, nvme")]
    [InlineData("a,bus", "is no way to connect a disk")]
    [InlineData("a,overlay,overlay", "says overlay twice")]
    [InlineData("a,format=raw,format=raw", "says format twice")]
    [InlineData("a,,,readonly,b", "unknown property 'b'")]
    public void A_disk_that_is_none_is_explained(string text, string explanation) => Explains(explanation, () => DiskOption.Parse(text));

    [Theory]
    [InlineData("pci", VirtioTransport.Pci, false)]
    [InlineData("mmio", VirtioTransport.Mmio, false)]
    [InlineData("pci,packed", VirtioTransport.Pci, true)]
    [InlineData("mmio,split", VirtioTransport.Mmio, false)]
    public void Virtio_has_a_transport_and_rings(string text, VirtioTransport transport, bool packed) =>
        Assert.Equal(new VirtioSpec { Transport = transport, PackedRings = packed }, VirtioOption.Parse(text));

    [Theory]
    [InlineData("")]
    [InlineData("usb")]
    [InlineData("pci,")]
    [InlineData("packed")]
    [InlineData("pci,packed,split")]
    public void Virtio_that_is_none_is_explained(string text) => Explains("no way to attach virtio devices", () => VirtioOption.Parse(text));

    [Theory]
    [InlineData("1", 1)]
    [InlineData("07", 7)]
    [InlineData("64", 64)]
    public void Processors_are_counted(string text, int count) => Assert.Equal(count, RunOptions.ParseCpus(text));

    [Theory]
    [InlineData("0", "1 to 64 processors")]
    [InlineData("-1", "1 to 64 processors")]
    [InlineData("65", "1 to 64 processors")]
    [InlineData("99999999999999999999999999", "1 to 64 processors")]
    [InlineData("", "'' is not a number")]
    [InlineData("two", "'two' is not a number")]
    [InlineData("2.5", "'2.5' is not a number")]
    [InlineData("1e1", "'1e1' is not a number")]
    [InlineData("0x2", "'0x2' is not a number")]
    public void A_number_of_processors_that_is_none_is_explained(string text, string explanation) => Explains(explanation, () => RunOptions.ParseCpus(text));

    [Fact]
    public void A_vsock_is_a_path_with_a_cid()
    {
        Assert.Equal(new VsockSpec { Path = "/tmp/v", Cid = 3 }, VsockOption.Parse("/tmp/v"));
        Assert.Equal(new VsockSpec { Path = "a,b", Cid = 77 }, VsockOption.Parse("a,,b,cid=77"));
    }

    [Theory]
    [InlineData("", "names no socket")]
    [InlineData(",cid=4", "names no socket")]
    [InlineData("v,", "unknown property ''")]
    [InlineData("v,port=5", "unknown property 'port=5'")]
    [InlineData("v,cid", "unknown property 'cid'")]
    [InlineData("v,cid=4,cid=5", "unknown property 'cid=5'")]
    [InlineData("v,cid=", "'' is no CID")]
    [InlineData("v,cid=-4", "'-4' is no CID")]
    [InlineData("v,cid=4294967296", "'4294967296' is no CID")]
    [InlineData("v,cid=0x10", "'0x10' is no CID")]
    public void A_vsock_that_is_none_is_explained(string text, string explanation) => Explains(explanation, () => VsockOption.Parse(text));

    [Theory]
    [InlineData(0)]
    [InlineData(2)]
    [InlineData(uint.MaxValue)]
    public void Reserved_cids_are_refused(uint cid) =>
        Assert.Contains("number from 3 to 4294967294", Assert.Throws<InvalidInputException>(new MachineSpec { Kernel = "", Vsock = new VsockSpec { Path = "v", Cid = cid } }.Validate).Message);

    [Fact]
    public void A_balloon_is_there_or_not_or_as_usual()
    {
        Assert.Null(RunOptions.ParseBalloon(null));
        Assert.True(RunOptions.ParseBalloon("on"));
        Assert.False(RunOptions.ParseBalloon("off"));
        Explains("write --balloon on or off", () => RunOptions.ParseBalloon("yes") ?? false);
        Assert.Equal(0ul, BalloonVerb.ParseTarget("0"));
        Assert.Equal(256ul << 20, BalloonVerb.ParseTarget("256M"));
        Explains("not a memory size", () => BalloonVerb.ParseTarget("-1"));
        Explains("not a memory size", () => BalloonVerb.ParseTarget(""));
    }

    [Fact]
    public void A_network_is_there_when_something_could_use_it()
    {
        Assert.IsType<NetworkOption.None>(NetworkOptions.Parse(null, [], []).OrDefault(isUseful: false));
        Assert.IsType<NetworkOption.User>(NetworkOptions.Parse(null, [], []).OrDefault(isUseful: true));
        Assert.IsType<NetworkOption.User>(NetworkOptions.Parse(null, ["2222:22"], []).OrDefault(isUseful: false));
        Assert.IsType<NetworkOption.User>(NetworkOptions.Parse(null, [], ["example.org"]).OrDefault(isUseful: false));
        Assert.IsType<NetworkOption.None>(NetworkOptions.Parse("none", [], []).OrDefault(isUseful: true));
        Assert.Equal(new NetworkOption.Tap("tap0"), NetworkOptions.Parse("tap:tap0", [], []).OrDefault(isUseful: true));
    }

    [Theory]
    [InlineData("user", null)]
    [InlineData("user,bus=virtio", NetworkModel.Virtio)]
    [InlineData("tap:tap0,model=virtio", NetworkModel.Virtio)]
    [InlineData("user,model=e1000", NetworkModel.E1000)]
    [InlineData("user,model=rtl8139", NetworkModel.Rtl8139)]
    public void A_network_card_can_be_chosen(string text, NetworkModel? model) => Assert.Equal(model, NetworkOptions.Parse(text, [], []).Model);

    [Theory]
    [InlineData("'ne1' is no network card that viv knows; known are virtio, e1000, rtl8139", "user,model=ne1")]
    [InlineData("unknown property 'fast'", "user,fast")]
    [InlineData("says too much", "user,model=e1000,model=virtio")]
    [InlineData("no card", "none,model=e1000")]
    public void A_network_card_that_cannot_be_is_explained(string explanation, string text) =>
        Assert.Contains(explanation, Assert.Throws<InvalidInputException>(() => NetworkOptions.Parse(text, [], [])).Message);

    [Theory]
    [InlineData("'carrier-pigeon'", "carrier-pigeon", null, null)]
    [InlineData("no port number", null, "22:70000", null)]
    [InlineData("not with --net none", "none", "2222:22", null)]
    [InlineData("not with --net tap:t", "tap:t", "2222:22", null)]
    [InlineData("not with --net none", "none", null, "example.org")]
    [InlineData("no host name", "user", null, "not a host")]
    public void A_network_that_cannot_be_is_explained(string explanation, string? net, string? publish, string? allow) =>
        Explains(explanation, () => NetworkOptions.Parse(net, publish is null ? [] : [publish], allow is null ? [] : [allow]));

    [Fact]
    public void A_port_is_published_once()
    {
        Explains("published twice", () => NetworkOptions.Parse(null, ["80:80", "80:8080"], []));
        Assert.Equal(4, NetworkOptions.Parse(null, ["80:80", "80:80/udp", "0:1", "0:2"], []).Forwards.Count);
    }

    [Theory]
    [InlineData(".:work", ".", "work", false)]
    [InlineData("/a b/c:my tag,readonly", "/a b/c", "my tag", true)]
    [InlineData("a:b:c", "a:b", "c", false)]
    [InlineData("a,,b:c", "a,b", "c", false)]
    [InlineData("a,,readonly:c,readonly", "a,readonly", "c", true)]
    public void A_share_is_a_folder_and_a_tag(string text, string path, string tag, bool readOnly) =>
        Assert.Equal(new ShareSpec { Path = path, Tag = tag, ReadOnly = readOnly }, ShareOption.Parse(text));

    [Theory]
    [InlineData("", "has no tag")]
    [InlineData("/folder", "has no tag")]
    [InlineData("/folder,readonly", "has no tag")]
    [InlineData("/fol,der:tag", "has no tag")]
    [InlineData("/folder:tag,", "unknown property ''")]
    [InlineData("/folder:tag,rw", "unknown property 'rw'")]
    [InlineData("/folder:tag,readonly=1", "unknown property 'readonly=1'")]
    [InlineData("/folder:tag,readonly,readonly", "says readonly twice")]
    public void A_share_that_is_none_is_explained(string text, string explanation) => Explains(explanation, () => ShareOption.Parse(text));

    private static void Explains(string explanation, Func<object> parse)
    {
        string message = Assert.Throws<InvalidInputException>(parse).Message;
        Assert.Contains(explanation, message);
        Assert.DoesNotContain('\n', message);
    }
}
