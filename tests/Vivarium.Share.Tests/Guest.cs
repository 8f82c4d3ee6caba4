using System.Buffers.Binary;
using System.Runtime.InteropServices;
using System.Text;
using Vivarium.Share.Host;
using Vivarium.Share.Protocol;

namespace Vivarium.Share.Tests;

/// <summary>A guest's kernel as far as it talks to a share: it makes requests byte by byte and takes answers apart.</summary>
internal sealed unsafe class Guest(FuseServer server)
{
    public const ulong Root = 1;
    private const int Room = 256 << 10;

    private ulong _unique;

    public FuseServer Server => server;

    /// <summary>Into how many bytes requests and answers are cut, the last piece taking the rest.</summary>
    public int PieceLength { get; set; } = Room;

    /// <summary>The answer's body; the error is 0 or positive.</summary>
    public (int Error, byte[] Body) Ask(FuseOpcode opcode, ulong node, params ReadOnlySpan<byte> arguments) => Ask(opcode, node, arguments, Room, mayWait: true)!.Value;

    /// <summary>Null if the server would have to wait.</summary>
    public (int Error, byte[] Body)? Ask(FuseOpcode opcode, ulong node, ReadOnlySpan<byte> arguments, int room, bool mayWait)
    {
        var header = new InHeader { Length = (uint)(sizeof(InHeader) + arguments.Length), Opcode = opcode, Unique = ++_unique, Node = node };
        byte[] request = [.. MemoryMarshal.AsBytes(new ReadOnlySpan<InHeader>(in header)), .. arguments];
        byte[] answer = new byte[room];
        uint written;
        fixed (byte* from = request, to = answer)
        {
            if (!server.TryServe(Pieces(from, request.Length), Pieces(to, room), mayWait, out written))
            {
                Assert.False(mayWait);
                return null;
            }
        }

        if (written == 0)
        {
            return (0, []);
        }

        OutHeader told = MemoryMarshal.Read<OutHeader>(answer);
        Assert.Equal(written, told.Length);
        Assert.Equal(_unique, told.Unique);
        Assert.InRange(told.Error, -4095, 0);
        return (-told.Error, answer[sizeof(OutHeader)..(int)written]);
    }

    /// <summary>Asks what must succeed.</summary>
    public byte[] Must(FuseOpcode opcode, ulong node, params ReadOnlySpan<byte> arguments)
    {
        (int error, byte[] body) = Ask(opcode, node, arguments);
        Assert.True(error == 0, $"{opcode}: {Posix.Describe(error)}");
        return body;
    }

    public T Must<T>(FuseOpcode opcode, ulong node, params ReadOnlySpan<byte> arguments)
        where T : unmanaged => MemoryMarshal.Read<T>(Must(opcode, node, arguments));

    public InitOut Initialize(uint major = 7, uint minor = 38, uint flags = uint.MaxValue) =>
        Must<InitOut>(FuseOpcode.Init, 0, [.. Bytes(major), .. Bytes(minor), .. Bytes(65536u), .. Bytes(flags), .. new byte[48]]);

    public (int Error, EntryOut Entry) Lookup(ulong folder, string name)
    {
        (int error, byte[] body) = Ask(FuseOpcode.Lookup, folder, Name(name));
        return (error, error == 0 ? MemoryMarshal.Read<EntryOut>(body) : default);
    }

    /// <summary>The node at the end of a path from the root.</summary>
    public ulong Find(params ReadOnlySpan<string> path)
    {
        ulong node = Root;
        foreach (string name in path)
        {
            (int error, EntryOut entry) = Lookup(node, name);
            Assert.Equal(0, error);
            node = entry.Node;
        }

        return node;
    }

    public (int Error, ulong Handle) Open(ulong node, int flags = 0, FuseOpcode opcode = FuseOpcode.Open)
    {
        (int error, byte[] body) = Ask(opcode, node, [.. Bytes(flags), .. Bytes(0)]);
        return (error, error == 0 ? MemoryMarshal.Read<ulong>(body) : 0);
    }

    public (int Error, ulong Node, ulong Handle) Create(ulong folder, string name, int flags = Posix.ReadWrite | Posix.Create, uint mode = 0x1A4)
    {
        (int error, byte[] body) = Ask(FuseOpcode.Create, folder, [.. Bytes(flags), .. Bytes(mode), .. Bytes(0x12), .. Bytes(0), .. Name(name)]);
        return error != 0 ? (error, 0, 0) : (0, MemoryMarshal.Read<EntryOut>(body).Node, MemoryMarshal.Read<ulong>(body.AsSpan(sizeof(EntryOut))));
    }

    public (int Error, byte[] Data) Read(ulong handle, long offset, int size) => Ask(FuseOpcode.Read, 0, Transfer(handle, offset, size));

    public (int Error, uint Size) Write(ulong handle, long offset, ReadOnlySpan<byte> data)
    {
        (int error, byte[] body) = Ask(FuseOpcode.Write, 0, [.. Transfer(handle, offset, data.Length), .. data]);
        return (error, error == 0 ? MemoryMarshal.Read<uint>(body) : 0);
    }

    public int Error(FuseOpcode opcode, ulong node, params ReadOnlySpan<byte> arguments) => Ask(opcode, node, arguments).Error;

    /// <summary>All names of a folder.</summary>
    public List<string> List(ulong node, int size = 4096)
    {
        (int error, ulong handle) = Open(node, Posix.Directory, FuseOpcode.OpenDir);
        Assert.Equal(0, error);
        List<string> names = [];
        ulong offset = 0;
        while (true)
        {
            byte[] body = Must(FuseOpcode.ReadDir, node, Transfer(handle, (long)offset, size));
            if (body.Length == 0)
            {
                break;
            }

            for (int at = 0; at < body.Length;)
            {
                DirectoryEntry entry = MemoryMarshal.Read<DirectoryEntry>(body.AsSpan(at));
                names.Add(Encoding.UTF8.GetString(body.AsSpan(at + sizeof(DirectoryEntry), (int)entry.NameLength)));
                offset = entry.Offset;
                at += (sizeof(DirectoryEntry) + (int)entry.NameLength + 7) & ~7;
            }
        }

        _ = Must(FuseOpcode.ReleaseDir, node, [.. Bytes(handle), .. new byte[16]]);
        return names;
    }

    /// <summary>READDIRPLUS: what is said of each name, until the room is full.</summary>
    public List<(string Name, EntryOut Entry)> ListPlus(ulong node, int size)
    {
        (_, ulong handle) = Open(node, Posix.Directory, FuseOpcode.OpenDir);
        byte[] body = Must(FuseOpcode.ReadDirPlus, node, Transfer(handle, 0, size));
        List<(string, EntryOut)> entries = [];
        for (int at = 0; at < body.Length;)
        {
            EntryOut entry = MemoryMarshal.Read<EntryOut>(body.AsSpan(at));
            DirectoryEntry name = MemoryMarshal.Read<DirectoryEntry>(body.AsSpan(at + sizeof(EntryOut)));
            int start = at + sizeof(EntryOut) + sizeof(DirectoryEntry);
            entries.Add((Encoding.UTF8.GetString(body.AsSpan(start, (int)name.NameLength)), entry));
            at = (start + (int)name.NameLength + 7) & ~7;
        }

        _ = Must(FuseOpcode.ReleaseDir, node, [.. Bytes(handle), .. new byte[16]]);
        return entries;
    }

    public void Forget(ulong node, ulong lookups) => Assert.Empty(Must(FuseOpcode.Forget, node, Bytes(lookups)));

    public static byte[] Name(string name) => [.. Encoding.UTF8.GetBytes(name), 0];

    public static byte[] Bytes(uint value)
    {
        byte[] bytes = new byte[sizeof(uint)];
        BinaryPrimitives.WriteUInt32LittleEndian(bytes, value);
        return bytes;
    }

    public static byte[] Bytes(int value) => Bytes((uint)value);

    public static byte[] Bytes(ulong value) => [.. Bytes((uint)value), .. Bytes((uint)(value >> 32))];

    public static byte[] Bytes<T>(T value)
        where T : unmanaged => MemoryMarshal.AsBytes(new ReadOnlySpan<T>(in value)).ToArray();

    public static byte[] Transfer(ulong handle, long offset, int size) =>
        Bytes(new TransferIn { Handle = handle, Offset = (ulong)offset, Size = (uint)size });

    private IoSegment[] Pieces(byte* start, int length)
    {
        List<IoSegment> pieces = [];
        while (length > PieceLength)
        {
            pieces.Add(new IoSegment(start, (nuint)PieceLength));
            start += PieceLength;
            length -= PieceLength;
        }

        pieces.Add(new IoSegment(start, (nuint)length));
        return [.. pieces];
    }
}
