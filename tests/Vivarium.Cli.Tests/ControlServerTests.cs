using System.Net.Sockets;
using System.Text;
using Vivarium.Cli.Machines;
using Vivarium.Guests.Tests;
using Xunit;

namespace Vivarium.Cli.Tests;

/// <summary>The control socket of a machine, with clients of all manners.</summary>
public sealed class ControlServerTests : IAsyncLifetime
{
    private const int FuzzCases = 2_000;
    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(20);

    private readonly Scratch _scratch = new();
    private readonly FakeMachine _machine = new();
    private MachineEntry _entry = null!;
    private ControlServer _server = null!;

    public ValueTask InitializeAsync()
    {
        _entry = new MachineEntry("fake", _scratch.Folder, _machine.Record);
        _server = new ControlServer(_entry.Socket, _machine);
        _server.Open();
        return ValueTask.CompletedTask;
    }

    public async ValueTask DisposeAsync()
    {
        _machine.Kill();
        await _server.DisposeAsync();
        _scratch.Dispose();
    }

    [Fact]
    public void Keyboard_mouse_and_drives_are_operated()
    {
        using (ControlClient client = ControlClient.Connect(_entry))
        {
            _ = client.Ask(new ControlOrder(ControlVerb.Type) { Text = "ls\n", Seconds = 0.01 }, s_patience);
        }

        using (ControlClient client = ControlClient.Connect(_entry))
        {
            _ = client.Ask(new ControlOrder(ControlVerb.Eject) { Text = "cd", Force = true }, s_patience);
        }

        Assert.Equal([new ControlOrder(ControlVerb.Type) { Text = "ls\n", Seconds = 0.01 }, new ControlOrder(ControlVerb.Eject) { Text = "cd", Force = true }], _machine.Orders);
        using ControlClient refused = ControlClient.Connect(_entry);
        Assert.Contains("it cannot be", Assert.Throws<VivariumException>(() => refused.Ask(new ControlOrder(ControlVerb.Key) { Text = "nonsense" }, s_patience)).Message);
    }

    [Fact]
    public async Task Text_is_waited_for_until_it_comes_or_who_waits_goes()
    {
        using (ControlClient client = ControlClient.Connect(_entry))
        {
            Assert.Equal("it is found", client.Ask(new ControlOrder(ControlVerb.Expect) { Text = "found", Seconds = 60 }, s_patience).Found!.Line);
        }

        using (ControlClient client = ControlClient.Connect(_entry))
        {
            Assert.Null(client.Ask(new ControlOrder(ControlVerb.Expect) { Text = "never", Seconds = 0 }, s_patience).Found);
        }

        using (ControlClient client = ControlClient.Connect(_entry))
        {
            Assert.Null(client.TryAsk(new ControlOrder(ControlVerb.Expect) { Text = "never", Seconds = 600 }, TimeSpan.FromMilliseconds(50)));
        }

        await _machine.GivenUp.Task.WaitAsync(s_patience, TestContext.Current.CancellationToken);
    }

    [Fact]
    public void Status_stop_and_kill_are_obeyed()
    {
        using ControlClient client = ControlClient.Connect(_entry);
        Assert.Equal(_machine.Record with { Disks = [], Networks = [], Forwards = [] }, client.Ask(ControlVerb.Status).Machine! with { Disks = [], Networks = [], Forwards = [] });
        client.Ask(ControlVerb.Stop);
        client.Ask(ControlVerb.Stop);
        Assert.Equal(2, _machine.Presses);
        Assert.False(_machine.Ended.IsCompleted);
        client.Ask(ControlVerb.Kill);
        Assert.True(_machine.Ended.IsCompleted);
    }

    [Fact]
    public void The_balloon_answers_with_its_figures_or_a_sentence()
    {
        using ControlClient client = ControlClient.Connect(_entry);
        Assert.Equal(7ul, client.Ask(new ControlOrder(ControlVerb.Balloon), s_patience).Balloon!.Target);
        BalloonStatistics figures = client.Ask(new ControlOrder(ControlVerb.Balloon, Target: 64, Collect: true), s_patience).Balloon!;
        Assert.Equal((64ul, 3ul), (figures.Target, figures.Hinted));
        var refusal = Assert.Throws<VivariumException>(() => client.Ask(new ControlOrder(ControlVerb.Balloon, Target: 65), s_patience));
        Assert.Contains("there is not so much memory", refusal.Message);
        Assert.True(client.Ask(ControlVerb.Status).Ok);
    }

    [Fact]
    public void A_picture_comes_behind_its_answer()
    {
        using ControlClient client = ControlClient.Connect(_entry);
        Assert.Throws<VivariumException>(() => client.Ask(ControlVerb.Screenshot));
        _machine.Picture = [.. Enumerable.Range(0, 300_000).Select(i => (byte)i)];
        int length = client.Ask(ControlVerb.Screenshot).Length!.Value;
        Assert.Equal(_machine.Picture, client.ReceiveBytes(length, s_patience));
        Assert.True(client.Ask(ControlVerb.Status).Ok);
    }

    [Fact]
    public void The_machine_measures_as_long_as_somebody_who_asked_for_statistics_is_there()
    {
        using ControlClient one = ControlClient.Connect(_entry), two = ControlClient.Connect(_entry);
        one.Ask(ControlVerb.Status);
        Assert.Equal(0, _machine.Measurements);
        Assert.NotNull(one.Ask(ControlVerb.Statistics).Statistics!.Total.Exits);
        one.Ask(ControlVerb.Statistics);
        Assert.Equal(1, _machine.Measurements);
        two.Ask(ControlVerb.Statistics);
        Assert.Equal(2, _machine.Measurements);
        one.Dispose();
        Eventually(() => _machine.Measurements == 1);
        two.Dispose();
        Eventually(() => _machine.Measurements == 0);
    }

    [Fact]
    public void Whoever_waits_is_told_the_end()
    {
        using ControlClient client = ControlClient.Connect(_entry);
        Assert.Null(client.Ask(ControlVerb.Wait).Ended);
        Assert.Null(client.Receive(TimeSpan.FromMilliseconds(50)));
        _machine.End(new EndRecord(3, "the guest crashed"));
        Assert.Equal(new EndRecord(3, "the guest crashed"), client.Receive(s_patience)!.Ended);
    }

    [Fact]
    public void Several_consoles_see_history_and_the_present_and_can_all_type()
    {
        _machine.Console.Write("before "u8);
        using ControlClient one = Console(), two = Console();
        _machine.Console.Write("after"u8);
        Assert.Equal("before after", Read(one, 12));
        Assert.Equal("before after", Read(two, 12));
        one.Socket.Send("a"u8);
        Eventually(() => _machine.Typed == "a");
        two.Socket.Send("b"u8);
        Eventually(() => _machine.Typed == "ab");
        one.Dispose();
        _machine.Console.Write("!"u8);
        Assert.Equal("!", Read(two, 1));
        _machine.Kill();
        Assert.Equal("", Read(two, 1));
    }

    [Fact]
    public void Keys_in_the_same_packet_as_the_request_are_not_lost()
    {
        using Socket socket = Connect();
        socket.Send("{\"request\":\"console\"}\nhello"u8);
        Eventually(() => _machine.Typed == "hello");
    }

    [Fact]
    public void A_console_that_does_not_read_stops_nobody()
    {
        using ControlClient slow = Console(), quick = Console();
        byte[] block = Encoding.ASCII.GetBytes(new string('x', 16 * 1024));
        for (int i = 0; i < 500; i++)
        {
            _machine.Console.Write(block);
        }

        // 8 MB through a ring of 64 KiB: the last bytes are there, whatever the slow one has not read.
        _machine.Console.Write("the end"u8);
        string seen = "";
        Eventually(() => (seen += Read(quick, 1)).EndsWith("the end", StringComparison.Ordinal));
        using ControlClient other = ControlClient.Connect(_entry);
        Assert.NotNull(other.Ask(ControlVerb.Status).Machine);
    }

    [Fact]
    public void A_guest_that_takes_no_keys_does_not_stop_its_other_clients()
    {
        _machine.Deaf = true;
        using ControlClient typist = Console();
        typist.Socket.Send(new byte[10_000]);
        using ControlClient other = ControlClient.Connect(_entry);
        other.Ask(ControlVerb.Stop);
        Assert.Equal(1, _machine.Presses);
        _machine.Deaf = false;
        Eventually(() => _machine.Typed.Length == 10_000);
    }

    [Fact]
    public void A_request_may_come_in_pieces_and_several_at_once()
    {
        using Socket socket = Connect();
        foreach (byte piece in "{\"request\":\"stop\"}\n{\"request\":"u8.ToArray())
        {
            socket.Send([piece]);
        }

        Assert.Contains("\"ok\":true", Line(socket));
        socket.Send("\"stop\"}\n{\"request\":\"stop\"}\nrubbish\n"u8);
        Assert.Contains("\"ok\":true", Line(socket));
        Assert.Contains("\"ok\":true", Line(socket));
        Assert.Contains("\"ok\":false", Line(socket));
        Assert.Equal(3, _machine.Presses);
    }

    [Fact]
    public void A_line_without_end_is_cut_off_in_words()
    {
        using Socket socket = Connect();
        socket.Send(new byte[ControlRequest.LongestLine + 1]);
        Assert.Contains("4096 bytes at most", Line(socket));
        Assert.Equal(0, socket.Receive(new byte[1]));
    }

    [Fact]
    public void Silent_clients_leave_room_for_others_and_too_many_are_told()
    {
        List<Socket> silent = [.. Enumerable.Range(0, 90).Select(_ => Connect())];
        using ControlClient client = ControlClient.Connect(_entry);
        Assert.NotNull(client.Ask(ControlVerb.Status).Machine);
        silent.AddRange(Enumerable.Range(0, 20).Select(_ => Connect()));
        Assert.Contains("too many clients", Line(silent[^1]));
        silent.ForEach(socket => socket.Dispose());
        Eventually(() => Answers());
    }

    [Fact]
    public void Consoles_never_take_all_the_places()
    {
        List<ControlClient> consoles = [.. Enumerable.Range(0, 64).Select(_ => Console())];
        using (ControlClient refused = ControlClient.Connect(_entry))
        {
            Assert.Contains("too many consoles", Assert.Throws<VivariumException>(() => refused.Ask(ControlVerb.Console)).Message);
        }

        Assert.True(Answers());
        consoles.ForEach(console => console.Dispose());
        Eventually(() =>
        {
            try
            {
                Console().Dispose();
                return true;
            }
            catch (VivariumException)
            {
                return false;
            }
        });
    }

    [Fact]
    public void Random_bytes_are_survived()
    {
        // Nothing that ends the machine or turns the line into a console can come out of it: letters are left out.
        var random = new Random(7);
        const string Alphabet = "{}[]\":,\\0123456789 \t\u0001\u007f";
        for (int i = 0; i < FuzzCases;)
        {
            using Socket socket = Connect();
            for (int lines = random.Next(1, 200); lines > 0 && i < FuzzCases; lines--, i++)
            {
                string line = string.Concat(Enumerable.Range(0, random.Next(64)).Select(_ => Alphabet[random.Next(Alphabet.Length)]));
                socket.Send(Encoding.ASCII.GetBytes(line + "\n"));
                Assert.Contains("\"ok\":false", Line(socket));
            }

            // And it goes without a farewell, in the middle of a line.
            socket.Send("{\"request\":\"ki"u8);
        }

        Assert.True(Answers());
        Assert.False(_machine.Ended.IsCompleted);
    }

    [Fact]
    public async Task A_path_longer_than_an_address_works()
    {
        string folder = Directory.CreateDirectory(Path.Combine(_scratch.Folder, new string('x', 100), new string('y', 100))).FullName;
        var entry = new MachineEntry("fake", folder, null);
        ControlServer server = new(entry.Socket, _machine);
        server.Open();
        using (ControlClient client = ControlClient.Connect(entry))
        {
            Assert.NotNull(client.Ask(ControlVerb.Status).Machine);
        }

        await server.DisposeAsync().AsTask().WaitAsync(s_patience, TestContext.Current.CancellationToken);
    }

    private bool Answers()
    {
        try
        {
            using ControlClient client = ControlClient.Connect(_entry);
            return client.Ask(ControlVerb.Status).Ok;
        }
        catch (VivariumException)
        {
            return false;
        }
    }

    private ControlClient Console()
    {
        ControlClient client = ControlClient.Connect(_entry);
        try
        {
            client.Ask(ControlVerb.Console);
            return client;
        }
        catch
        {
            client.Dispose();
            throw;
        }
    }

    private Socket Connect()
    {
        Socket socket = ControlSocket.Connect(_entry.Socket, s_patience);
        socket.ReceiveTimeout = (int)s_patience.TotalMilliseconds;
        return socket;
    }

    private static string Read(ControlClient client, int atLeast)
    {
        client.Socket.ReceiveTimeout = (int)s_patience.TotalMilliseconds;
        byte[] buffer = new byte[64 * 1024];
        int length = 0;
        while (length < atLeast && client.Socket.Receive(buffer.AsSpan(length)) is > 0 and int count)
        {
            length += count;
        }

        return Encoding.ASCII.GetString(buffer, 0, length);
    }

    private static string Line(Socket socket)
    {
        var line = new StringBuilder();
        byte[] one = new byte[1];
        while (socket.Receive(one) == 1 && one[0] != '\n')
        {
            _ = line.Append((char)one[0]);
        }

        return line.ToString();
    }

    private static void Eventually(Func<bool> true_)
    {
        long end = Environment.TickCount64 + (long)s_patience.TotalMilliseconds;
        while (!true_())
        {
            Assert.True(Environment.TickCount64 < end, "it did not come to pass");
            Thread.Sleep(5);
        }
    }
}
