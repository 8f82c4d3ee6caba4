using Vivarium.Share.Host;
using Vivarium.Share.Protocol;
using static Vivarium.Share.Tests.Guest;

namespace Vivarium.Share.Tests;

/// <summary>A share that is read-only is read, and not changed by any request.</summary>
public sealed class ReadOnlyTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();
    private readonly FuseServer _server;
    private readonly Guest _guest;

    public ReadOnlyTests()
    {
        _server = FuseServer.Open(_folder.Path, isReadOnly: true, descriptors: 100);
        _guest = new Guest(_server);
        _ = _guest.Initialize();
        File.WriteAllText(_folder["f"], "hello");
    }

    public void Dispose()
    {
        _server.Dispose();
        _folder.Dispose();
    }

    [Fact]
    public void It_is_read()
    {
        (int error, ulong handle) = _guest.Open(_guest.Find("f"));
        Assert.Equal(0, error);
        Assert.Equal("hello"u8.ToArray(), _guest.Read(handle, 0, 10).Data);
        Assert.Contains("f", _guest.List(Root));
    }

    [Fact]
    public void Nothing_changes_it()
    {
        ulong node = _guest.Find("f");
        (_, ulong handle) = _guest.Open(node);
        foreach (FuseOpcode opcode in Enum.GetValues<FuseOpcode>())
        {
            if (opcode is FuseOpcode.SetAttr or FuseOpcode.Symlink or FuseOpcode.MkNod or FuseOpcode.MkDir or FuseOpcode.Unlink or FuseOpcode.RmDir
                or FuseOpcode.Rename or FuseOpcode.Rename2 or FuseOpcode.Link or FuseOpcode.Create or FuseOpcode.FAllocate or FuseOpcode.CopyFileRange)
            {
                Assert.True(_guest.Error(opcode, Root, new byte[100]) == Errno.ReadOnly, $"{opcode}");
            }
        }

        Assert.Equal(Errno.ReadOnly, _guest.Error(FuseOpcode.Unlink, Root, Name("f")));
        Assert.Equal(Errno.ReadOnly, _guest.Write(handle, 0, "x"u8).Error);
        Assert.Equal(Errno.ReadOnly, _guest.Open(node, Posix.WriteOnly).Error);
        Assert.Equal(Errno.ReadOnly, _guest.Open(node, Posix.ReadWrite).Error);
        Assert.Equal(Errno.ReadOnly, _guest.Open(node, Posix.ReadOnly | Posix.Truncate).Error);
        Assert.Equal(Errno.ReadOnly, _guest.Error(FuseOpcode.Access, node, [.. Bytes(2), .. Bytes(0)]));
        Assert.Equal("hello", File.ReadAllText(_folder["f"]));
        Assert.Single(Directory.EnumerateFileSystemEntries(_folder.Path));
    }
}
