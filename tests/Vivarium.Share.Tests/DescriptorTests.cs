using Microsoft.Win32.SafeHandles;
using Vivarium.Share.Host;
using Vivarium.Share.Nodes;
using Vivarium.Share.Protocol;
using static Vivarium.Share.Tests.Guest;

namespace Vivarium.Share.Tests;

/// <summary>However much a guest looks at and opens, this process holds no more descriptors than it should.</summary>
public sealed class DescriptorTests : IDisposable
{
    private const int Limit = FuseServer.LeastDescriptors;
    private const int Files = 10 * Limit;

    private readonly TemporaryFolder _folder = new();
    private readonly FuseServer _server;
    private readonly Guest _guest;

    public DescriptorTests()
    {
        _server = FuseServer.Open(_folder.Path, isReadOnly: false, Limit);
        _guest = new Guest(_server);
        _ = _guest.Initialize();
    }

    public void Dispose()
    {
        _server.Dispose();
        _folder.Dispose();
    }

    [Fact]
    public void Files_beyond_the_limit_are_found_again_by_their_names()
    {
        ulong[] nodes = new ulong[Files];
        for (int i = 0; i < Files; i++)
        {
            File.WriteAllText(_folder[$"{i}"], $"{i}");
            nodes[i] = _guest.Find($"{i}");
            Assert.InRange(_server.Session.Descriptors, 1, Limit);
        }

        for (int i = 0; i < Files; i++)
        {
            (int error, ulong handle) = _guest.Open(nodes[i]);
            Assert.Equal(0, error);
            Assert.Equal($"{i}", System.Text.Encoding.ASCII.GetString(_guest.Read(handle, 0, 10).Data));
            _ = _guest.Must(FuseOpcode.Release, nodes[i], [.. Bytes(handle), .. new byte[16]]);
            Assert.InRange(_server.Session.Descriptors, 1, Limit);
        }

        foreach (ulong node in nodes)
        {
            _guest.Forget(node, 1);
        }

        Assert.Equal((1, 0), (_server.Session.Nodes, _server.Session.Descriptors));
    }

    [Fact]
    public void What_the_guest_has_moved_is_found_where_it_is_now()
    {
        File.WriteAllText(_folder["first"], "first");
        Directory.CreateDirectory(_folder["d"]);
        ulong folder = _guest.Find("d");
        ulong node = _guest.Find("first");
        _ = _guest.Must(FuseOpcode.Rename, Root, [.. Bytes(folder), .. Name("first"), .. Name("moved")]);
        PushOut();
        Assert.Equal(5ul, _guest.Must<AttrOut>(FuseOpcode.GetAttr, node, new byte[16]).Attributes.Size);
    }

    [Fact]
    public void What_the_host_has_moved_or_replaced_is_stale_until_it_is_looked_up()
    {
        File.WriteAllText(_folder["first"], "first");
        ulong node = _guest.Find("first");
        PushOut();
        File.Move(_folder["first"], _folder["second"]);
        Assert.Equal(Errno.Stale, _guest.Error(FuseOpcode.GetAttr, node, new byte[16]));
        File.WriteAllText(_folder["first"], "another");
        Assert.Equal(Errno.Stale, _guest.Open(node).Error);
        Assert.Equal(node, _guest.Find("second"));
        Assert.Equal(0, _guest.Open(node).Error);
    }

    [Fact]
    public void A_link_in_the_place_of_a_file_that_was_put_away_is_not_followed()
    {
        File.WriteAllText(_folder["first"], "first");
        ulong node = _guest.Find("first");
        PushOut();
        File.Delete(_folder["first"]);
        File.CreateSymbolicLink(_folder["first"], Path.Combine(_folder.Outside, "secret"));
        Assert.Equal(Errno.Stale, _guest.Open(node).Error);
    }

    [Fact]
    public void Open_files_and_folders_beyond_the_limit_are_refused()
    {
        File.WriteAllText(_folder["f"], "");
        ulong node = _guest.Find("f");
        List<ulong> handles = [];
        int error;
        while (true)
        {
            (error, ulong handle) = _guest.Open(node);
            if (error != 0)
            {
                break;
            }

            handles.Add(handle);
        }

        Assert.Equal(Errno.TooManyFilesInSystem, error);
        Assert.Equal(Limit - 1, handles.Count);
        Assert.Equal(Errno.TooManyFilesInSystem, _guest.Create(Root, "g").Error);
        _ = _guest.Must(FuseOpcode.Release, node, [.. Bytes(handles[0]), .. new byte[16]]);
        Assert.Equal(0, _guest.Open(node).Error);

        _server.Reset();
        for (int i = 0; i < Limit; i++)
        {
            _ = _guest.Must(FuseOpcode.MkDir, Root, [.. Bytes(0x1C0), .. Bytes(0), .. Name($"d{i}")]);
        }

        Assert.Equal(Errno.TooManyFilesInSystem, _guest.Error(FuseOpcode.MkDir, Root, [.. Bytes(0x1C0), .. Bytes(0), .. Name("last")]));
        Assert.Equal(Errno.TooManyFilesInSystem, _guest.Lookup(Root, "f").Error);
        Assert.Equal(Limit, _server.Session.Descriptors);
    }

    [Fact]
    public void A_node_is_known_until_every_lookup_is_forgotten()
    {
        File.WriteAllText(_folder["f"], "");
        ulong node = _guest.Find("f");
        Assert.Equal(node, _guest.Find("f"));
        _guest.Forget(node, 1);
        _ = _guest.Must(FuseOpcode.GetAttr, node, new byte[16]);
        _guest.Forget(node, ulong.MaxValue);
        Assert.Equal(Errno.Stale, _guest.Error(FuseOpcode.GetAttr, node, new byte[16]));
        _guest.Forget(Root, ulong.MaxValue);
        _ = _guest.Must(FuseOpcode.GetAttr, Root, new byte[16]);
    }

    [Fact]
    public void Many_nodes_are_forgotten_at_once()
    {
        List<byte> batch = [.. Bytes(1000), .. Bytes(0)];
        for (int i = 0; i < 1000; i++)
        {
            File.WriteAllText(_folder[$"{i}"], "");
            batch.AddRange([.. Bytes(_guest.Find($"{i}")), .. Bytes(1ul)]);
        }

        Assert.Equal(1001, _server.Session.Nodes);
        Assert.Empty(_guest.Must(FuseOpcode.BatchForget, 0, [.. batch]));
        Assert.Equal(1, _server.Session.Nodes);

        // A count beyond the list, and none of it.
        Assert.Empty(_guest.Must(FuseOpcode.BatchForget, 0, [.. Bytes(uint.MaxValue), .. new byte[20]]));
        Assert.Empty(_guest.Must(FuseOpcode.BatchForget, 0));
    }

    [Fact]
    public void Nodes_have_a_limit_too()
    {
        using SafeFileHandle root = File.OpenHandle("/dev/null");
        var status = default(FileStatus);
        var session = new Session(root, status, Limit, mostNodes: 5);
        int Remember() => session.Remember(File.OpenHandle("/dev/null"), status with { Inode = ++status.Inode }, Session.RootId, "name\0"u8, out _);
        for (int i = 0; i < 4; i++)
        {
            Assert.Equal(0, Remember());
        }

        Assert.Equal(Errno.TooManyFilesInSystem, Remember());
        session.Forget(2, 1);
        Assert.Equal(0, Remember());
        session.Clear();
        Assert.Equal((1, 0), (session.Nodes, session.Descriptors));
    }

    /// <summary>Looks at so many others that descriptors of idle nodes are put away.</summary>
    private void PushOut()
    {
        for (int i = 0; i < 2 * Limit; i++)
        {
            File.WriteAllText(_folder[$"other{i}"], "");
            _ = _guest.Find($"other{i}");
        }
    }
}
