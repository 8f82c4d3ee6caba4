using System.Net.Sockets;
using System.Runtime.InteropServices;
using System.Text;
using Vivarium.Share.Host;
using Vivarium.Share.Protocol;
using static Vivarium.Share.Tests.Guest;

namespace Vivarium.Share.Tests;

/// <summary>Whatever a guest tries, it stays inside the folder, opens nothing but files and folders, and leaves no traps.</summary>
public sealed unsafe class EscapeTests : IDisposable
{
    private const uint SetUser = 0x800;
    private const uint SetGroup = 0x400;

    private readonly TemporaryFolder _folder = new();
    private readonly FuseServer _server;
    private readonly Guest _guest;

    public EscapeTests()
    {
        _server = FuseServer.Open(_folder.Path, isReadOnly: false, descriptors: 100);
        _guest = new Guest(_server);
        _ = _guest.Initialize();
    }

    public static TheoryData<string> BadNames => ["", ".", "..", "/", "/etc", "../outside", "a/b", "a/..", "../outside/secret"];

    public void Dispose()
    {
        _server.Dispose();
        _folder.Dispose();
    }

    [Theory]
    [MemberData(nameof(BadNames))]
    public void Only_single_names_are_taken(string name)
    {
        Directory.CreateDirectory(_folder["a"]);
        File.WriteAllText(_folder["f"], "");
        ulong file = _guest.Find("f");
        byte[] bad = Name(name);
        Assert.Equal(Errno.Invalid, _guest.Error(FuseOpcode.Lookup, Root, bad));
        Assert.Equal(Errno.Invalid, _guest.Create(Root, name).Error);
        Assert.Equal(Errno.Invalid, _guest.Error(FuseOpcode.MkNod, Root, [.. Bytes((uint)FileType.Regular), .. new byte[12], .. bad]));
        Assert.Equal(Errno.Invalid, _guest.Error(FuseOpcode.MkDir, Root, [.. new byte[8], .. bad]));
        Assert.Equal(Errno.Invalid, _guest.Error(FuseOpcode.Symlink, Root, [.. bad, .. Name("x")]));
        Assert.Equal(Errno.Invalid, _guest.Error(FuseOpcode.Link, Root, [.. Bytes(file), .. bad]));
        Assert.Equal(Errno.Invalid, _guest.Error(FuseOpcode.Unlink, Root, bad));
        Assert.Equal(Errno.Invalid, _guest.Error(FuseOpcode.RmDir, Root, bad));
        Assert.Equal(Errno.Invalid, _guest.Error(FuseOpcode.Rename, Root, [.. Bytes(Root), .. bad, .. Name("x")]));
        Assert.Equal(Errno.Invalid, _guest.Error(FuseOpcode.Rename, Root, [.. Bytes(Root), .. Name("f"), .. bad]));
        Assert.Equal(["a", "f"], Directory.EnumerateFileSystemEntries(_folder.Path).Select(Path.GetFileName).Order());
        Assert.Single(Directory.EnumerateFileSystemEntries(_folder.Outside));
    }

    [Fact]
    public void A_name_is_cut_at_nothing_and_may_not_be_too_long()
    {
        Assert.Equal(Errno.NameTooLong, _guest.Lookup(Root, new string('n', 256)).Error);
        Assert.Equal(Errno.NameTooLong, _guest.Lookup(Root, new string('n', 10_000)).Error);
        Assert.Equal(Errno.NoEntry, _guest.Lookup(Root, new string('n', 255)).Error);
        Assert.Equal(Errno.Invalid, _guest.Error(FuseOpcode.Lookup, Root, "not ended"u8));
    }

    [Theory]
    [InlineData("/etc")]
    [InlineData("..")]
    [InlineData("../outside")]
    public void A_link_is_never_followed(string target)
    {
        File.CreateSymbolicLink(_folder["l"], target);
        ulong link = _guest.Find("l");
        Assert.Equal(Encoding.UTF8.GetBytes(target), _guest.Must(FuseOpcode.ReadLink, link));
        Assert.Equal(Errno.NotDirectory, _guest.Lookup(link, "secret").Error);
        Assert.Equal(Errno.NotDirectory, _guest.Create(link, "new").Error);
        Assert.Equal(Errno.NotDirectory, _guest.Error(FuseOpcode.Rename, Root, [.. Bytes(link), .. Name("l"), .. Name("x")]));
        Assert.Equal(Errno.NotDirectory, _guest.Open(link, 0, FuseOpcode.OpenDir).Error);
        Assert.Equal(Errno.Loop, _guest.Open(link).Error);
        Assert.Equal(Errno.Loop, _guest.Create(Root, "l").Error);
        Assert.Equal(Errno.Invalid, _guest.Error(FuseOpcode.SetAttr, link, Bytes(new SetAttrIn { Valid = AttributeMask.Size })));
        Assert.Equal(target, new FileInfo(_folder["l"]).LinkTarget);
    }

    [Fact]
    public void A_link_to_a_file_outside_gives_nothing_of_it()
    {
        File.CreateSymbolicLink(_folder["l"], Path.Combine(_folder.Outside, "secret"));
        (int error, EntryOut entry) = _guest.Lookup(Root, "l");
        Assert.Equal(0, error);
        Assert.NotEqual(6ul, entry.Attributes.Size);
        Assert.Equal(Errno.Loop, _guest.Open(entry.Node).Error);
        Assert.Equal(Errno.Loop, _guest.Create(Root, "l", Posix.WriteOnly | Posix.Create | Posix.Truncate).Error);
        Assert.Equal("secret", File.ReadAllText(Path.Combine(_folder.Outside, "secret")));
    }

    [Fact]
    public void The_parent_in_a_listing_is_no_way_out()
    {
        foreach ((string name, EntryOut entry) in _guest.ListPlus(Root, 4096))
        {
            Assert.True(name is not ("." or "..") || entry.Node == 0);
        }
    }

    [Fact]
    public void Pipes_and_sockets_are_shown_and_not_opened()
    {
        fixed (byte* pipe = Name(_folder["pipe"]))
        {
            Assert.Equal(0, Posix.Mknodat(Posix.CurrentFolder, pipe, (uint)FileType.Fifo | 0x1B6, 0));
        }

        using var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        socket.Bind(new UnixDomainSocketEndPoint(_folder["socket"]));
        foreach ((string name, FileType type) in new[] { ("pipe", FileType.Fifo), ("socket", FileType.Socket) })
        {
            // Were one opened, this would wait for the other end.
            EntryOut entry = _guest.Lookup(Root, name).Entry;
            Assert.Equal((uint)type, entry.Attributes.Mode & 0xF000);
            Assert.Equal(Errno.NoDevice, _guest.Open(entry.Node).Error);
            Assert.Equal(Errno.NoDevice, _guest.Open(entry.Node, Posix.ReadWrite).Error);
            Assert.Equal(Errno.NoDevice, _guest.Create(Root, name).Error);
            Assert.Equal(Errno.Invalid, _guest.Error(FuseOpcode.SetAttr, entry.Node, Bytes(new SetAttrIn { Valid = AttributeMask.Size })));
        }
    }

    [Fact]
    public void Devices_of_the_host_are_shown_and_not_opened()
    {
        const ulong zero = (1 << 8) | 5;
        fixed (byte* name = Name(_folder["zero"]))
        {
            Assert.SkipWhen(Posix.Mknodat(Posix.CurrentFolder, name, (uint)FileType.CharacterDevice | 0x1B6, zero) != 0, "this user may make no device nodes");
        }

        EntryOut entry = _guest.Lookup(Root, "zero").Entry;
        Assert.Equal((uint)FileType.CharacterDevice, entry.Attributes.Mode & 0xF000);
        Assert.Equal((uint)zero, entry.Attributes.SpecialDevice);
        Assert.Equal(Errno.NoDevice, _guest.Open(entry.Node).Error);
        Assert.Equal(Errno.NoDevice, _guest.Create(Root, "zero").Error);
    }

    [Fact]
    public void A_guest_makes_no_devices()
    {
        foreach (FileType type in new[] { FileType.CharacterDevice, FileType.BlockDevice, FileType.Directory, FileType.SymbolicLink, (FileType)0 })
        {
            Assert.Equal(Errno.Permission, _guest.Error(FuseOpcode.MkNod, Root, [.. Bytes((uint)type | 0x1B6), .. Bytes(0x105), .. new byte[8], .. Name("d")]));
        }

        Assert.Empty(Directory.EnumerateFileSystemEntries(_folder.Path));
        _ = _guest.Must(FuseOpcode.MkNod, Root, [.. Bytes((uint)FileType.Fifo | 0x1B6), .. new byte[12], .. Name("pipe")]);
        Assert.Equal((uint)FileType.Fifo, _guest.Lookup(Root, "pipe").Entry.Attributes.Mode & 0xF000);
    }

    [Fact]
    public void A_guest_makes_nothing_that_runs_as_another_user()
    {
        const uint all = SetUser | SetGroup | 0x1ED;
        (_, ulong node, _) = _guest.Create(Root, "created", mode: all);
        Assert.Equal(0u, ModeOf("created") & (SetUser | SetGroup));
        _ = _guest.Must(FuseOpcode.MkNod, Root, [.. Bytes((uint)FileType.Regular | all), .. new byte[12], .. Name("node")]);
        Assert.Equal(0u, ModeOf("node") & (SetUser | SetGroup));
        _ = _guest.Must(FuseOpcode.SetAttr, node, Bytes(new SetAttrIn { Valid = AttributeMask.Mode, Mode = all }));
        Assert.Equal(0x1EDu, ModeOf("created"));

        // One of the host's may be there, but is none any more when the guest can change what it does.
        fixed (byte* name = Name(_folder["created"]))
        {
            Assert.Equal(0, Posix.Fchmodat(Posix.CurrentFolder, name, all, 0));
        }

        Assert.Equal(0, _guest.Open(node).Error);
        Assert.Equal(all, ModeOf("created"));
        Assert.Equal(0, _guest.Open(node, Posix.WriteOnly).Error);
        Assert.Equal(0x1EDu, ModeOf("created"));
    }

    [Fact]
    public void Numbers_that_the_guest_was_not_told_lead_nowhere()
    {
        foreach (ulong node in new ulong[] { 0, 2, 3, 1000, ulong.MaxValue })
        {
            Assert.Equal(Errno.Stale, _guest.Lookup(node, "x").Error);
            Assert.Equal(Errno.Stale, _guest.Error(FuseOpcode.GetAttr, node, new byte[16]));
            Assert.Equal(Errno.Stale, _guest.Open(node).Error);
            _guest.Forget(node, 5);
        }
    }

    /// <summary>The host swaps a folder of the share for a link to a folder outside, over and over, while the guest goes through it.</summary>
    [Fact]
    public void A_folder_that_becomes_a_link_under_the_guests_feet_is_no_way_out()
    {
        const int rounds = 5_000;
        Directory.CreateDirectory(_folder["door"]);
        File.WriteAllText(_folder["door/inside"], "inside");
        File.CreateSymbolicLink(_folder["link"], _folder.Outside);
        using var done = new CancellationTokenSource();
        int swaps = 0;
        var swapper = new Thread(() =>
        {
            fixed (byte* door = Name(_folder["door"]), link = Name(_folder["link"]))
            {
                while (!done.IsCancellationRequested)
                {
                    Assert.Equal(0, Posix.Renameat2(Posix.CurrentFolder, door, Posix.CurrentFolder, link, Posix.Exchange));
                    swaps++;
                }
            }
        });
        swapper.Start();
        int folders = 0;
        int links = 0;
        for (int i = 0; i < rounds; i++)
        {
            (int error, EntryOut door) = _guest.Lookup(Root, "door");
            Assert.Equal(0, error);
            if ((door.Attributes.Mode & 0xF000) == (uint)FileType.Directory)
            {
                folders++;
                Assert.Equal(0, _guest.Lookup(door.Node, "inside").Error);
            }
            else
            {
                links++;
            }

            Assert.NotEqual(0, _guest.Lookup(door.Node, "secret").Error);
            _ = _guest.Create(door.Node, "made");
            _ = _guest.Error(FuseOpcode.Unlink, door.Node, Name("secret"));
            _ = _guest.Error(FuseOpcode.Rename, door.Node, [.. Bytes(Root), .. Name("secret"), .. Name("stolen")]);
            if (i % 20 == 0)
            {
                _server.Reset();
            }
        }

        done.Cancel();
        swapper.Join();
        Assert.True(folders > 10 && links > 10 && swaps > 10, $"{folders} folders, {links} links, {swaps} swaps");
        Assert.Equal(["secret"], Directory.EnumerateFileSystemEntries(_folder.Outside).Select(Path.GetFileName));
        Assert.False(File.Exists(_folder["stolen"]));
    }

    private uint ModeOf(string name)
    {
        FileStatus status;
        using var file = File.OpenHandle(_folder[name]);
        Assert.Equal(0, Posix.Fstat((int)file.DangerousGetHandle(), &status));
        return status.Mode & 0xFFF;
    }
}
