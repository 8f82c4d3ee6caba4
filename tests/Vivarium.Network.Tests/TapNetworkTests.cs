using System.Diagnostics;
using System.Net;
using System.Net.Sockets;

namespace Vivarium.Network.Tests;

public sealed class TapNetworkTests
{
    private static readonly IPAddress Host = IPAddress.Parse("198.18.77.1");
    private static readonly IPAddress Guest = IPAddress.Parse("198.18.77.2");

    [Fact]
    public async Task A_tap_carries_frames_both_ways_and_serves_one_machine()
    {
        var name = $"vivt{Environment.ProcessId % 1_000_000}";
        Assert.SkipUnless(Environment.IsPrivilegedProcess, "only root can make a TAP interface");
        Assert.SkipUnless(TryRun($"tuntap add dev {name} mode tap"), "no TAP interface can be made here (package iproute2, /dev/net/tun)");
        try
        {
            Assert.True(TryRun($"addr add {Host}/30 dev {name}") && TryRun($"link set {name} up"));
            using var network = new TapNetwork(name);
            var busy = Assert.Throws<NetworkException>(() => new TapNetwork(name));
            Assert.Equal($"The TAP interface '{name}' is in use by another program; stop that one or use another interface.", busy.Message);

            var guest = new TestGuest(network) { Address = Guest, Router = Host };
            using var server = new UdpClient(new IPEndPoint(Host, 0));
            guest.SendUdp(Host, 7000, (ushort)((IPEndPoint)server.Client.LocalEndPoint!).Port, [1, 2, 3]);
            var request = await server.ReceiveAsync(TestContext.Current.CancellationToken);
            Assert.Equal([1, 2, 3], request.Buffer);

            // A guest without buffers gets the answer when it has some again.
            guest.Full = true;
            await server.SendAsync(new byte[] { 4, 5 }, request.RemoteEndPoint, TestContext.Current.CancellationToken);
            Assert.True(SpinWait.SpinUntil(() => Volatile.Read(ref guest.Refused) > 0, TimeSpan.FromSeconds(20)));
            guest.Full = false;
            network.ReceiveReady();
            Assert.Equal([4, 5], guest.ReceiveUdp(7000));
        }
        finally
        {
            TryRun($"link del {name}");
        }
    }

    private static bool TryRun(string arguments)
    {
        try
        {
            using var process = Process.Start(new ProcessStartInfo("ip", arguments) { RedirectStandardError = true })!;
            process.WaitForExit();
            return process.ExitCode == 0;
        }
        catch (System.ComponentModel.Win32Exception)
        {
            return false;
        }
    }
}
