using System.Net;
using Vivarium.Cli.Guests;
using Vivarium.Cli.Machines;
using Vivarium.Cli.Verbs;
using Vivarium.Guests.Tests;
using Vivarium.Network;
using Xunit;

namespace Vivarium.Cli.Tests;

/// <summary>What machine the words of <c>viv run</c> come to.</summary>
public sealed class MachinePlanTests : IDisposable
{
    private readonly Scratch _scratch = new();

    private static RunOptions Words => new() { Cpu = "x86-64-v2", Engine = EngineKind.Auto, Serial = SerialTarget.None };

    public void Dispose() => _scratch.Dispose();

    [Fact]
    public void A_guest_with_a_disk_gets_an_overlay_memory_a_network_and_a_way_in()
    {
        MachinePlan plan = Plan(Words with { Guest = "debian", Append = "quiet" }, Guest);
        Assert.Equal("root=/dev/vda quiet", plan.Spec.CommandLine);
        Assert.Equal(ByteSize.GiB, plan.Spec.Memory);
        Assert.True(Assert.Single(plan.Spec.Disks).Overlay);
        Assert.IsType<NetworkOption.User>(Assert.Single(plan.Spec.Networks).Network);
        Assert.Equal(new PortForward(IPAddress.Loopback, 0, 22, Udp: false), Assert.Single(plan.AnyPort));
    }

    [Fact]
    public void Persist_writes_to_the_disk_itself()
    {
        MachinePlan plan = Plan(Words with { Guest = "debian", Persist = true, Memory = 2 * ByteSize.GiB }, Guest);
        Assert.False(Assert.Single(plan.Spec.Disks).Overlay);
        Assert.Equal(2 * ByteSize.GiB, plan.Spec.Memory);
    }

    [Fact]
    public void Ephemeral_keeps_nothing_of_any_disk_and_leaves_read_only_ones_alone()
    {
        MachinePlan plan = Plan(Words with { Guest = "debian", Ephemeral = true, Disks = [new() { Path = "a" }, new() { Path = "b", ReadOnly = true }] }, Guest);
        Assert.Equal([(true, false), (true, false), (false, true)], plan.Spec.Disks.Select(disk => (disk.Overlay, disk.ReadOnly)));
    }

    [Fact]
    public void A_way_in_that_the_user_has_published_is_the_one_that_is_told()
    {
        MachinePlan plan = Plan(Words with { Guest = "debian", Network = NetworkOptions.Parse(null, ["0.0.0.0:2222:22", "0:80"], []) }, Guest);
        Assert.Equal(80, Assert.Single(plan.AnyPort).GuestPort);

        string key = _scratch.Write("key", "secret"u8);
        using MachineFolder folder = MachineRegistry.Open(Path.Combine(_scratch.Folder, "vivarium")).Claim("web");
        MachineRecord record = (plan with { Access = plan.Access! with { KeyFile = key } }).Describe(TestRecords.Running("web"), [plan.AnyPort[0] with { HostPort = 4080 }], folder);
        Assert.Equal([2222, 4080], record.Forwards.Select(forward => forward.HostPort));
        Assert.Equal(("root", "127.0.0.1", 2222, "ssh-ed25519 AAAA"), (record.Ssh!.User, record.Ssh.Address, record.Ssh.Port, record.Ssh.HostKey));
        Assert.Equal("secret", File.ReadAllText(record.Ssh.KeyFile!));
        Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite, File.GetUnixFileMode(record.Ssh.KeyFile!));
    }

    [Fact]
    public void A_guest_without_a_disk_has_no_network_unless_one_is_asked_for()
    {
        var boot = new BootSet("kernel", "initrd", "console=ttyS0");
        Assert.Empty(Plan(Words with { Guest = "linux" }, boot).Spec.Networks);
        Assert.Equal(MachineSpec.DefaultMemory, Plan(Words with { Guest = "linux" }, boot).Spec.Memory);
        NetworkSpec network = Assert.Single(Plan(Words with { Guest = "linux", Network = NetworkOptions.Parse(null, [], ["example.org:443"]) }, boot).Spec.Networks);
        Assert.Equal("example.org:443", Assert.Single(network.Allow!).ToString());
        Assert.Empty(Plan(Words with { Guest = "debian", Network = NetworkOptions.Parse("none", [], []) }, Guest).AnyPort);
    }

    private static BootSet Guest => new("kernel", "initrd", "root=/dev/vda") { Disk = "/cache/root.img", Ssh = new SshAccess("root", "/cache/key", "ssh-ed25519 AAAA") };

    private static MachinePlan Plan(RunOptions words, BootSet? boot) => MachinePlan.Complete(MachinePlan.Draft(words), words, boot, "web");
}
