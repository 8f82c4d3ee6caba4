using Vivarium.Share.Host;
using Vivarium.Share.Protocol;
using static Vivarium.Share.Tests.Guest;

namespace Vivarium.Share.Tests;

/// <summary>Versions, lengths and whatever else is about requests as such.</summary>
public sealed unsafe class ProtocolTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();
    private readonly FuseServer _server;
    private readonly Guest _guest;

    public ProtocolTests()
    {
        _server = FuseServer.Open(_folder.Path, isReadOnly: false, descriptors: 100);
        _guest = new Guest(_server);
    }

    public void Dispose()
    {
        _server.Dispose();
        _folder.Dispose();
    }

    [Fact]
    public void Sides_agree_on_a_version_and_features()
    {
        InitOut agreed = _guest.Initialize();
        Assert.Equal((7u, 38u), (agreed.Major, agreed.Minor));
        Assert.Equal(1u << 20, agreed.MaxWrite);
        Assert.Equal(256, agreed.MaxPages);

        // Neither locks nor anything else that there are no answers for.
        const InitFlags locks = (InitFlags)((1 << 1) | (1 << 10));
        Assert.Equal((InitFlags)0, agreed.Flags & locks);
        Assert.NotEqual((InitFlags)0, agreed.Flags & InitFlags.ReadDirPlus);
        Assert.Equal((InitFlags)0, _guest.Initialize(flags: 0).Flags);
    }

    [Theory]
    [InlineData(6, 38)]
    [InlineData(7, 30)]
    [InlineData(0, 0)]
    public void A_version_that_is_too_old_is_refused(uint major, uint minor) =>
        Assert.Equal(Errno.Protocol, _guest.Error(FuseOpcode.Init, 0, [.. Bytes(major), .. Bytes(minor), .. Bytes(0), .. Bytes(0)]));

    [Fact]
    public void A_newer_major_version_is_asked_to_come_again()
    {
        InitOut agreed = _guest.Initialize(major: 8, minor: 1);
        Assert.Equal(7u, agreed.Major);
        Assert.Equal(0u, agreed.MaxWrite);
    }

    [Theory]
    [InlineData(24)]
    [InlineData(21)]
    [InlineData(22)]
    [InlineData(31)]
    [InlineData(39)]
    [InlineData(40)]
    [InlineData(48)]
    [InlineData(51)]
    [InlineData(4096)]
    [InlineData(uint.MaxValue)]
    public void What_there_is_no_answer_for_is_said(uint opcode) => Assert.Equal(Errno.NotImplemented, _guest.Error((FuseOpcode)opcode, Root, new byte[64]));

    [Fact]
    public void Every_argument_list_that_is_too_short_is_refused()
    {
        foreach (FuseOpcode opcode in Enum.GetValues<FuseOpcode>())
        {
            if (opcode is FuseOpcode.Forget or FuseOpcode.BatchForget or FuseOpcode.Interrupt or FuseOpcode.NotifyReply
                or FuseOpcode.Destroy or FuseOpcode.StatFs or FuseOpcode.SyncFs or FuseOpcode.ReadLink)
            {
                continue;
            }

            Assert.True(_guest.Error(opcode, Root) == Errno.Invalid, $"{opcode}");
            Assert.NotEqual(0, _guest.Error(opcode, Root, new byte[3]));
        }
    }

    [Theory]
    [InlineData(0)]
    [InlineData(39)]
    [InlineData(1_000_000)]
    [InlineData(uint.MaxValue)]
    public void A_length_that_cannot_be_is_refused(uint length)
    {
        var header = new InHeader { Length = length, Opcode = FuseOpcode.GetAttr, Unique = 7, Node = Root };
        byte[] request = [.. Bytes(header), .. new byte[16]];
        byte[] answer = new byte[200];
        fixed (byte* from = request, to = answer)
        {
            Assert.True(_server.TryServe([new(from, (nuint)request.Length)], [new(to, 200)], mayWait: true, out uint written));
            Assert.Equal(16u, written);
        }

        Assert.Equal(-Errno.Invalid, BitConverter.ToInt32(answer, 4));
    }

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(39)]
    public void What_has_no_header_gets_no_answer(int length)
    {
        byte[] bytes = new byte[100];
        fixed (byte* pointer = bytes)
        {
            Assert.True(_server.TryServe([new(pointer, (nuint)length)], [new(pointer + 40, 60)], mayWait: true, out uint written));
            Assert.Equal(0u, written);
            Assert.True(_server.TryServe([], [], mayWait: true, out written));
            Assert.Equal(0u, written);
        }

        Assert.Equal(new byte[100], bytes);
    }

    [Fact]
    public void An_answer_without_room_counts_nothing()
    {
        File.WriteAllText(_folder["a"], "a");
        for (int room = 0; room < 16 + 128; room += 8)
        {
            (int error, byte[] body) = _guest.Ask(FuseOpcode.Lookup, Root, Name("a"), room, mayWait: true)!.Value;
            Assert.Empty(body);
            Assert.True(room < 16 || error == Errno.Invalid);
            _ = _guest.Ask(FuseOpcode.Open, Root, new byte[8], Math.Min(room, 24), mayWait: true);
            _ = _guest.Ask(FuseOpcode.Create, Root, [.. Bytes(Posix.ReadWrite), .. new byte[12], .. Name("b")], room, mayWait: true);
        }

        Assert.Equal(1, _server.Session.Nodes);
        Assert.Equal(0, _server.Session.Descriptors);
        Assert.False(File.Exists(_folder["b"]));
    }

    [Theory]
    [InlineData(1)]
    [InlineData(7)]
    [InlineData(41)]
    [InlineData(4096)]
    public void Requests_and_answers_may_be_cut_anywhere(int piece)
    {
        _guest.PieceLength = piece;
        byte[] data = new byte[900];
        new Random(piece).NextBytes(data);
        _ = _guest.Initialize();
        (int error, ulong node, ulong handle) = _guest.Create(Root, "file");
        Assert.Equal(0, error);
        Assert.Equal((0, 900u), _guest.Write(handle, 5, data));
        Assert.Equal(data, File.ReadAllBytes(_folder["file"])[5..]);
        (error, byte[]? read) = _guest.Ask(FuseOpcode.Read, node, Transfer(handle, 5, 900), 916, mayWait: true)!.Value;
        Assert.Equal(0, error);
        Assert.Equal(data, read);
        Assert.Equal(["file"], _guest.List(Root).Where(name => name[0] != '.'));
    }

    [Fact]
    public void Only_what_is_cheap_is_done_at_once()
    {
        (_, ulong node, ulong handle) = _guest.Create(Root, "file");
        byte[] fsync = [.. Bytes(handle), .. new byte[8]];
        Assert.Null(_guest.Ask(FuseOpcode.FSync, node, fsync, 200, mayWait: false));
        Assert.Null(_guest.Ask(FuseOpcode.SyncFs, Root, new byte[8], 200, mayWait: false));
        Assert.Equal(0, _guest.Ask(FuseOpcode.FSync, node, fsync, 200, mayWait: true)!.Value.Error);
        Assert.Equal(0, _guest.Ask(FuseOpcode.SyncFs, Root, new byte[8], 200, mayWait: true)!.Value.Error);

        // What has just been written is in memory, and so is the file's end.
        Assert.Equal((0, 5u), _guest.Write(handle, 0, "hello"u8));
        (int Error, byte[] Body)? read = _guest.Ask(FuseOpcode.Read, node, Transfer(handle, 0, 4096), 5000, mayWait: false);
        Assert.Equal("hello"u8.ToArray(), read!.Value.Body);
    }

    [Fact]
    public void An_interrupt_and_the_farewell_are_taken()
    {
        Assert.Equal((0, []), _guest.Ask(FuseOpcode.Interrupt, 0, Bytes(1ul)));
        ulong node = Made("a");
        (_, ulong handle) = _guest.Open(node);
        _ = _guest.Must(FuseOpcode.Destroy, 0);
        Assert.Equal(0, _server.Session.Descriptors);
        Assert.Equal(Errno.Stale, _guest.Error(FuseOpcode.GetAttr, node, new byte[16]));
        Assert.Equal(Errno.BadDescriptor, _guest.Read(handle, 0, 10).Error);
        _ = _guest.Must(FuseOpcode.GetAttr, Root, new byte[16]);
    }

    [Fact]
    public void A_new_mount_knows_nothing_of_the_last_and_numbers_are_not_used_again()
    {
        ulong before = Made("a");
        _ = _guest.Initialize();
        Assert.Equal(Errno.Stale, _guest.Error(FuseOpcode.GetAttr, before, new byte[16]));
        Assert.NotEqual(before, _guest.Find("a"));
    }

    private ulong Made(string name)
    {
        File.WriteAllText(_folder[name], name);
        return _guest.Find(name);
    }
}
