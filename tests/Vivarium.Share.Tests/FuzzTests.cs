using System.Runtime.InteropServices;
using Vivarium.Share.Host;
using Vivarium.Share.Protocol;
using static Vivarium.Share.Tests.Guest;

namespace Vivarium.Share.Tests;

/// <summary>Guests that ask anything: nothing is thrown, nothing outside the folder changes, and descriptors stay few.</summary>
public sealed class FuzzTests(ITestOutputHelper output) : IDisposable
{
    private const int Cases = 100_000;
    private const int Limit = 40;

    private static readonly string[] s_names = ["a", "b", "c", "d", "link", "out", "pipe", "", ".", "..", "a/b", "../outside/secret", new('n', 255), new('n', 300)];
    private static readonly FuseOpcode[] s_opcodes = Enum.GetValues<FuseOpcode>();

    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Fact]
    public unsafe void A_share_survives_100_000_random_requests()
    {
        var random = new Random(20261123);
        using FuseServer server = FuseServer.Open(_folder.Path, isReadOnly: false, Limit);
        File.CreateSymbolicLink(_folder["out"], _folder.Outside);
        var nodes = new List<ulong> { Root };
        var handles = new List<ulong>();
        int answered = 0;
        int succeeded = 0;
        byte[] request = new byte[9000];
        byte[] answer = new byte[9000];
        byte[] canary = new byte[64];
        random.NextBytes(canary);
        fixed (byte* from = request, to = answer)
        {
            for (int i = 0; i < Cases; i++)
            {
                FuseOpcode opcode = random.Next(30) == 0 ? (FuseOpcode)random.Next(70) : s_opcodes[random.Next(s_opcodes.Length)];

                // Farewells and new mounts would leave little to play with.
                if (opcode is FuseOpcode.Destroy or FuseOpcode.Init && random.Next(10) != 0)
                {
                    continue;
                }

                ulong node = Pick(random, nodes);
                byte[] arguments = Arguments(random, opcode, nodes, handles);
                int length = Math.Min(sizeof(InHeader) + arguments.Length, request.Length);
                var header = new InHeader { Length = (uint)(random.Next(50) == 0 ? random.Next(10_000) : length), Opcode = opcode, Unique = (ulong)i, Node = node };
                MemoryMarshal.Write(request, header);
                arguments.AsSpan(0, length - sizeof(InHeader)).CopyTo(request.AsSpan(sizeof(InHeader)));
                int room = random.Next(4) == 0 ? random.Next(300) : 8000;
                canary.CopyTo(answer.AsSpan(room));
                int cut = random.Next(length + 1);
                Assert.True(server.TryServe([new(from, (nuint)cut), new(from + cut, (nuint)(length - cut))], [new(to, (nuint)room)], mayWait: true, out uint written));
                Assert.True(answer.AsSpan(room, canary.Length).SequenceEqual(canary), $"case {i} wrote behind its answer");
                Assert.True(written <= room);
                Assert.InRange(server.Session.Descriptors, 0, Limit);
                if (written == 0)
                {
                    continue;
                }

                answered++;
                OutHeader told = MemoryMarshal.Read<OutHeader>(answer);
                Assert.Equal((written, (ulong)i), (told.Length, told.Unique));
                Assert.InRange(told.Error, -4095, 0);
                if (told.Error == 0)
                {
                    succeeded++;
                    Learn(opcode, answer.AsSpan(sizeof(OutHeader), (int)written - sizeof(OutHeader)), nodes, handles);
                }
            }
        }

        output.WriteLine($"{Cases} cases, {answered} answered, {succeeded} succeeded, {nodes.Count} nodes and {handles.Count} handles told");
        Assert.True(answered > Cases / 2);
        Assert.True(succeeded > Cases / 10, $"only {succeeded} requests succeeded");
        Assert.Equal(["secret"], Directory.EnumerateFileSystemEntries(_folder.Outside).Select(Path.GetFileName));
        Assert.Equal("secret", File.ReadAllText(Path.Combine(_folder.Outside, "secret")));
    }

    [Fact]
    public async Task Many_threads_may_ask_at_once()
    {
        using FuseServer server = FuseServer.Open(_folder.Path, isReadOnly: false, Limit);
        File.WriteAllText(_folder["shared"], new string('x', 5000));
        await Task.WhenAll(Enumerable.Range(0, 4).Select(thread => Task.Run(() =>
        {
            var guest = new Guest(server);
            for (int i = 0; i < 1000; i++)
            {
                (int error, EntryOut entry) = guest.Lookup(Root, "shared");
                Assert.Equal(0, error);
                (error, ulong handle) = guest.Open(entry.Node);
                if (error == 0)
                {
                    Assert.Equal(5000, guest.Read(handle, 0, 8192).Data.Length);
                    _ = guest.Must(FuseOpcode.Release, entry.Node, [.. Bytes(handle), .. new byte[16]]);
                }

                Assert.True(error is 0 or Errno.Stale, $"{error}");
                (error, ulong node, handle) = guest.Create(Root, $"own{thread}-{i % 30}");
                Assert.Equal(0, error);
                _ = guest.Must(FuseOpcode.Release, node, [.. Bytes(handle), .. new byte[16]]);
                guest.Forget(entry.Node, 1);
                guest.Forget(node, 1);
            }
        })));
        Assert.Equal((1, 0), (server.Session.Nodes, server.Session.Descriptors));
    }

    private static ulong Pick(Random random, List<ulong> known) => random.Next(20) == 0 || known.Count == 0
        ? (ulong)random.NextInt64(-2, 50)
        : known[random.Next(3) == 0 ? 0 : random.Next(known.Count)];

    private static byte[] Arguments(Random random, FuseOpcode opcode, List<ulong> nodes, List<ulong> handles)
    {
        if (random.Next(20) == 0)
        {
            byte[] noise = new byte[random.Next(random.Next(10) == 0 ? 8900 : 100)];
            for (int i = 0; i < noise.Length; i++)
            {
                // No names that only the kernel could remove again.
                noise[i] = (byte)random.Next(0x80);
            }

            return noise;
        }

        string name = s_names[random.Next(random.Next(4) == 0 ? s_names.Length : 4)];
        string other = s_names[random.Next(random.Next(4) == 0 ? s_names.Length : 4)];
        ulong handle = Pick(random, handles);
        ulong offset = random.Next(10) == 0 ? (ulong)random.NextInt64(long.MinValue, long.MaxValue) : (ulong)random.Next(20_000);
        uint size = random.Next(10) == 0 ? (uint)random.Next() : (uint)random.Next(4096);
        uint mode = (uint)random.Next(0x10000);
        uint flags = random.Next(10) == 0 ? (uint)random.Next() : (uint)(random.Next(3) | (random.Next(2) * Posix.Append) | (random.Next(2) * Posix.Truncate) | (random.Next(4) == 0 ? Posix.Exclusive : 0));
        return opcode switch
        {
            FuseOpcode.Init => [.. Bytes(7), .. Bytes(38), .. Bytes(0), .. Bytes(flags), .. new byte[48]],
            FuseOpcode.Lookup or FuseOpcode.Unlink or FuseOpcode.RmDir => Name(name),
            FuseOpcode.Forget => Bytes((ulong)random.Next(3)),
            FuseOpcode.BatchForget => [.. Bytes(random.Next(4)), .. Bytes(0), .. Bytes(Pick(random, nodes)), .. Bytes(1ul), .. Bytes(Pick(random, nodes)), .. Bytes(2ul)],
            FuseOpcode.GetAttr => Bytes(new GetAttrIn { Flags = (uint)random.Next(2), Handle = handle }),
            FuseOpcode.SetAttr => Bytes(new SetAttrIn { Valid = (AttributeMask)random.Next(1 << 11), Handle = handle, Size = offset, Mode = mode | 0x1C0, ModifiedSeconds = offset, ModifiedNanoseconds = size, User = 1, Group = 1 }),
            FuseOpcode.Symlink => [.. Name(name), .. Name(random.Next(2) == 0 ? "../outside" : other)],
            FuseOpcode.MkNod => [.. Bytes(random.Next(2) == 0 ? 0x81A4 : mode), .. Bytes(flags), .. new byte[8], .. Name(name)],
            FuseOpcode.MkDir => [.. Bytes(mode | 0x1C0), .. Bytes(0), .. Name(name)],
            FuseOpcode.Rename => [.. Bytes(Pick(random, nodes)), .. Name(name), .. Name(other)],
            FuseOpcode.Rename2 => [.. Bytes(Pick(random, nodes)), .. Bytes(random.Next(8)), .. Bytes(0), .. Name(name), .. Name(other)],
            FuseOpcode.Link => [.. Bytes(Pick(random, nodes)), .. Name(name)],
            FuseOpcode.Open or FuseOpcode.OpenDir => [.. Bytes(flags), .. Bytes(0)],
            FuseOpcode.Create => [.. Bytes(flags), .. Bytes(mode | 0x180), .. new byte[8], .. Name(name)],
            FuseOpcode.Read or FuseOpcode.ReadDir or FuseOpcode.ReadDirPlus => Transfer(handle, (long)offset, (int)size),
            FuseOpcode.Write => [.. Transfer(handle, (long)offset, (int)size), .. new byte[Math.Min(size, 4096)]],
            FuseOpcode.Release or FuseOpcode.ReleaseDir or FuseOpcode.Flush => [.. Bytes(handle), .. new byte[16]],
            FuseOpcode.FSync or FuseOpcode.FSyncDir => [.. Bytes(handle), .. Bytes(1), .. Bytes(0)],
            FuseOpcode.Access => [.. Bytes(random.Next(9)), .. Bytes(0)],
            FuseOpcode.FAllocate => Bytes(new FAllocateIn { Handle = handle, Offset = (ulong)random.Next(20_000), Length = size & 0xFFFFF, Mode = (uint)random.Next(64) }),
            FuseOpcode.LSeek => Bytes(new LSeekIn { Handle = handle, Offset = offset, Whence = (uint)random.Next(6) }),
            FuseOpcode.CopyFileRange => Bytes(new CopyFileRangeIn { FromHandle = handle, ToHandle = Pick(random, handles), Length = size, FromOffset = offset }),
            _ => new byte[32],
        };
    }

    private static unsafe void Learn(FuseOpcode opcode, ReadOnlySpan<byte> body, List<ulong> nodes, List<ulong> handles)
    {
        switch (opcode)
        {
            case FuseOpcode.Lookup or FuseOpcode.MkNod or FuseOpcode.MkDir or FuseOpcode.Symlink or FuseOpcode.Link:
                nodes.Add(MemoryMarshal.Read<ulong>(body));
                break;
            case FuseOpcode.Destroy or FuseOpcode.Init:
                nodes.RemoveRange(1, nodes.Count - 1);
                handles.Clear();
                break;
            case FuseOpcode.Open or FuseOpcode.OpenDir:
                handles.Add(MemoryMarshal.Read<ulong>(body));
                break;
            case FuseOpcode.Create:
                nodes.Add(MemoryMarshal.Read<ulong>(body));
                handles.Add(MemoryMarshal.Read<ulong>(body[sizeof(EntryOut)..]));
                break;
        }
    }
}
