using Vivarium.Share.Host;
using Vivarium.Share.Protocol;
using static Vivarium.Share.Tests.Guest;

namespace Vivarium.Share.Tests;

/// <summary>Folders that cannot be shared, and one that goes away.</summary>
public sealed class FolderTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Theory]
    [InlineData("nothing", "there is no folder")]
    [InlineData("file", "is no folder")]
    [InlineData("file/below", "is no folder")]
    [InlineData("loop", "cannot share")]
    [InlineData("pipe", "is no folder")]
    public unsafe void What_cannot_be_shared_is_explained(string name, string explanation)
    {
        File.WriteAllText(_folder["file"], "");
        File.CreateSymbolicLink(_folder["loop"], "loop");
        fixed (byte* pipe = Name(_folder["pipe"]))
        {
            Assert.Equal(0, Posix.Mknodat(Posix.CurrentFolder, pipe, (uint)FileType.Fifo | 0x1B6, 0));
        }

        string sentence = Assert.Throws<ShareException>(() => FuseServer.Open(_folder[name], isReadOnly: false, 100)).Message;
        Assert.Contains(explanation, sentence);
        Assert.Contains(_folder[name], sentence);
        Assert.DoesNotContain('\n', sentence);
    }

    [Fact]
    public void A_folder_that_may_not_be_read_is_explained()
    {
        Assert.SkipWhen(Environment.IsPrivilegedProcess, "root may read everything");
        File.SetUnixFileMode(_folder.Path, UnixFileMode.None);
        Assert.Contains("no permission", Assert.Throws<ShareException>(() => FuseServer.Open(_folder.Path, isReadOnly: false, 100)).Message);
        File.SetUnixFileMode(_folder.Path, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
    }

    [Fact]
    public void A_folder_that_is_deleted_is_empty_from_then_on()
    {
        string path = Directory.CreateDirectory(_folder["d"]).FullName;
        File.WriteAllText(Path.Combine(path, "f"), "f");
        using FuseServer server = FuseServer.Open(path, isReadOnly: false, 100);
        var guest = new Guest(server);
        _ = guest.Initialize();
        (_, ulong handle) = guest.Open(guest.Find("f"));
        Directory.Delete(path, recursive: true);
        Assert.Equal(Errno.NoEntry, guest.Lookup(Root, "f").Error);
        Assert.Equal(Errno.NoEntry, guest.Create(Root, "g").Error);
        Assert.Equal("f"u8.ToArray(), guest.Read(handle, 0, 10).Data);
        _ = guest.Must(FuseOpcode.GetAttr, Root, new byte[16]);

        // Another folder of the same name is another folder.
        Directory.CreateDirectory(path);
        File.WriteAllText(Path.Combine(path, "f"), "f");
        Assert.Equal(Errno.NoEntry, guest.Lookup(Root, "f").Error);
    }

    [Fact]
    public void On_storage_that_may_hang_nothing_is_done_on_a_thread_that_may_not_wait()
    {
        // Neither disk nor memory, and full of links that are doors.
        using FuseServer server = FuseServer.Open("/proc/self", isReadOnly: true, 100);
        var guest = new Guest(server);
        Assert.Null(guest.Ask(FuseOpcode.Lookup, Root, Name("root"), 1000, mayWait: false));
        Assert.Null(guest.Ask(FuseOpcode.GetAttr, Root, new byte[16], 1000, mayWait: false));
        Assert.NotNull(guest.Ask(FuseOpcode.Forget, Root, new byte[8], 1000, mayWait: false));
        foreach (string door in new[] { "root", "cwd", "exe" })
        {
            (int error, EntryOut entry) = guest.Lookup(Root, door);
            Assert.Equal(0, error);
            Assert.Equal((uint)FileType.SymbolicLink, entry.Attributes.Mode & 0xF000);
            Assert.Equal(Errno.NotDirectory, guest.Lookup(entry.Node, "etc").Error);
            Assert.Equal(Errno.Loop, guest.Open(entry.Node).Error);
            Assert.Equal(Errno.NotDirectory, guest.Open(entry.Node, 0, FuseOpcode.OpenDir).Error);
        }
    }

    [Fact]
    public void A_link_to_a_folder_is_as_good_as_the_folder()
    {
        Directory.CreateDirectory(_folder["d"]);
        File.CreateSymbolicLink(_folder["l"], "d");
        using FuseServer server = FuseServer.Open(_folder["l"], isReadOnly: false, 100);
        Assert.Equal(0, new Guest(server).Create(Root, "f").Error);
        Assert.True(File.Exists(_folder["d/f"]));
    }
}
