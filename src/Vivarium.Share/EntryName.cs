using Vivarium.Share.Host;

namespace Vivarium.Share;

/// <summary>One name in a folder: not empty, no longer than the host allows, without a slash, and neither "." nor "..". It ends with a NUL in memory.</summary>
internal readonly unsafe struct EntryName
{
    private EntryName(byte* pointer, int length)
    {
        Pointer = pointer;
        Length = length;
    }

    public byte* Pointer { get; }

    /// <summary>Without the NUL.</summary>
    public int Length { get; }

    /// <summary>With the NUL.</summary>
    public ReadOnlySpan<byte> Terminated => new(Pointer, Length + 1);

    /// <summary>EINVAL for what is no name, ENAMETOOLONG for one that is too long.</summary>
    /// <param name="pointer">Ends with a NUL at <paramref name="length"/>, and has none before.</param>
    public static int TryMake(byte* pointer, int length, out EntryName name)
    {
        name = default;
        if (length > Posix.NameMax)
        {
            return Errno.NameTooLong;
        }

        var text = new ReadOnlySpan<byte>(pointer, length);
        if (length == 0 || text.SequenceEqual("."u8) || text.SequenceEqual(".."u8) || text.Contains((byte)'/'))
        {
            return Errno.Invalid;
        }

        name = new EntryName(pointer, length);
        return Errno.None;
    }
}
