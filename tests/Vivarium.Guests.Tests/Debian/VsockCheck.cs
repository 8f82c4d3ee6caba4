using System.Globalization;
using System.Net.Sockets;
using System.Text;
using Xunit;

namespace Vivarium.Guests.Tests.Debian;

/// <summary>Streams between a Debian and its host through virtio-vsock, with what Debian has: its driver, and Perl.</summary>
internal static class VsockCheck
{
    private const int EchoPort = 5000;
    private const int HostPort = 1234;
    private const int Bytes = 3_000_000;
    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(120);

    /// <summary>struct sockaddr_vm, of which Perl knows nothing: family, zero, port, CID, zeros.</summary>
    private const string Program = """
        use Socket;
        $| = 1;
        sub address { pack("SSLLx4", 40, 0, $_[1], $_[0]) }
        sub send_all { my $at = 0; while ($at < length $_[1]) { $at += syswrite($_[0], $_[1], length($_[1]) - $at, $at) // exit 9 } }
        my ($what, $port) = @ARGV;
        socket(my $s, 40, SOCK_STREAM, 0) or die "socket: $!\n";
        if ($what eq "echo") {
            bind($s, address(0xffffffff, $port)) or die "bind: $!\n";
            listen($s, 8) or die;
            $SIG{CHLD} = "IGNORE";
            print "listening\n";
            while (accept(my $c, $s)) {
                next if fork;
                while (sysread($c, my $data, 65536)) { send_all($c, $data) }
                exit;
            }
        }
        connect($s, address(2, $port)) or die "connect: $!\n";
        send_all($s, "x" x 3000000);
        shutdown($s, 1);
        sysread($s, my $answer, 100);
        print $answer;
        """;

    /// <param name="shell">Of the guest.</param>
    /// <param name="path">The machine's vsock path on this host.</param>
    /// <param name="cid">The guest's CID.</param>
    public static void Run(DebianShell shell, string path, uint cid)
    {
        string program = Convert.ToBase64String(Encoding.ASCII.GetBytes(Program));
        _ = shell.Answer($"modprobe vmw_vsock_virtio_transport && echo {program} | base64 -d >/tmp/vsock.pl");
        Assert.Contains(cid.ToString(CultureInfo.InvariantCulture), shell.Answer("perl -e 'open(my $f, \"<\", \"/dev/vsock\") or die; my $cid = pack(\"L\", 0); ioctl($f, 0x7b9, $cid) // die \"$!\"; print unpack(\"L\", $cid)'"));
        FromTheHost(shell, path);
        FromTheGuest(shell, path);
    }

    private static void FromTheHost(DebianShell shell, string path)
    {
        using (Socket nobody = Connect(path, EchoPort))
        {
            Assert.Equal("", ReadLine(nobody));
        }

        _ = shell.Answer($"(perl /tmp/vsock.pl echo {EchoPort} </dev/null >/tmp/vsock.log 2>&1 &); for i in $(seq 100); do [ -s /tmp/vsock.log ] && break; sleep 0.1; done; true");
        using Socket socket = Connect(path, EchoPort);
        Assert.Matches("^OK [0-9]+$", ReadLine(socket));
        byte[] data = new byte[Bytes];
        new Random(7).NextBytes(data);
        var sending = Task.Run(() =>
        {
            for (int sent = 0; sent < data.Length;)
            {
                sent += socket.Send(data.AsSpan(sent));
            }

            socket.Shutdown(SocketShutdown.Send);
        });
        byte[] echo = new byte[Bytes + 1];
        int got = 0;
        while (socket.Receive(echo.AsSpan(got)) is > 0 and int part)
        {
            got += part;
        }

        sending.GetAwaiter().GetResult();
        Assert.Equal(data, echo[..got]);
        _ = shell.Answer("pkill -f /tmp/vsock.pl");
    }

    private static void FromTheGuest(DebianShell shell, string path)
    {
        Assert.Contains("connect: Connection reset by peer", shell.Try($"perl /tmp/vsock.pl send {HostPort}").Said);
        string listening = $"{path}_{HostPort}";
        using var listener = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        listener.Bind(new UnixDomainSocketEndPoint(listening));
        listener.Listen();
        var counting = Task.Run(() =>
        {
            using Socket socket = listener.Accept();
            byte[] buffer = new byte[1 << 16];
            int count = 0;
            while (socket.Receive(buffer) is > 0 and int part)
            {
                count += part;
            }

            _ = socket.Send(Encoding.ASCII.GetBytes($"{count} bytes came"));
        });
        Assert.Equal($"{Bytes} bytes came", shell.Answer($"perl /tmp/vsock.pl send {HostPort}"));
        counting.GetAwaiter().GetResult();
        File.Delete(listening);
    }

    private static Socket Connect(string path, int port)
    {
        var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified)
        {
            ReceiveTimeout = (int)s_patience.TotalMilliseconds,
            SendTimeout = (int)s_patience.TotalMilliseconds,
        };
        socket.Connect(new UnixDomainSocketEndPoint(path));
        _ = socket.Send(Encoding.ASCII.GetBytes($"CONNECT {port}\n"));
        return socket;
    }

    /// <summary>Without its end; empty if the connection ends before.</summary>
    private static string ReadLine(Socket socket)
    {
        var line = new StringBuilder();
        byte[] one = new byte[1];
        while (socket.Receive(one) == 1 && one[0] != (byte)'\n')
        {
            _ = line.Append((char)one[0]);
        }

        return line.ToString();
    }
}
