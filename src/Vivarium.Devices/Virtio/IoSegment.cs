using System.Runtime.InteropServices;

namespace Vivarium.Devices;

/// <summary>A piece of guest RAM in the host's address space; laid out as the host's <c>struct iovec</c>.</summary>
[StructLayout(LayoutKind.Sequential)]
public unsafe struct IoSegment(byte* address, nuint length)
{
    public byte* Address = address;
    public nuint Length = length;

    public readonly Span<byte> Span => new(Address, checked((int)Length));
}
