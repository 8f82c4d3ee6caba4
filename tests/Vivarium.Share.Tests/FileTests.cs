using System.Runtime.InteropServices;
using Vivarium.Share.Host;
using Vivarium.Share.Protocol;
using static Vivarium.Share.Tests.Guest;

namespace Vivarium.Share.Tests;

/// <summary>Open files and folders.</summary>
public sealed unsafe class FileTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();
    private readonly FuseServer _server;
    private readonly Guest _guest;

    public FileTests()
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
    public void A_new_file_is_written_and_read_back()
    {
        (int error, ulong node, ulong handle) = _guest.Create(Root, "new");
        Assert.Equal(0, error);
        Assert.Equal((0, 3u), _guest.Write(handle, 4096, "abc"u8));
        Assert.Equal(4099, new FileInfo(_folder["new"]).Length);
        Assert.Equal("bc"u8.ToArray(), _guest.Read(handle, 4097, 100).Data);
        Assert.Empty(_guest.Read(handle, 5000, 100).Data);
        Assert.Equal(4099ul, _guest.Must<AttrOut>(FuseOpcode.GetAttr, node, Bytes(new GetAttrIn { Flags = GetAttrIn.HasHandle, Handle = handle })).Attributes.Size);
        _ = _guest.Must(FuseOpcode.Flush, node, [.. Bytes(handle), .. new byte[16]]);
        _ = _guest.Must(FuseOpcode.Release, node, [.. Bytes(handle), .. new byte[16]]);
        Assert.Equal(Errno.BadDescriptor, _guest.Read(handle, 0, 1).Error);
        Assert.Equal(Errno.BadDescriptor, _guest.Error(FuseOpcode.Release, node, [.. Bytes(handle), .. new byte[16]]));
    }

    [Fact]
    public void An_existing_file_is_opened_by_create_unless_it_must_be_new()
    {
        File.WriteAllText(_folder["old"], "old");
        (int error, _, ulong handle) = _guest.Create(Root, "old");
        Assert.Equal(0, error);
        Assert.Equal("old"u8.ToArray(), _guest.Read(handle, 0, 10).Data);
        Assert.Equal(Errno.Exists, _guest.Create(Root, "old", Posix.ReadWrite | Posix.Create | Posix.Exclusive).Error);
        (_, _, handle) = _guest.Create(Root, "old", Posix.WriteOnly | Posix.Create | Posix.Truncate);
        Assert.Equal("", File.ReadAllText(_folder["old"]));
        Assert.Equal(Errno.BadDescriptor, _guest.Read(handle, 0, 10).Error);
        Assert.Equal(Errno.IsDirectory, _guest.Open(Root).Error);
        Assert.Equal(Errno.Invalid, _guest.Open(_guest.Find("old"), 3).Error);
    }

    [Fact]
    public void Appending_appends_whatever_the_guest_believes_of_the_size()
    {
        File.WriteAllText(_folder["log"], "host\n");
        (_, ulong handle) = _guest.Open(_guest.Find("log"), Posix.WriteOnly | Posix.Append);
        File.AppendAllText(_folder["log"], "host again\n");
        Assert.Equal(0, _guest.Write(handle, 5, "guest\n"u8).Error);
        Assert.Equal("host\nhost again\nguest\n", File.ReadAllText(_folder["log"]));
    }

    [Fact]
    public void Offsets_and_sizes_that_cannot_be_are_refused()
    {
        (_, ulong node, ulong handle) = _guest.Create(Root, "f");
        Assert.Equal(Errno.Invalid, _guest.Read(handle, -1, 1).Error);
        Assert.Equal(Errno.Invalid, _guest.Read(handle, long.MaxValue, 1).Error);
        Assert.Equal(Errno.Invalid, _guest.Write(handle, -5, "x"u8).Error);
        Assert.Equal(Errno.Invalid, _guest.Write(handle, long.MaxValue, "x"u8).Error);
        Assert.Equal(Errno.Invalid, _guest.Error(FuseOpcode.Write, node, [.. Transfer(handle, 0, 100), .. new byte[99]]));
        Assert.Equal(Errno.BadDescriptor, _guest.Read(handle + 1, 0, 1).Error);
        Assert.Equal(Errno.BadDescriptor, _guest.Error(FuseOpcode.ReadDir, node, Transfer(handle, 0, 100)));
        Assert.Equal(0, new FileInfo(_folder["f"]).Length);

        // More than there is room for is cut.
        Assert.Equal(0, _guest.Write(handle, 0, new byte[1000]).Error);
        Assert.Equal(100 - sizeof(OutHeader), _guest.Ask(FuseOpcode.Read, node, Transfer(handle, 0, int.MaxValue), 100, mayWait: true)!.Value.Body.Length);
    }

    [Fact]
    public void Space_is_kept_zeroed_and_given_back_and_holes_are_found()
    {
        (_, ulong node, ulong handle) = _guest.Create(Root, "f");
        Assert.Equal(0, Allocate(0, 0, 1 << 20));
        Assert.Equal(1 << 20, new FileInfo(_folder["f"]).Length);
        byte[] data = new byte[1 << 17];
        Array.Fill(data, (byte)7);
        for (int i = 0; i < 8; i++)
        {
            Assert.Equal((0, (uint)data.Length), _guest.Write(handle, i * data.Length, data));
        }

        Assert.Equal(0, Allocate(Posix.PunchHole | Posix.KeepSize, 1 << 18, 1 << 18));
        Assert.Equal(0, _guest.Read(handle, 1 << 18, 1).Data[0]);
        Assert.Equal(7, _guest.Read(handle, 1 << 19, 1).Data[0]);
        Assert.Equal(1ul << 18, Seek(0, Posix.SeekHole));
        Assert.Equal(1ul << 19, Seek(1 << 18, Posix.SeekData));
        Assert.Equal(Errno.Invalid, _guest.Error(FuseOpcode.LSeek, node, Bytes(new LSeekIn { Handle = handle, Whence = Posix.SeekSet })));
        Assert.Equal(Errno.NotSupported, Allocate(0x20, 0, 4096));
        Assert.Equal(Errno.Invalid, Allocate(0, 0, 0));
        Assert.Equal(Errno.Invalid, Allocate(0, -1, 10));

        int Allocate(int mode, long offset, long length) => _guest.Error(FuseOpcode.FAllocate, node, Bytes(new FAllocateIn { Handle = handle, Offset = (ulong)offset, Length = (ulong)length, Mode = (uint)mode }));
        ulong Seek(ulong offset, uint whence) => _guest.Must<ulong>(FuseOpcode.LSeek, node, Bytes(new LSeekIn { Handle = handle, Offset = offset, Whence = whence }));
    }

    [Fact]
    public void Ranges_are_copied_on_the_host()
    {
        (_, ulong from, ulong fromHandle) = _guest.Create(Root, "from");
        (_, ulong to, ulong toHandle) = _guest.Create(Root, "to");
        Assert.Equal(0, _guest.Write(fromHandle, 0, "0123456789"u8).Error);
        var copy = new CopyFileRangeIn { FromHandle = fromHandle, FromOffset = 2, ToNode = to, ToHandle = toHandle, ToOffset = 1, Length = 5 };
        Assert.Equal(5u, _guest.Must<uint>(FuseOpcode.CopyFileRange, from, Bytes(copy)));
        Assert.Equal("\023456", File.ReadAllText(_folder["to"]));
        Assert.Equal(Errno.Invalid, _guest.Error(FuseOpcode.CopyFileRange, from, Bytes(copy with { Flags = 1 })));
        Assert.Equal(Errno.BadDescriptor, _guest.Error(FuseOpcode.CopyFileRange, from, Bytes(copy with { ToHandle = 99 })));
    }

    [Fact]
    public void A_file_that_is_open_lives_on_without_a_name()
    {
        (_, ulong node, ulong handle) = _guest.Create(Root, "f");
        _ = _guest.Must(FuseOpcode.Unlink, Root, Name("f"));
        Assert.Equal(0, _guest.Write(handle, 0, "still here"u8).Error);
        AttrOut told = _guest.Must<AttrOut>(FuseOpcode.GetAttr, node, new byte[16]);
        Assert.Equal((10ul, 0u), (told.Attributes.Size, told.Attributes.Links));
        _ = _guest.Must(FuseOpcode.SetAttr, node, Bytes(new SetAttrIn { Valid = AttributeMask.Size | AttributeMask.Handle, Handle = handle, Size = 5 }));
        Assert.Equal("still"u8.ToArray(), _guest.Read(handle, 0, 100).Data);
        Assert.Equal(0, _guest.Open(node).Error);
    }

    [Theory]
    [InlineData(300)]
    [InlineData(4096)]
    [InlineData(100_000)]
    public void A_folder_is_listed_once_each_whatever_the_room(int size)
    {
        List<string> names = [.. Enumerable.Range(0, 700).Select(i => $"{new string('n', i % 200)}{i}")];
        foreach (string name in names)
        {
            File.WriteAllText(_folder[name], "");
        }

        Assert.Equal([".", "..", .. names.Order(StringComparer.Ordinal)], _guest.List(Root, size).Order(StringComparer.Ordinal));
    }

    [Fact]
    public void Room_for_no_name_at_all_is_said()
    {
        (_, ulong handle) = _guest.Open(Root, 0, FuseOpcode.OpenDir);
        Assert.Equal(Errno.Invalid, _guest.Error(FuseOpcode.ReadDir, Root, Transfer(handle, 0, 20)));
    }

    [Fact]
    public void What_a_listing_tells_of_counts_as_looked_up()
    {
        for (int i = 0; i < 20; i++)
        {
            File.WriteAllText(_folder[$"file{i}"], "12345");
        }

        List<(string Name, EntryOut Entry)> entries = _guest.ListPlus(Root, 1000);
        Assert.Equal(6, entries.Count);
        List<EntryOut> told = [.. entries.Where(entry => entry.Name[0] != '.').Select(entry => entry.Entry)];
        Assert.All(told, entry => Assert.Equal(5ul, entry.Attributes.Size));
        Assert.All(entries.Where(entry => entry.Name[0] == '.'), entry => Assert.Equal(0ul, entry.Entry.Node));
        Assert.Equal(1 + told.Count, _server.Session.Nodes);
        foreach (EntryOut entry in told)
        {
            _guest.Forget(entry.Node, 1);
        }

        Assert.Equal(1, _server.Session.Nodes);
        Assert.Equal(0, _server.Session.Descriptors);
    }

    [Fact]
    public void Folders_are_flushed_too()
    {
        (_, ulong handle) = _guest.Open(Root, 0, FuseOpcode.OpenDir);
        _ = _guest.Must(FuseOpcode.FSyncDir, Root, [.. Bytes(handle), .. Bytes(1), .. Bytes(0)]);
        Assert.Equal(Errno.BadDescriptor, _guest.Error(FuseOpcode.FSync, Root, [.. Bytes(handle), .. Bytes(1), .. Bytes(0)]));
        Assert.Equal(Errno.NotDirectory, _guest.Open(_guest.Create(Root, "f").Node, 0, FuseOpcode.OpenDir).Error);
    }
}
