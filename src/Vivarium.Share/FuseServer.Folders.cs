using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Vivarium.Share.Host;
using Vivarium.Share.Nodes;
using Vivarium.Share.Protocol;

namespace Vivarium.Share;

/// <summary>Reading open folders.</summary>
public sealed unsafe partial class FuseServer
{
    /// <summary>How much of a folder is read from the host at once, in bytes.</summary>
    private const int FolderBuffer = 16 << 10;

    // struct linux_dirent64 (getdents(2)): inode, position of the next, length, type, name.
    private const int NextField = 8;
    private const int LengthField = 16;
    private const int TypeField = 18;
    private const int NameField = 19;

    private const int EntryAlignment = sizeof(ulong);

    [SkipLocalsInit]
    private int ReadFolder(ref Request asked, ref Answer reply, bool isPlus)
    {
        if (!asked.TryRead(out TransferIn arguments) || arguments.Offset > long.MaxValue)
        {
            return Errno.Invalid;
        }

        int error = _session.TryLeaseFile(arguments.Handle, isFolder: true, out Lease lease, out OpenFile file);
        if (error != Errno.None)
        {
            return error;
        }

        using (lease)
        {
            byte* buffer = stackalloc byte[FolderBuffer];
            nint length;
            lock (file.Position)
            {
                if (Posix.Lseek(lease.Descriptor, (long)arguments.Offset, Posix.SeekSet) < 0)
                {
                    return Posix.LastError;
                }

                length = Posix.Getdents64(lease.Descriptor, buffer, FolderBuffer);
            }

            if (length < 0)
            {
                return Posix.LastError;
            }

            long room = Math.Min(arguments.Size, reply.Room);
            for (byte* entry = buffer; entry < buffer + length; entry += Unsafe.ReadUnaligned<ushort>(entry + LengthField))
            {
                byte* name = entry + NameField;
                int nameLength = MemoryMarshal.CreateReadOnlySpanFromNullTerminated(name).Length;
                int whole = (isPlus ? sizeof(EntryOut) : 0) + sizeof(DirectoryEntry) + nameLength;
                int padding = -whole & (EntryAlignment - 1);
                room -= whole + padding;
                if (room < 0)
                {
                    // An empty answer would mean the folder's end.
                    return entry == buffer ? Errno.Invalid : Errno.None;
                }

                var told = new DirectoryEntry
                {
                    Inode = Unsafe.ReadUnaligned<ulong>(entry),
                    Offset = Unsafe.ReadUnaligned<ulong>(entry + NextField),
                    NameLength = (uint)nameLength,
                    Type = entry[TypeField],
                };
                if (isPlus)
                {
                    _ = reply.TryWrite(EntryOf(lease.Descriptor, file.Node.Id, name, nameLength));
                }

                _ = reply.TryWrite(told);
                _ = reply.TryWrite(new ReadOnlySpan<byte>(name, nameLength));
                ulong zeroes = 0;
                _ = reply.TryWrite(new ReadOnlySpan<byte>(&zeroes, padding));
            }

            return Errno.None;
        }
    }

    /// <summary>What READDIRPLUS says of a name: nothing, which is node 0, if it cannot be said or is "." or "..".</summary>
    private EntryOut EntryOf(int folder, ulong folderNode, byte* name, int length) =>
        EntryName.TryMake(name, length, out EntryName entryName) == Errno.None && TryEnter(folder, folderNode, entryName, out EntryOut entry) == Errno.None ? entry : default;
}
