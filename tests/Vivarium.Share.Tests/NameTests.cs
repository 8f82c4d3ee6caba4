using System.Runtime.InteropServices;
using Vivarium.Share.Host;
using Vivarium.Share.Protocol;
using static Vivarium.Share.Tests.Guest;

namespace Vivarium.Share.Tests;

/// <summary>Finding, making, moving and removing.</summary>
public sealed class NameTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();
    private readonly FuseServer _server;
    private readonly Guest _guest;

    public NameTests()
    {
        _server = FuseServer.Open(_folder.Path, isReadOnly: false, descriptors: 100);
        _guest = new Guest(_server);
        _ = _guest.Initialize();
    }

    public void Dispose()
    {
        _server.Dispose();
        _folder.Dispose();
    }

    [Fact]
    public void What_the_host_has_is_found()
    {
        Directory.CreateDirectory(_folder["d/e"]);
        File.WriteAllText(_folder["d/e/f"], "hello");
        ulong folder = _guest.Find("d", "e");
        (int error, EntryOut entry) = _guest.Lookup(folder, "f");
        Assert.Equal(0, error);
        Assert.Equal(5ul, entry.Attributes.Size);
        Assert.Equal((uint)FileType.Regular, entry.Attributes.Mode & 0xF000);
        Assert.Equal(1u, entry.Attributes.Links);
        Assert.Equal(Errno.NoEntry, _guest.Lookup(folder, "g").Error);
        Assert.Equal(Errno.NotDirectory, _guest.Lookup(entry.Node, "x").Error);
    }

    [Fact]
    public void The_same_file_has_the_same_number_under_all_its_names()
    {
        File.WriteAllText(_folder["a"], "");
        ulong node = _guest.Find("a");
        EntryOut linked = _guest.Must<EntryOut>(FuseOpcode.Link, Root, [.. Bytes(node), .. Name("b")]);
        Assert.Equal(node, linked.Node);
        Assert.Equal(2u, linked.Attributes.Links);
        Assert.Equal(node, _guest.Find("b"));
        Assert.Equal(Errno.Exists, _guest.Error(FuseOpcode.Link, Root, [.. Bytes(node), .. Name("b")]));
        ulong folder = _guest.Must<EntryOut>(FuseOpcode.MkDir, Root, [.. Bytes(0x1ED), .. Bytes(0), .. Name("d")]).Node;
        Assert.Equal(Errno.Permission, _guest.Error(FuseOpcode.Link, Root, [.. Bytes(folder), .. Name("e")]));
    }

    [Fact]
    public void A_symbolic_link_is_text_and_can_be_linked_to()
    {
        EntryOut link = _guest.Must<EntryOut>(FuseOpcode.Symlink, Root, [.. Name("l"), .. Name("any/../thing")]);
        Assert.Equal((uint)FileType.SymbolicLink, link.Attributes.Mode & 0xF000);
        Assert.Equal("any/../thing"u8.ToArray(), _guest.Must(FuseOpcode.ReadLink, link.Node));
        Assert.Equal("any/../thing", new FileInfo(_folder["l"]).LinkTarget);
        EntryOut second = _guest.Must<EntryOut>(FuseOpcode.Link, Root, [.. Bytes(link.Node), .. Name("m")]);
        Assert.Equal(link.Node, second.Node);
        Assert.Equal("any/../thing", new FileInfo(_folder["m"]).LinkTarget);
        Assert.Equal(Errno.Invalid, _guest.Error(FuseOpcode.ReadLink, Root));
        Assert.Equal(Errno.NotSupported, SetMode(link.Node, 0x1ED).Error);
    }

    [Fact]
    public void A_link_as_long_as_can_be_is_made_and_a_longer_one_refused()
    {
        string longest = new('x', 4095);
        ulong node = _guest.Must<EntryOut>(FuseOpcode.Symlink, Root, [.. Name(new string('n', 255)), .. Name(longest)]).Node;
        Assert.Equal(4095, _guest.Must(FuseOpcode.ReadLink, node).Length);
        Assert.Equal(Errno.NameTooLong, _guest.Error(FuseOpcode.Symlink, Root, [.. Name("m"), .. Name(longest + "x")]));
        Assert.Equal(Errno.NameTooLong, _guest.Error(FuseOpcode.Symlink, Root, [.. Name("m"), .. "not ended"u8]));
        Assert.Equal(Errno.NoEntry, _guest.Error(FuseOpcode.Symlink, Root, [.. Name("m"), 0]));
    }

    [Fact]
    public void Files_are_moved_exchanged_and_not_replaced_when_asked_so()
    {
        File.WriteAllText(_folder["a"], "a");
        File.WriteAllText(_folder["b"], "b");
        Directory.CreateDirectory(_folder["d"]);
        ulong folder = _guest.Find("d");
        ulong a = _guest.Find("a");
        _ = _guest.Must(FuseOpcode.Rename, Root, [.. Bytes(folder), .. Name("a"), .. Name("c")]);
        Assert.Equal("a", File.ReadAllText(_folder["d/c"]));
        Assert.Equal(a, _guest.Find("d", "c"));
        Assert.Equal(Errno.Exists, _guest.Error(FuseOpcode.Rename2, Root, [.. Bytes(folder), .. Bytes(1), .. Bytes(0), .. Name("b"), .. Name("c")]));
        _ = _guest.Must(FuseOpcode.Rename2, Root, [.. Bytes(folder), .. Bytes(2), .. Bytes(0), .. Name("b"), .. Name("c")]);
        Assert.Equal("a", File.ReadAllText(_folder["b"]));
        Assert.Equal("b", File.ReadAllText(_folder["d/c"]));

        // A whiteout would be a device.
        Assert.Equal(Errno.Invalid, _guest.Error(FuseOpcode.Rename2, Root, [.. Bytes(folder), .. Bytes(4), .. Bytes(0), .. Name("b"), .. Name("x")]));
    }

    [Fact]
    public void Files_and_folders_are_removed_each_by_its_own_request()
    {
        File.WriteAllText(_folder["f"], "");
        ulong folder = _guest.Must<EntryOut>(FuseOpcode.MkDir, Root, [.. Bytes(0x1C0), .. Bytes(0), .. Name("d")]).Node;
        Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute, File.GetUnixFileMode(_folder["d"]));
        _ = _guest.Must(FuseOpcode.MkNod, folder, [.. Bytes((uint)FileType.Regular | 0x180), .. new byte[12], .. Name("g")]);
        Assert.Equal(Errno.IsDirectory, _guest.Error(FuseOpcode.Unlink, Root, Name("d")));
        Assert.Equal(Errno.NotDirectory, _guest.Error(FuseOpcode.RmDir, Root, Name("f")));
        const int notEmpty = 39;
        Assert.Equal(notEmpty, _guest.Error(FuseOpcode.RmDir, Root, Name("d")));
        _ = _guest.Must(FuseOpcode.Unlink, folder, Name("g"));
        _ = _guest.Must(FuseOpcode.RmDir, Root, Name("d"));
        _ = _guest.Must(FuseOpcode.Unlink, Root, Name("f"));
        Assert.Empty(Directory.EnumerateFileSystemEntries(_folder.Path));
    }

    [Fact]
    public void Mode_size_and_times_are_changed_and_the_owner_stays()
    {
        File.WriteAllText(_folder["f"], "0123456789");
        ulong node = _guest.Find("f");
        AttrOut told = SetMode(node, 0x180).Told;
        Assert.Equal(0x180u, told.Attributes.Mode & 0xFFF);
        told = Set(node, new() { Valid = AttributeMask.Size, Size = 4 }).Told;
        Assert.Equal(4ul, told.Attributes.Size);
        told = Set(node, new() { Valid = AttributeMask.Modified, ModifiedSeconds = 1_000_000_000, ModifiedNanoseconds = 5 }).Told;
        Assert.Equal((1_000_000_000ul, 5u), (told.Attributes.ModifiedSeconds, told.Attributes.ModifiedNanoseconds));
        told = Set(node, new() { Valid = AttributeMask.Modified | AttributeMask.ModifiedNow }).Told;
        Assert.True(told.Attributes.ModifiedSeconds > 1_500_000_000);
        uint owner = told.Attributes.User;
        told = Set(node, new() { Valid = AttributeMask.User | AttributeMask.Group, User = 4711, Group = 4711 }).Told;
        Assert.Equal(owner, told.Attributes.User);
        Assert.Equal("0123", File.ReadAllText(_folder["f"]));
        Assert.Equal(Errno.Invalid, Set(node, new() { Valid = AttributeMask.Size, Size = ulong.MaxValue }).Error);
        Assert.Equal(Errno.Invalid, Set(Root, new() { Valid = AttributeMask.Size, Size = 0 }).Error);
        Assert.Equal(Errno.Invalid, Set(node, new() { Valid = AttributeMask.Accessed, AccessedNanoseconds = uint.MaxValue }).Error);
    }

    [Fact]
    public void A_links_own_times_are_changed_not_those_of_what_it_names()
    {
        File.WriteAllText(_folder["f"], "");
        DateTime before = File.GetLastWriteTimeUtc(_folder["f"]);
        ulong link = _guest.Must<EntryOut>(FuseOpcode.Symlink, Root, [.. Name("l"), .. Name("f")]).Node;
        AttrOut told = Set(link, new() { Valid = AttributeMask.Modified, ModifiedSeconds = 1_000_000_000 }).Told;
        Assert.Equal(1_000_000_000ul, told.Attributes.ModifiedSeconds);
        Assert.Equal(before, File.GetLastWriteTimeUtc(_folder["f"]));
    }

    [Fact]
    public void The_file_system_tells_its_size()
    {
        StatFsOut told = _guest.Must<StatFsOut>(FuseOpcode.StatFs, Root);
        Assert.NotEqual(0ul, told.Blocks);
        Assert.Equal(255u, told.NameLength);
    }

    [Fact]
    public void Access_asks_for_what_this_user_may()
    {
        File.WriteAllText(_folder["f"], "");
        File.SetUnixFileMode(_folder["f"], UnixFileMode.UserRead);
        ulong node = _guest.Find("f");
        _ = _guest.Must(FuseOpcode.Access, node, [.. Bytes(4), .. Bytes(0)]);
        Assert.Equal(Errno.Access, _guest.Error(FuseOpcode.Access, node, [.. Bytes(1), .. Bytes(0)]));
        Assert.Equal(Errno.Invalid, _guest.Error(FuseOpcode.Access, node, [.. Bytes(8), .. Bytes(0)]));
    }

    private (int Error, AttrOut Told) SetMode(ulong node, uint mode) => Set(node, new() { Valid = AttributeMask.Mode, Mode = mode });

    private (int Error, AttrOut Told) Set(ulong node, SetAttrIn arguments)
    {
        (int error, byte[] body) = _guest.Ask(FuseOpcode.SetAttr, node, Bytes(arguments));
        return (error, error == 0 ? MemoryMarshal.Read<AttrOut>(body) : default);
    }
}
