using System.Runtime.InteropServices;
using Vivarium.Memory;

namespace Vivarium.Devices;

/// <summary>Guest RAM as a bus master reaches it: what is ROM or no memory is not written, and reads as zero.</summary>
internal static unsafe class DmaMemory
{
    public static void Read(GuestMemory memory, ulong address, Span<byte> buffer)
    {
        if (memory.TryRead(address, buffer))
            return;
        while (!buffer.IsEmpty)
        {
            var host = memory.TryGetRam(address, (ulong)buffer.Length, out var part);
            if (host == null)
            {
                buffer.Clear();
                return;
            }

            new ReadOnlySpan<byte>(host, (int)part).CopyTo(buffer);
            buffer = buffer[(int)part..];
            address += part;
        }
    }

    public static T Read<T>(GuestMemory memory, ulong address) where T : unmanaged
    {
        T value;
        Read(memory, address, new Span<byte>(&value, sizeof(T)));
        return value;
    }

    public static void Write(GuestMemory memory, ulong address, ReadOnlySpan<byte> data)
    {
        while (!data.IsEmpty)
        {
            var host = memory.TryGetRam(address, (ulong)data.Length, out var part);
            if (host == null)
                return;
            data[..(int)part].CopyTo(new Span<byte>(host, (int)part));
            memory.NoteWritten(host, part);
            data = data[(int)part..];
            address += part;
        }
    }

    public static void Write<T>(GuestMemory memory, ulong address, T value) where T : unmanaged =>
        Write(memory, address, MemoryMarshal.AsBytes(new ReadOnlySpan<T>(in value)));
}
