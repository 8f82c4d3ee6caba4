using System.Net;
using System.Net.Sockets;
using Vivarium.Display.Rfb;

namespace Vivarium.Display.Tests;

public sealed class RfbServerTests : IAsyncDisposable
{
    private readonly TestInput _input = new();
    private readonly TestScreen _screen = new(200, 100, Few);
    private readonly List<RfbServer> _servers = [];

    public async ValueTask DisposeAsync()
    {
        foreach (RfbServer server in _servers)
        {
            await server.DisposeAsync();
        }
    }

    [Theory]
    [InlineData(0)]
    [InlineData(6)]
    [InlineData(7)]
    [InlineData(16)]
    public void Every_encoding_shows_the_same_picture(int encoding)
    {
        using RfbClient client = Connect();
        client.SetEncodings(encoding);
        foreach (Func<int, int, uint> picture in (Func<int, int, uint>[])[Few, Many, Two, One])
        {
            _screen.Show(200, 100, picture);
            Update(client, incremental: false);
            AssertShows(client, picture);
        }

        Assert.Equal([encoding], client.Seen.Distinct());
    }

    [Theory]
    [InlineData(0)]
    [InlineData(6)]
    [InlineData(7)]
    [InlineData(16)]
    public void Every_pixel_format_is_understood(int encoding)
    {
        (int Bits, bool Big, int R, int G, int B, int Rs, int Gs, int Bs)[] formats =
            [(32, false, 255, 255, 255, 16, 8, 0), (32, true, 255, 255, 255, 16, 8, 0), (16, false, 31, 63, 31, 11, 5, 0), (16, true, 31, 31, 31, 10, 5, 0), (8, false, 7, 7, 3, 0, 3, 6)];
        foreach ((int bits, bool big, int r, int g, int b, int rs, int gs, int bs) in formats)
        {
            using RfbClient client = Connect();
            client.SetFormat(bits, big, r, g, b, rs, gs, bs);
            client.SetEncodings(encoding);
            foreach (Func<int, int, uint> picture in (Func<int, int, uint>[])[Few, Many])
            {
                _screen.Show(200, 100, picture);
                Update(client, incremental: false);
                AssertShows(client, (x, y) =>
                {
                    uint pixel = picture(x, y);
                    return Scale(pixel >> 16 & 255, r) << rs | Scale(pixel >> 8 & 255, g) << gs | Scale(pixel & 255, b) << bs;
                });
            }
        }
    }

    [Fact]
    public void Only_what_has_changed_is_sent()
    {
        using RfbClient client = Connect();
        Update(client, incremental: false);
        client.Request(incremental: true);
        _screen.Show(200, 100, (x, y) => (x, y) == (150, 70) ? 0xFFFFFF : Few(x, y));
        client.ReadUpdate();
        AssertShows(client, (x, y) => (x, y) == (150, 70) ? 0xFFFFFF : Few(x, y));
        Assert.Equal(2, client.Seen.Count);
    }

    [Theory]
    [InlineData("RFB 003.003\n")]
    [InlineData("RFB 003.007\n")]
    [InlineData("RFB 003.008\n")]
    [InlineData("RFB 003.889\n")]
    public void All_versions_are_spoken(string version)
    {
        using var client = new RfbClient(Serve().EndPoint);
        Assert.Null(client.ShakeHands(version[8..11] == "889" ? "RFB 003.008\n" : version));
        Assert.Equal((200, 100, "test"), (client.Width, client.Height, client.Name));
        Update(client, incremental: false);
        AssertShows(client, Few);
    }

    [Theory]
    [InlineData("RFB 003.003\n")]
    [InlineData("RFB 003.008\n")]
    public void The_password_is_asked_for(string version)
    {
        RfbServer server = Serve("secret");
        using (var client = new RfbClient(server.EndPoint))
        {
            Assert.Null(client.ShakeHands(version, challenge => new VncPassword("secret").Answer(challenge)));
        }

        using var stranger = new RfbClient(server.EndPoint);
        Assert.Equal(version == "RFB 003.008\n" ? "the password is wrong" : "refused", stranger.ShakeHands(version, challenge => new VncPassword("secrex").Answer(challenge)));
        Assert.True(stranger.IsClosed());
    }

    [Fact]
    public void Des_is_that_of_the_standard()
    {
        byte[] block = Convert.FromHexString("0123456789ABCDEF");
        Des.Encrypt(Convert.FromHexString("133457799BBCDFF1"), block);
        Assert.Equal("85E813540F0AB405", Convert.ToHexString(block));

        // Of NBS special publication 500-20: a block through all entries of all selection functions.
        byte[] zero = new byte[8];
        Des.Encrypt(Convert.FromHexString("7CA110454A1A6E57"), Fill("01A1D6D039776742", zero));
        Assert.Equal("690F5B0D9A26939B", Convert.ToHexString(zero));
    }

    [Fact]
    public void A_new_size_is_told_to_who_understands_it()
    {
        using RfbClient knows = Connect(), extended = Connect(), old = Connect();
        knows.SetEncodings(0, -223);
        extended.SetEncodings(0, -223, -308);
        foreach (RfbClient client in (RfbClient[])[knows, extended, old])
        {
            Update(client, incremental: false);
            client.Request(incremental: true);
        }

        _screen.Show(320, 80, Many);
        foreach (RfbClient client in (RfbClient[])[knows, extended])
        {
            client.ReadUpdate();
            Assert.Equal((320, 80), (client.Width, client.Height));
            AssertShows(client, Many);
        }

        // Others see what has room.
        old.ReadUpdate();
        AssertShows(old, (x, y) => y < 80 ? Many(x, y) : 0);
    }

    [Fact]
    public void A_client_cannot_resize_the_guests_screen()
    {
        using RfbClient client = Connect();
        client.SetEncodings(0, -308);
        Update(client, incremental: false);
        client.Send([251, 0, 1, 0, 1, 0, 1, 0, .. new byte[16]]);
        Update(client, incremental: true);
        Assert.Equal((1, 1, 200, 100), client.Sizes[^1]);
    }

    [Fact]
    public void Keys_are_pressed_by_symbol_and_by_place()
    {
        using RfbClient client = Connect();
        client.Send([4, 1, 0, 0, 0, 0, 0, (byte)'a']);
        client.Send([4, 0, 0, 0, 0, 0, 0, (byte)'a']);
        client.Send([4, 1, 0, 0, 0, 0, 0xFF, 0x0D]);
        client.Send([4, 1, 0, 0, 0, 0, 0, (byte)'?']);
        client.Send([255, 0, 0, 1, 0, 0, 0xFF, 0x52, 0, 0, 0, 0xC8]);
        Assert.Equal(["A down", "A up", "Enter down", "LeftShift down", "Slash down", "LeftShift up", "Up down"], _input.Take(7));

        // What a client holds is let go when it goes.
        client.Dispose();
        Assert.Equal(["Enter up", "Slash up", "Up up"], _input.Take(3).Order());
    }

    [Fact]
    public void The_pointer_is_moved_to_places()
    {
        using RfbClient client = Connect();
        client.Send([5, 1, 0, 199, 0, 99]);
        client.Send([5, 16, 0, 0, 0, 0]);
        client.Send([5, 0, 0, 0, 0, 0]);
        Assert.Equal(["to 65535,65535 wheel 0 Left", "to 0,0 wheel 1 None", "to 0,0 wheel 0 None"], _input.Take(3));
    }

    [Fact]
    public void A_relative_mouse_gets_motions()
    {
        var mouse = new TestInput { IsAbsolute = false };
        RfbServer server = Serve(input: mouse);
        using (var client = new RfbClient(server.EndPoint))
        {
            client.ShakeHands();
            client.Send([5, 0, 0, 100, 0, 50]);
            client.Send([5, 4, 0, 110, 0, 45]);
            Assert.Equal(["by 0,0 wheel 0 None", "by 10,-5 wheel 0 Right"], mouse.Take(2));
        }

        Assert.Equal(["by 0,0 wheel 0 None"], mouse.Take(1));
        using var knows = new RfbClient(server.EndPoint);
        knows.ShakeHands();
        knows.SetEncodings(0, -257);
        Update(knows, incremental: false);
        Assert.Equal(0, knows.Pointer);
        knows.Send([5, 0, 0x80, 0x02, 0x7F, 0xFB]);
        Assert.Equal(["by 3,-4 wheel 0 None"], mouse.Take(1));
    }

    [Fact]
    public void Clients_without_true_colour_are_told_the_colours()
    {
        using RfbClient client = Connect();
        client.SetFormat(8, false, 0, 0, 0, 0, 0, 0, trueColor: false);
        Update(client, incremental: false);
        Assert.Equal(768, client.ColorMap.Length);
        int pixel = (int)client.Pixels[0];
        Assert.InRange(client.ColorMap[pixel * 3] >> 8, (int)(Few(0, 0) >> 16 & 0xFF) - 19, (int)(Few(0, 0) >> 16 & 0xFF) + 19);
    }

    [Fact]
    public void A_client_that_reads_nothing_holds_up_nobody()
    {
        _screen.Show(1000, 1000, Many);
        RfbServer server = Serve();
        using var stalled = new RfbClient(server.EndPoint);
        stalled.ShakeHands();
        for (int i = 0; i < 20; i++)
        {
            stalled.Request(incremental: false);
        }

        using var client = new RfbClient(server.EndPoint);
        client.ShakeHands();
        for (uint i = 0; i < 5; i++)
        {
            _screen.Show(1000, 1000, (x, y) => Many(x, y) ^ i);
            Update(client, incremental: false);
        }
    }

    [Fact]
    public void Nonsense_ends_the_session()
    {
        byte[][] messages =
        [
            [99], [255, 9], [6, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, .. new byte[1 << 20]], [0, 0, 0, 0, 13, .. new byte[15]],
            [0, 0, 0, 0, 32, 24, 0, 1, 0, 200, 0, 255, 0, 255, 60, 8, 0, 0, 0, 0],
        ];
        RfbServer server = Serve();
        foreach (byte[] message in messages)
        {
            using var client = new RfbClient(server.EndPoint);
            client.ShakeHands();
            try
            {
                client.Send(message);
            }
            catch (IOException)
            {
                // It may hang up before all is said.
            }

            Assert.True(client.IsClosed());
        }
    }

    /// <summary>600 clients that say 1 to 400 random bytes, some after a good beginning; one that behaves is served all the time.</summary>
    [Fact]
    public void Random_clients_hurt_nobody()
    {
        var random = new Random(5);
        RfbServer server = Serve();
        using var good = new RfbClient(server.EndPoint);
        good.ShakeHands();
        for (int i = 0; i < 600; i++)
        {
            using var socket = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
            socket.Connect(server.EndPoint);
            byte[] noise = new byte[random.Next(1, 400)];
            random.NextBytes(noise);
            if (random.Next(4) != 0)
            {
                // Past the handshake, and with the number of some message.
                byte[] kinds = [0, 2, 3, 4, 5, 6, 251, 255];
                noise[0] = kinds[random.Next(kinds.Length)];
                noise = [.. "RFB 003.008\n"u8, 1, 1, .. noise];
            }

            try
            {
                socket.Send(noise);
            }
            catch (SocketException)
            {
                // It did not listen to the end.
            }

            if (i % 50 == 0)
            {
                Update(good, incremental: false);
            }
        }

        Update(good, incremental: false);
        AssertShows(good, Few);
    }

    [Fact]
    public void A_port_that_is_taken_is_refused()
    {
        RfbServer server = Serve();
        Assert.Throws<SocketException>(() => RfbServer.Open((IPEndPoint)server.EndPoint, new RfbHost("other", _screen)));
    }

    [Fact]
    public async Task The_servers_end_is_the_clients_end()
    {
        RfbServer server = Serve();
        using var client = new RfbClient(server.EndPoint);
        client.ShakeHands();
        await server.DisposeAsync();
        Assert.True(client.IsClosed());
    }

    private static uint Few(int x, int y) => (uint)((x / 13 + y / 7) % 11 * 0x123457 & 0xFFFFFF);

    private static uint Many(int x, int y) => (uint)(x * 2654435761 + y * 40503 >> 3) & 0xFFFFFF;

    private static uint Two(int x, int y) => (x ^ y) % 3 == 0 ? 0x00FF00u : 0x102030u;

    private static uint One(int x, int y) => 0xABCDEF;

    private static uint Scale(uint value, int max) => (uint)Math.Round(value * max / 255.0);

    private static byte[] Fill(string hex, byte[] block)
    {
        Convert.FromHexString(hex).CopyTo(block, 0);
        return block;
    }

    private static void Update(RfbClient client, bool incremental)
    {
        client.Request(incremental);
        client.ReadUpdate();
    }

    private static void AssertShows(RfbClient client, Func<int, int, uint> picture)
    {
        for (int i = 0; i < client.Pixels.Length; i++)
        {
            if (picture(i % client.Width, i / client.Width) != client.Pixels[i])
            {
                Assert.Fail($"pixel {i % client.Width},{i / client.Width} is {client.Pixels[i]:X} and not {picture(i % client.Width, i / client.Width):X}");
            }
        }
    }

    private RfbClient Connect()
    {
        var client = new RfbClient((_servers.Count == 0 ? Serve() : _servers[0]).EndPoint);
        Assert.Null(client.ShakeHands());
        return client;
    }

    private RfbServer Serve(string? password = null, TestInput? input = null)
    {
        RfbServer server = RfbServer.Open(new IPEndPoint(IPAddress.Loopback, 0), new RfbHost("test", _screen, input ?? _input, input ?? _input, password));
        server.Start();
        _servers.Add(server);
        return server;
    }
}
