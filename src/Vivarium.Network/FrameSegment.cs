using System.Runtime.InteropServices;

namespace Vivarium.Network;

/// <summary>A piece of a frame in memory; laid out like iovec of readv(2).</summary>
[StructLayout(LayoutKind.Sequential)]
public readonly unsafe struct FrameSegment(byte* address, nuint length)
{
    public readonly byte* Address = address;
    public readonly nuint Length = length;

    /// <summary>Copies a frame together and says its length; 0 when it is longer than the destination.</summary>
    internal static int Gather(ReadOnlySpan<FrameSegment> frame, Span<byte> destination)
    {
        var length = 0;
        foreach (ref readonly var segment in frame)
        {
            if (segment.Length > (nuint)(destination.Length - length))
                return 0;
            new ReadOnlySpan<byte>(segment.Address, (int)segment.Length).CopyTo(destination[length..]);
            length += (int)segment.Length;
        }
        return length;
    }
}
