using System.Diagnostics;
using Vivarium.Cli.Machines;
using Vivarium.Guests.Tests;
using Xunit;

namespace Vivarium.Cli.Tests;

/// <summary>Who runs under which name, and what is left of those that do not run any more.</summary>
public sealed class MachineRegistryTests : IDisposable
{
    private readonly Scratch _scratch = new();

    public void Dispose() => _scratch.Dispose();

    private string Root => Path.Combine(_scratch.Folder, "vivarium");

    [Fact]
    public void A_claimed_machine_is_listed_until_it_is_let_go()
    {
        MachineRegistry registry = MachineRegistry.Open(Root);
        using (MachineFolder folder = registry.Claim("web"))
        {
            Assert.Null(Assert.Single(registry.List()).Record);
            folder.Write(TestRecords.Running("web"));
            MachineEntry entry = registry.Find("web");
            Assert.Equal(512ul << 20, entry.Record!.Memory);
            Assert.True(registry.IsHeld(entry.Folder));
        }

        Assert.Empty(registry.List());
        Assert.False(Directory.Exists(Path.Combine(Root, "web")));
    }

    [Fact]
    public void A_name_in_use_is_refused_by_name()
    {
        MachineRegistry registry = MachineRegistry.Open(Root);
        using MachineFolder folder = registry.Claim("web");
        folder.Write(TestRecords.Running("web"));
        string message = Assert.Throws<InvalidInputException>(() => MachineRegistry.Open(Root).Claim("web")).Message;
        Assert.Contains("'web' runs already (process 4711)", message);
        Assert.Contains("viv stop web", message);
    }

    [Fact]
    public void Of_many_that_want_a_name_one_gets_it()
    {
        MachineFolder?[] claimed = new MachineFolder?[8];
        Parallel.For(0, claimed.Length, i =>
        {
            try
            {
                claimed[i] = MachineRegistry.Open(Root).Claim("web");
            }
            catch (InvalidInputException)
            {
                claimed[i] = null;
            }
        });
        Assert.Single(claimed, folder => folder is not null);
        Array.ForEach(claimed, folder => folder?.Dispose());
    }

    [Fact]
    public void Names_are_made_up_without_a_clash()
    {
        MachineRegistry registry = MachineRegistry.Open(Root);
        List<MachineFolder> folders = [.. Enumerable.Range(0, 50).Select(_ => registry.Claim(null))];
        Assert.Equal(50, folders.Select(folder => folder.Name).Distinct().Count());
        folders.ForEach(folder => folder.Dispose());
    }

    [Fact]
    public void What_a_dead_machine_has_left_is_removed_and_its_name_is_free()
    {
        MachineRegistry registry = MachineRegistry.Open(Root);
        Leave("seen");
        Leave("claimed");
        File.Delete(Path.Combine(Root, "claimed", MachineEntry.LockFile));
        using MachineFolder folder = registry.Claim("claimed");
        Assert.Equal(["claimed"], registry.List().Select(entry => entry.Name));
        Assert.False(Directory.Exists(Path.Combine(Root, "seen")));
        Assert.Equal([MachineEntry.LockFile], Directory.EnumerateFiles(folder.FullPath).Select(Path.GetFileName));
    }

    [Fact]
    public void A_bad_end_is_remembered_until_the_name_is_used_again()
    {
        MachineRegistry registry = MachineRegistry.Open(Root);
        using (MachineFolder folder = registry.Claim("web"))
        {
            folder.Write(TestRecords.Running("web") with { Stage = MachineStage.Ended, Ended = new EndRecord(3, "the guest crashed: triple fault") });
        }

        Assert.Empty(registry.List());
        Assert.Equal(3, Assert.Single(registry.List(ended: true)).Record!.Ended!.Status);
        Assert.Throws<InvalidInputException>(() => registry.Find("web"));
        registry.Claim("web").Dispose();
        Assert.Empty(registry.List(ended: true));
    }

    [Fact]
    public void A_bad_end_is_forgotten_after_a_day()
    {
        MachineRegistry registry = MachineRegistry.Open(Root);
        using (MachineFolder folder = registry.Claim("web"))
        {
            folder.Write(TestRecords.Running("web") with { Ended = new EndRecord(3, "the guest crashed") });
        }

        Directory.SetLastWriteTimeUtc(Path.Combine(Root, "web"), DateTime.UtcNow.AddHours(-25));
        Assert.Empty(registry.List(ended: true));
        Assert.False(Directory.Exists(Path.Combine(Root, "web")));
    }

    [Theory]
    [InlineData("")]
    [InlineData("null")]
    [InlineData("[1]")]
    [InlineData("{\"name\":\"web\"}")]
    [InlineData("{\"name\":7}")]
    public void A_record_that_cannot_be_read_counts_as_none(string json)
    {
        MachineRegistry registry = MachineRegistry.Open(Root);
        using MachineFolder folder = registry.Claim("web");
        File.WriteAllText(Path.Combine(folder.FullPath, MachineEntry.RecordFile), json);
        Assert.Null(Assert.Single(registry.List()).Record);
    }

    [Fact]
    public void An_unknown_name_is_told_what_runs()
    {
        MachineRegistry registry = MachineRegistry.Open(Root);
        Assert.Contains("nor any other", Assert.Throws<InvalidInputException>(() => registry.Find("web")).Message);
        using MachineFolder one = registry.Claim("one"), two = registry.Claim("two");
        Assert.Contains("these do: one, two", Assert.Throws<InvalidInputException>(() => registry.Find("web")).Message);
    }

    [Fact]
    public void A_link_in_the_registrys_place_is_refused()
    {
        string elsewhere = Directory.CreateDirectory(Path.Combine(_scratch.Folder, "elsewhere")).FullName;
        File.CreateSymbolicLink(Root, elsewhere);
        Refuses("symbolic link");
        Assert.Empty(Directory.EnumerateFileSystemEntries(elsewhere));
    }

    [Fact]
    public void A_file_in_the_registrys_place_is_refused()
    {
        File.WriteAllText(Root, "");
        Refuses("not a folder");
    }

    [Fact]
    public void A_registry_that_others_can_look_into_is_refused()
    {
        Directory.CreateDirectory(Root);
        File.SetUnixFileMode(Root, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute | UnixFileMode.GroupRead);
        Refuses("open to other users");
    }

    [Fact]
    public void A_registry_of_another_user_is_refused()
    {
        Assert.SkipUnless(Environment.IsPrivilegedProcess, "giving a folder to another user needs root");
        _ = MachineRegistry.Open(Root);
        using Process chown = Process.Start("chown", ["65534", Root]);
        chown.WaitForExit();
        Refuses("belongs to another user \\(65534\\)");
    }

    private void Refuses(string reason) => Assert.Matches(reason, Assert.Throws<InvalidInputException>(() => MachineRegistry.Open(Root)).Message);

    /// <summary>What stays when a process is killed: its files, and no lock.</summary>
    private void Leave(string name)
    {
        string folder = Directory.CreateDirectory(Path.Combine(Root, name), UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute).FullName;
        File.WriteAllText(Path.Combine(folder, MachineEntry.LockFile), "");
        File.WriteAllText(Path.Combine(folder, MachineEntry.RecordFile), "{}");
    }
}
