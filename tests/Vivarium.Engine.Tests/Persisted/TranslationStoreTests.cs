using System.Runtime.InteropServices;
using Vivarium.Engine.Software;
using Vivarium.Engine.Software.CodeCache;
using Vivarium.Engine.Software.Persisted;
using Vivarium.Engine.Software.Translate;
using Vivarium.Engine.Tests.Snippets;
using Xunit;
using static Iced.Intel.AssemblerRegisters;

namespace Vivarium.Engine.Tests.Persisted;

public sealed unsafe partial class TranslationStoreTests : IDisposable
{
    private const ulong Rip = 0x40_0000;
    private const long Limit = 16 << 20;

    private readonly string _folder = Directory.CreateTempSubdirectory("vivarium-translations").FullName;
    private readonly List<string> _warnings = [];
    private readonly TranslatorBench _bench = new();

    public void Dispose()
    {
        _bench.Dispose();
        Directory.Delete(_folder, recursive: true);
    }

    [Fact]
    public void WhatWasSavedIsFoundAndExact()
    {
        byte[][] programs = SavePrograms(200);
        using TranslationStore store = Open();
        foreach (byte[] program in programs)
        {
            CodeSource source = _bench.Source(program, Rip + 0x7000);
            Template found = store.Find(source, TranslatorBench.Kernel);
            Assert.True(found.Exists);
            Assert.True(_bench.IsExact(found, _bench.Source(program, Rip + 0x7000)));
        }

        Assert.Empty(_warnings);
        Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite, File.GetUnixFileMode(store.FilePath));
    }

    /// <summary>The shortest blocks, and what is found at another address of a kernel by other bytes.</summary>
    [Fact]
    public void EveryKindOfRelocationIsKept()
    {
        const ulong first = 0xFFFF_FFFF_8100_0F00;
        const ulong second = 0xFFFF_FFFF_9340_0F00;
        (byte[] First, byte[] Second)[] programs =
        [
            ([0xC3], [0xC3]),
            ([0x0F, 0xA2], [0x0F, 0xA2]),
            ([0xFF, 0x24, 0xC5, 0x78, 0x56, 0x34, 0x82], [0xFF, 0x24, 0xC5, 0x79, 0x56, 0x34, 0x94]),
            ([0x48, 0xC7, 0xC7, 0x78, 0x56, 0x34, 0x82, 0xC3], [0x48, 0xC7, 0xC7, 0x79, 0x56, 0x34, 0x94, 0xC3]),
            ([0x65, 0xFF, 0x05, .. BitConverter.GetBytes(unchecked((int)(0x1_FB40 - (first + 7)))), 0xC3], [0x65, 0xFF, 0x05, .. BitConverter.GetBytes(unchecked((int)(0x1_FB44 - (second + 7)))), 0xC3]),
        ];
        foreach ((byte[] program, _) in programs)
        {
            Assert.True(_bench.Translate(program, first)!.Record->Flags.HasFlag(RecordFlags.Movable));
        }

        using (TranslationStore store = Open())
        {
            store.Save(_bench.Made);
        }

        using TranslationStore again = Open();
        foreach ((_, byte[] program) in programs)
        {
            Template found = again.Find(_bench.Source(program, second), TranslatorBench.Kernel);
            Assert.True(found.Exists, Convert.ToHexString(program));
            Assert.True(_bench.IsExact(found, _bench.Source(program, second)) || program[0] == 0x0F);
        }

        Assert.Empty(_warnings);
    }

    [Fact]
    public void ChangedBytesAreNotFound()
    {
        byte[][] programs = SavePrograms(20);
        using TranslationStore store = Open();
        foreach (byte[] program in programs)
        {
            byte[] changed = [.. program];
            changed[1] ^= 1;
            Assert.False(store.Find(_bench.Source(changed, Rip), TranslatorBench.Kernel).Exists);
        }
    }

    /// <summary>One byte in 97 is damaged, one at a time: never a crash, never a wrong block, and one line unless nobody meets it.</summary>
    [Fact]
    public void DamageIsNoticed()
    {
        byte[][] programs = SavePrograms(40);
        string path = FilePath;
        byte[] sound = File.ReadAllBytes(path);
        int unnoticed = 0;
        for (int position = 0; position < sound.Length; position += 97)
        {
            byte[] damaged = [.. sound];
            damaged[position] ^= 0xFF;
            Replace(path, damaged);
            unnoticed += LookUpAll(programs) ? 0 : 1;
        }

        // What nobody reads: padding, and ages, of which any is good. What says of which code an entry is (its header's place and
        // lengths, the guest's bytes): it is not found, as if it were of other code.
        const int identity = 40 + 24;
        Assert.InRange(unnoticed, 0, 1 + (((programs.Length * (2 + 8 + identity)) + 256) / 97));
    }

    /// <summary>Only what is looked at of the index is read: the rest may be damaged.</summary>
    [Fact]
    public void ADamagedPageOfTheIndexIsNoticedWhenItIsMet()
    {
        byte[][] programs = SavePrograms(600);
        byte[] sound = File.ReadAllBytes(FilePath);
        var header = MemoryMarshal.Read<TranslationHeader>(sound);
        Assert.Equal(4u, header.IndexPages);
        int foundBefore = 0;
        for (int page = 0; page < header.IndexPages; page++)
        {
            byte[] damaged = [.. sound];
            damaged[header.SlotsOffset + (page * TranslationHeader.SlotsInPage * sizeof(ulong)) + 1000] ^= 1;
            Replace(FilePath, damaged);
            _warnings.Clear();
            using TranslationStore store = Open();
            Assert.True(store.HasAny);
            Assert.Empty(_warnings);
            int found = programs.Count(program => store.Find(_bench.Source(program, Rip), TranslatorBench.Kernel).Exists);
            Assert.True(found < programs.Length);
            Assert.Contains("(its index)", Assert.Single(_warnings), StringComparison.Ordinal);
            foundBefore += found;
        }

        Assert.NotEqual(0, foundBefore);
    }

    [Fact]
    public void TruncationIsNoticed()
    {
        byte[][] programs = SavePrograms(10);
        byte[] sound = File.ReadAllBytes(FilePath);
        for (int length = 0; length < sound.Length; length += 97)
        {
            Replace(FilePath, sound[..length]);
            Assert.True(LookUpAll(programs));
        }
    }

    [Fact]
    public void ADamagedFileIsReplaced()
    {
        byte[][] programs = SavePrograms(10);
        Replace(FilePath, [1, 2, 3]);
        using (TranslationStore store = Open())
        {
            store.Save(_bench.Made);
        }

        Assert.Single(_warnings);
        _warnings.Clear();
        Assert.False(LookUpAll(programs));
    }

    [Fact]
    public void AnotherIdentityIsRefused()
    {
        SavePrograms(10);
        Identity other = _bench.Identity with { Low = ~_bench.Identity.Low };
        File.Move(FilePath, FilePath.Replace(_bench.Identity.ToString(), other.ToString(), StringComparison.Ordinal));
        using (new TranslationStore(_folder, other, Limit, _warnings.Add))
        {
            Assert.Contains("another version", Assert.Single(_warnings), StringComparison.Ordinal);
        }
    }

    [Theory]
    [InlineData(UnixFileMode.GroupWrite)]
    [InlineData(UnixFileMode.OtherWrite)]
    public void WhatOthersCanWriteIsRefused(UnixFileMode mode)
    {
        byte[][] programs = SavePrograms(3);
        File.SetUnixFileMode(FilePath, File.GetUnixFileMode(FilePath) | mode);
        Assert.True(LookUpAll(programs));
        File.SetUnixFileMode(FilePath, UnixFileMode.UserRead | UnixFileMode.UserWrite);
        Assert.False(LookUpAll(programs));
        File.SetUnixFileMode(_folder, File.GetUnixFileMode(_folder) | mode);
        Assert.True(LookUpAll(programs));
    }

    [Fact]
    public void FilesOfOthersAreRefused()
    {
        byte[][] programs = SavePrograms(3);
        if (Chown(FilePath, 1, 1) != 0)
        {
            Assert.Skip("only root can give a file away");
        }

        Assert.True(LookUpAll(programs));
        Assert.Contains("another user", _lastWarning, StringComparison.Ordinal);
    }

    [Fact]
    public void LinksAndFoldersAreRefused()
    {
        byte[][] programs = SavePrograms(3);
        File.Move(FilePath, FilePath + "x");
        File.CreateSymbolicLink(FilePath, FilePath + "x");
        Assert.True(LookUpAll(programs));
        File.Delete(FilePath);
        Directory.CreateDirectory(FilePath);
        Assert.True(LookUpAll(programs));
    }

    [Fact]
    public void AFolderThatCannotBeMadeCostsOneLine()
    {
        File.WriteAllText(Path.Combine(_folder, "file"), "");
        using var store = new TranslationStore(Path.Combine(_folder, "file", "below"), _bench.Identity, Limit, _warnings.Add);
        store.Save(_bench.Made);
        Assert.Single(_warnings);
    }

    [Fact]
    public void TheFileIsBoundedAndKeepsWhatWasUsedLast()
    {
        byte[][] programs = SavePrograms(400);
        long whole = new FileInfo(FilePath).Length;
        long limit = whole * 3 / 4;
        using (TranslationStore store = Open(limit))
        {
            // Used in this run: the last hundred.
            foreach (byte[] program in programs[300..])
            {
                Assert.True(store.Find(_bench.Source(program, Rip), TranslatorBench.Kernel).Exists);
            }

            _bench.Made.Clear();
            Translate(NewPrograms(100, seed: 77));
            store.Save(_bench.Made);
        }

        Assert.InRange(new FileInfo(FilePath).Length, limit / 2, limit);
        using TranslationStore again = Open();
        foreach (byte[] program in (byte[][])[.. programs[300..], .. NewPrograms(100, seed: 77)])
        {
            Assert.True(again.Find(_bench.Source(program, Rip), TranslatorBench.Kernel).Exists);
        }
    }

    [Fact]
    public void OtherFilesGoWhenTheFolderIsFull()
    {
        string old = Path.Combine(_folder, new string('0', 32) + ".translations");
        File.WriteAllBytes(old, new byte[Limit]);
        File.SetLastWriteTimeUtc(old, DateTime.UnixEpoch);
        SavePrograms(10);
        Assert.False(File.Exists(old));
        Assert.True(File.Exists(FilePath));
    }

    [Fact]
    public void SeveralWritersLeaveASoundFile()
    {
        byte[][] common = SavePrograms(50);
        Parallel.For(0, 8, i =>
        {
            using var bench = new TranslatorBench();
            foreach (byte[] program in NewPrograms(50, seed: 100 + i))
            {
                _ = bench.Translate(program, Rip);
            }

            for (int round = 0; round < 5; round++)
            {
                using var store = new TranslationStore(_folder, bench.Identity, Limit, said => { lock (_warnings) { _warnings.Add(said); } });
                store.Save(bench.Made);
            }
        });

        Assert.Empty(_warnings);
        Assert.False(LookUpAll(common));
        Assert.DoesNotContain(Directory.EnumerateFiles(_folder), file => file.EndsWith(".new", StringComparison.Ordinal));
    }

    [Fact]
    public void OneMachineServesTheNext()
    {
        EngineOptions options = EngineOptions.Default with { TranslationFolder = _folder };
        long copied = 0;
        for (int run = 0; run < 3; run++)
        {
            using SnippetMachine m = SnippetMachine.Long(options: options, warn: _warnings.Add);
            m.Write(a =>
            {
                a.mov(eax, run == 2 ? 7 : 5);
                a.cpuid();
                a.mov(ebx, 9);
                a.hlt();
            });
            m.Rax = 0;
            m.RunToEnd();
            Assert.Equal(9ul, m.Rbx);
            copied = m.Cpu.Statistics.BlocksCopied;
            Assert.Equal(run == 0, copied == 0);
        }

        // The last machine's first block was another.
        Assert.Equal(1, copied);
        Assert.Empty(_warnings);
    }

    private string _lastWarning = "";

    private string FilePath => Path.Combine(_folder, _bench.Identity + ".translations");

    [LibraryImport("libc", EntryPoint = "chown", StringMarshalling = StringMarshalling.Utf8)]
    private static partial int Chown(string path, uint user, uint group);

    private TranslationStore Open(long limit = Limit) => new(_folder, _bench.Identity, limit, _warnings.Add);

    /// <summary>A file that is mapped must not change under its readers: as the store does, another takes its name.</summary>
    private static void Replace(string path, byte[] content)
    {
        File.Delete(path);
        File.WriteAllBytes(path, content);
        File.SetUnixFileMode(path, UnixFileMode.UserRead | UnixFileMode.UserWrite);
    }

    private byte[][] SavePrograms(int count)
    {
        byte[][] programs = NewPrograms(count, seed: 1);
        Translate(programs);
        using TranslationStore store = Open();
        store.Save(_bench.Made);
        return programs;
    }

    private void Translate(byte[][] programs)
    {
        foreach (byte[] program in programs)
        {
            Assert.True(_bench.Translate(program, Rip)!.Record->Flags.HasFlag(RecordFlags.Movable));
        }
    }

    /// <summary>Looks all programs up in a new store. True if that cost a line; what is found must be right in any case, and at most one is not.</summary>
    private bool LookUpAll(byte[][] programs)
    {
        _warnings.Clear();
        using TranslationStore store = Open();
        int found = 0;
        foreach (byte[] program in programs)
        {
            if (store.Find(_bench.Source(program, Rip), TranslatorBench.Kernel) is { Exists: true } template)
            {
                found++;
                Assert.True(_bench.IsExact(template, _bench.Source(program, Rip)));
            }
        }

        Assert.InRange(_warnings.Count, 0, 1);
        Assert.True(_warnings.Count == 1 || found >= programs.Length - 1);
        _lastWarning = _warnings.FirstOrDefault("");
        return _warnings.Count == 1;
    }

    /// <summary>mov eax, random; add rax, [rip + random]; a jump or a call.</summary>
    private static byte[][] NewPrograms(int count, int seed)
    {
        var chance = new Random(seed);
        return [.. Enumerable.Range(0, count).Select(_ => (byte[])[0xB8, .. BitConverter.GetBytes(chance.Next()), 0x48, 0x03, 0x05, .. BitConverter.GetBytes(chance.Next(1 << 20)), (byte)(0xE8 | (chance.Next() & 1)), 0, 1, 0, 0])];
    }
}
