using System.Net;
using System.Net.NetworkInformation;
using System.Net.Sockets;
using Vivarium.Cli.Guests;
using Vivarium.Network;
using Vivarium.Storage;
using Xunit;
using Xunit.Sdk;

namespace Vivarium.Guests.Tests.Debian;

/// <summary>
/// Debian in this process, through the library: Linux 6.12, virtio over MMIO, packed rings, the root on a qcow2 with the cached disk
/// as its backing file, and a network that reaches only what is allowed.
/// </summary>
public sealed class DebianLibraryTests
{
    private const string AllowedName = "allowed.test";
    private const string OtherName = "other.test";
    private const string Content = "from the host";

    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(60);

    private readonly CancellationToken _cancel = TestContext.Current.CancellationToken;

    [Fact]
    public async Task It_keeps_what_it_has_written_over_a_reboot_and_reaches_only_what_is_allowed()
    {
        HostTool.Need(("qemu-img", "qemu-utils"), ("e2fsck", "e2fsprogs"));
        Slirp.Need();
        using var scratch = new Scratch();
        // A name never opens the router, which is the host's loopback: this needs another address of the host.
        IPAddress host = OutwardAddress();
        using var resolver = new TinyResolver(host);
        using HostServer byAddress = Serve(IPAddress.Loopback), byName = Serve(host), by6 = Serve(IPAddress.IPv6Loopback);
        using HostServer refused = Serve(IPAddress.Loopback), refused6 = Serve(IPAddress.IPv6Loopback);
        BootSet boot = TestGuests.Debian("6.12.");
        string shared = Directory.CreateDirectory(Path.Combine(scratch.Folder, "shared")).FullName;
        string root = Path.Combine(scratch.Folder, "root.qcow2");
        _ = HostTool.Must("qemu-img", "create", "-q", "-f", "qcow2", "-b", boot.Disk!, "-F", "raw", root);
        var spec = new MachineSpec
        {
            Kernel = boot.Kernel,
            Initrd = boot.Initrd,
            CommandLine = boot.CommandLine,
            Memory = 1UL << 30,
            Disks = [new DiskSpec { Path = root, Format = ImageFormat.Qcow2 }],
            Virtio = new VirtioSpec { Transport = VirtioTransport.Mmio, PackedRings = true },
            Networks =
            [
                new NetworkSpec
                {
                    Resolver = resolver.EndPoint,
                    Allow =
                    [
                        EgressRule.Parse($"10.0.2.2:{byAddress.Port}"),
                        EgressRule.Parse($"[fec0::2]:{by6.Port}"),
                        EgressRule.Parse($"{AllowedName}:{byName.Port}"),
                    ],
                },
            ],
            Shares = [new ShareSpec { Path = shared, Tag = "shared" }],
            Vsock = new VsockSpec { Path = Path.Combine(scratch.Folder, "vsock") },
            Timeout = TimeSpan.FromMinutes(10),
        };

        await using var machine = new LibraryMachine(spec);
        var shell = new DebianShell(machine, boot);
        shell.LogIn();
        shell.CheckHealth();
        Assert.Matches(@"^6\.12\.\S+-cloud-amd64$", shell.Answer("uname -r"));
        Assert.Contains("LNRO0005", shell.Answer("readlink /sys/block/vda"));
        Assert.Equal("1", PackedRings.Bit(shell, "vda"));
        CheckEgress(machine, shell, byAddress, byName, by6, refused, refused6);
        VsockCheck.Run(shell, spec.Vsock.Path, cid: 3);
        await CheckBalloonAsync(machine.Machine, shell);

        _ = shell.Answer("mkdir /root/kept && cd /root/kept && head -c 60000000 /dev/urandom >big && for i in $(seq 300); do head -c $((i * 37)) /dev/urandom >small$i; done");
        _ = shell.Answer("sha256sum big small* >../kept.sums && sync && sha256sum ../kept.sums >../kept.sums.sum");
        string sums = shell.Answer("cat ../kept.sums.sum; sync");
        _ = shell.Answer("mount -t virtiofs shared /mnt && cp -r /root/kept /mnt && diff -r /root/kept /mnt/kept");
        Assert.Equal(301, Directory.GetFiles(Path.Combine(shared, "kept")).Length);
        machine.Send("reboot\n");
        shell.LogIn();
        Assert.Equal(sums, shell.Answer("cd /root/kept && cat ../kept.sums.sum"));
        VsockCheck.Run(shell, spec.Vsock.Path, cid: 3);
        Assert.Equal("", shell.Answer("sha256sum --quiet -c ../kept.sums.sum ../kept.sums"));

        _ = shell.Answer("mount -t virtiofs shared /mnt && diff -r /root/kept /mnt/kept");

        machine.Machine.PressPowerButton();
        MachineExit exit = await machine.Machine.WaitAsync(_cancel).WaitAsync(TimeSpan.FromSeconds(120), _cancel);
        Assert.Equal(ExitKind.PoweredOff, exit.Kind);
        await machine.Machine.DisposeAsync();
        _ = HostTool.Must("qemu-img", "check", "-q", "-f", "qcow2", root);
        string flat = Path.Combine(scratch.Folder, "flat.raw");
        _ = HostTool.Must("qemu-img", "convert", "-f", "qcow2", "-O", "raw", root, flat);
        _ = HostTool.Must("e2fsck", "-fn", flat);
    }

    private static async Task CheckBalloonAsync(VirtualMachine machine, DebianShell shell)
    {
        BalloonStatistics before = await machine.ReadBalloonAsync(s_patience);
        Assert.InRange(before.Guest!.Total!.Value, 900 * ByteSize.MiB, before.Memory);
        _ = shell.Answer("head -c 300M /dev/zero >/dev/shm/big");
        BalloonStatistics full = await machine.ReadBalloonAsync(s_patience);
        Assert.InRange(full.Host, 300 * ByteSize.MiB, full.Memory);
        _ = shell.Answer("rm /dev/shm/big");
        BalloonStatistics after = await machine.CollectFreePagesAsync(s_patience);
        Assert.True(full.Host - after.Host > 200 * ByteSize.MiB && after.Host < full.Host, $"{full}\n{after}");
    }

    private static IPAddress OutwardAddress() => NetworkInterface.GetAllNetworkInterfaces()
        .Where(card => card.OperationalStatus == OperationalStatus.Up && card.NetworkInterfaceType != NetworkInterfaceType.Loopback)
        .SelectMany(card => card.GetIPProperties().UnicastAddresses)
        .Select(unicast => unicast.Address)
        .FirstOrDefault(address => address.AddressFamily == AddressFamily.InterNetwork)
        ?? throw SkipException.ForSkip("this host has no IPv4 address but its loopback, and names open no loopback addresses");

    private static HostServer Serve(IPAddress address)
    {
        var server = new HostServer(address);
        server.Offer("/", System.Text.Encoding.ASCII.GetBytes(Content));
        return server;
    }

    private static void CheckEgress(LibraryMachine machine, DebianShell shell, HostServer byAddress, HostServer byName, HostServer by6, HostServer refused, HostServer refused6)
    {
        string Fetch(string where) => shell.Answer($"curl -sS -m 20 http://{where}/");
        void Refuse(string where)
        {
            long before = Refused(machine);
            Assert.NotEqual(0, shell.Try($"curl -sS -m 5 http://{where}/").Status);
            Assert.True(Refused(machine) > before, $"nothing was refused by the filter for {where}");
        }

        // Router advertisements take a moment to give the guest its IPv6 address.
        _ = shell.Answer("for i in $(seq 60); do ip -6 addr show scope site | grep -q fec0 && break; sleep 0.5; done; ip -6 addr");
        Assert.Equal(Content, Fetch($"10.0.2.2:{byAddress.Port}"));
        Assert.Equal(Content, Fetch($"[fec0::2]:{by6.Port}"));
        Refuse($"{byName.Address}:{byName.Port}");
        Assert.Equal(Content, Fetch($"{AllowedName}:{byName.Port}"));
        Refuse($"10.0.2.2:{refused.Port}");
        Refuse($"[fec0::2]:{refused6.Port}");
        Refuse($"{OtherName}:{byName.Port}");
    }

    private static long Refused(LibraryMachine machine) => machine.Machine.Egress.Sum(counters => counters.Refused.Values.Sum());
}
