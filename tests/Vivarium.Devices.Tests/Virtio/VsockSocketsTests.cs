using System.Net.Sockets;

namespace Vivarium.Devices.Tests;

/// <summary>The path at which a socket device listens.</summary>
public sealed class VsockSocketsTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("vsock-").FullName;

    private string Path => System.IO.Path.Combine(_folder, "v");

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Fact]
    public void The_socket_is_there_until_the_end()
    {
        using (VsockSockets.Open(Path))
            Assert.True(File.Exists(Path));
        Assert.False(File.Exists(Path));
    }

    /// <summary>The end comes at any moment of the thread's being woken for something else.</summary>
    [Fact]
    public async Task The_end_is_not_missed_when_there_is_work_too()
    {
        const int rounds = 3000;
        var ends = Task.Run(
            () =>
            {
                for (var round = 0; round < rounds; round++)
                {
                    using var sockets = VsockSockets.Open(Path);
                    sockets.Wake();
                    Thread.SpinWait(round % 1000);
                }
            },
            TestContext.Current.CancellationToken);
        await ends.WaitAsync(TimeSpan.FromMinutes(1), TestContext.Current.CancellationToken);
    }

    [Fact]
    public void A_socket_that_a_dead_process_has_left_is_replaced()
    {
        // Bound and closed, but not removed: as after SIGKILL.
        using (var dead = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified))
        {
            dead.Bind(new UnixDomainSocketEndPoint(Path + ".new"));
            dead.Listen();
            File.Move(Path + ".new", Path);
        }

        Assert.True(File.Exists(Path));
        using var sockets = VsockSockets.Open(Path);
        using var client = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        client.Connect(new UnixDomainSocketEndPoint(Path));
    }

    [Fact]
    public void A_path_in_use_is_left_alone()
    {
        using var first = VsockSockets.Open(Path);
        Refused("in use by another process");
        using var client = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        client.Connect(new UnixDomainSocketEndPoint(Path));
    }

    [Fact]
    public void What_is_no_socket_is_left_alone()
    {
        File.WriteAllText(Path, "precious");
        Refused("is no socket");
        Assert.Equal("precious", File.ReadAllText(Path));
        File.Delete(Path);
        Directory.CreateDirectory(Path);
        Refused("is no socket");
        Directory.Delete(Path);
        File.CreateSymbolicLink(Path, "/nowhere");
        Refused("is no socket");
    }

    [Fact]
    public void A_path_that_cannot_be_is_refused()
    {
        Assert.Contains("no folder", Refusal(System.IO.Path.Combine(_folder, "missing", "v")), StringComparison.Ordinal);
        Assert.Contains("too long", Refusal(System.IO.Path.Combine(_folder, new string('x', 100))), StringComparison.Ordinal);
        Assert.Contains("names a folder", Refusal(_folder + "/"), StringComparison.Ordinal);
        Assert.Contains("zero byte", Refusal(Path + "\0"), StringComparison.Ordinal);
        File.WriteAllText(Path, "");
        Assert.Contains("no folder", Refusal(System.IO.Path.Combine(Path, "v")), StringComparison.Ordinal);
    }

    private void Refused(string why) => Assert.Contains(why, Refusal(Path), StringComparison.Ordinal);

    private static string Refusal(string path)
    {
        var sentence = Assert.Throws<IOException>(() => VsockSockets.Open(path)).Message;
        Assert.DoesNotContain('\n', sentence);
        return sentence;
    }
}
