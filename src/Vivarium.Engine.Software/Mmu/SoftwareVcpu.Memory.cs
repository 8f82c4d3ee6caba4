using System.Buffers.Binary;
using System.Numerics;
using System.Runtime.CompilerServices;
using Vivarium.Engine.Software.Mmu;
using Vivarium.Memory;

namespace Vivarium.Engine.Software;

// Memory as the emulated instruction families see it.
internal sealed unsafe partial class SoftwareVcpu
{
    /// <summary>Reads 1, 2, 4 or 8 bytes at a linear address with the current privilege; page-crossing and MMIO are fine. Throws <see cref="GuestException"/> (#PF, #GP) with CR2 set.</summary>
    public ulong Load(ulong linear, int size)
    {
        ulong value = Load(linear, size, DataSpace);
        NoteWhenStepping(linear, size, write: false);
        return value;
    }

    public void Store(ulong linear, int size, ulong value)
    {
        Store(linear, size, value, DataSpace);
        NoteWhenStepping(linear, size, write: true);
    }

    /// <summary>As <see cref="Load(ulong, int)"/>, as an implicit supervisor access (descriptor tables, TSS).</summary>
    public ulong LoadSystem(ulong linear, int size) => Load(linear, size, AddressSpace.Supervisor);

    public void StoreSystem(ulong linear, int size, ulong value) => Store(linear, size, value, AddressSpace.Supervisor);

    /// <summary>Sets and clears bits of a byte by a locked access, as an implicit supervisor access (types of descriptors).</summary>
    internal void ChangeSystem(ulong linear, byte set, byte clear)
    {
        CachedPage page = Translate(linear, Access.Write, AddressSpace.Supervisor);
        if (page.Host == null || page.IsRom)
        {
            StoreSystem(linear, 1, (byte)((LoadSystem(linear, 1) | set) & ~(uint)clear));
            return;
        }

        ulong offset = linear & GuestMemory.PageMask;
        AtomicByte.Change(ref page.Host[offset], set, clear);
        NoteWritten(page, offset, 1);
    }

    /// <summary>Reads or writes a larger operand (FXSAVE, XSAVE, descriptor pairs): all pages are checked before the first byte moves.</summary>
    public void LoadBytes(ulong linear, Span<byte> buffer)
    {
        LoadBytes(linear, buffer, DataSpace);
        NoteWhenStepping(linear, buffer.Length, write: false);
    }

    public void StoreBytes(ulong linear, ReadOnlySpan<byte> data)
    {
        StoreBytes(linear, data, DataSpace);
        NoteWhenStepping(linear, data.Length, write: true);
    }

    /// <summary>Checks that the whole range could be accessed, faulting as the access would, without touching it.</summary>
    public void Probe(ulong linear, int size, Access access) => Probe(linear, size, access, DataSpace);

    internal ulong Load(ulong linear, int size, AddressSpace space)
    {
        if ((linear & GuestMemory.PageMask) + (uint)size > GuestMemory.PageSize)
        {
            Span<byte> bytes = stackalloc byte[8];
            bytes.Clear();
            LoadBytes(linear, bytes[..size], space);
            return BinaryPrimitives.ReadUInt64LittleEndian(bytes);
        }

        CachedPage page = Translate(linear, Access.Read, space);
        ulong offset = linear & GuestMemory.PageMask;
        return page.Host == null ? ReadMmio(page.Gpa + offset, size) : ReadHost(page.Host + offset, size);
    }

    internal void Store(ulong linear, int size, ulong value, AddressSpace space)
    {
        if ((linear & GuestMemory.PageMask) + (uint)size > GuestMemory.PageSize)
        {
            Span<byte> bytes = stackalloc byte[8];
            BinaryPrimitives.WriteUInt64LittleEndian(bytes, value);
            StoreBytes(linear, bytes[..size], space);
            return;
        }

        CachedPage page = Translate(linear, Access.Write, space);
        ulong offset = linear & GuestMemory.PageMask;
        if (page.Host == null || page.IsRom)
        {
            WriteMmio(page.Gpa + offset, size, value);
        }
        else
        {
            WriteHost(page.Host + offset, size, value);
            NoteWritten(page, offset, size);
        }
    }

    internal void LoadBytes(ulong linear, Span<byte> buffer, AddressSpace space)
    {
        Probe(linear, buffer.Length, Access.Read, space);
        while (!buffer.IsEmpty)
        {
            ulong offset = linear & GuestMemory.PageMask;
            int part = (int)Math.Min((ulong)buffer.Length, GuestMemory.PageSize - offset);
            ReadPart(Translate(linear, Access.Read, space), offset, buffer[..part]);
            buffer = buffer[part..];
            linear = Advance(linear, part);
        }
    }

    internal void StoreBytes(ulong linear, ReadOnlySpan<byte> data, AddressSpace space)
    {
        Probe(linear, data.Length, Access.Write, space);
        while (!data.IsEmpty)
        {
            ulong offset = linear & GuestMemory.PageMask;
            int part = (int)Math.Min((ulong)data.Length, GuestMemory.PageSize - offset);
            WritePart(Translate(linear, Access.Write, space), offset, data[..part]);
            data = data[part..];
            linear = Advance(linear, part);
        }
    }

    internal void Probe(ulong linear, int size, Access access, AddressSpace space)
    {
        for (int left = size; left > 0;)
        {
            _ = Translate(linear, access, space);
            int part = (int)(GuestMemory.PageSize - (linear & GuestMemory.PageMask));
            left -= part;
            linear = Advance(linear, part);
        }
    }

    /// <summary>The linear address so many bytes on: outside 64-bit mode it wraps at 4 GiB, also under 4-level paging.</summary>
    private ulong Advance(ulong linear, int bytes)
    {
        ulong next = linear + (uint)bytes;
        return linear <= uint.MaxValue && !Code64 ? (uint)next : next;
    }

    private void NoteWhenStepping(ulong linear, int size, bool write)
    {
        if (Stepping || _watchpoints.Length != 0)
        {
            NoteDataBreakpoints(linear, size, write);
        }
    }

    private CachedPage Translate(ulong linear, Access access, AddressSpace space)
    {
        if (!LongModeActive)
        {
            linear = (uint)linear;
        }
        else if (!IsCanonical(linear))
        {
            throw GuestException.Protection();
        }

        if (!TryTranslate(linear, access, space, out CachedPage page, out uint errorCode))
        {
            S->Cr2 = linear;
            throw new GuestException(Vector.PageFault, errorCode);
        }

        return page;
    }

    /// <summary>Bytes of RAM have been written.</summary>
    private void NoteWritten(in CachedPage page, ulong offset, int size)
    {
        if (!_rendezvous.Alone)
        {
            // Who translates sets the flag and then reads the bytes.
            Interlocked.MemoryBarrier();
        }

        if (page.IsCode)
        {
            CountInvalidated(CodeWatch.Invalidate(page.Gpa + offset, size));
        }

        SlotFlags.Clear(page.Flags, PageFlags.Clean);
    }

    private void ReadPart(in CachedPage page, ulong offset, Span<byte> buffer)
    {
        if (page.Host != null)
        {
            new ReadOnlySpan<byte>(page.Host + offset, buffer.Length).CopyTo(buffer);
            return;
        }

        ulong gpa = page.Gpa + offset;
        Span<byte> piece = stackalloc byte[8];
        while (!buffer.IsEmpty)
        {
            int size = MmioPiece(gpa, buffer.Length);
            BinaryPrimitives.WriteUInt64LittleEndian(piece, ReadMmio(gpa, size));
            piece[..size].CopyTo(buffer);
            buffer = buffer[size..];
            gpa += (uint)size;
        }
    }

    private void WritePart(in CachedPage page, ulong offset, ReadOnlySpan<byte> data)
    {
        if (page.Host != null && !page.IsRom)
        {
            data.CopyTo(new Span<byte>(page.Host + offset, data.Length));
            NoteWritten(page, offset, data.Length);
            return;
        }

        ulong gpa = page.Gpa + offset;
        Span<byte> piece = stackalloc byte[8];
        while (!data.IsEmpty)
        {
            int size = MmioPiece(gpa, data.Length);
            piece.Clear();
            data[..size].CopyTo(piece);
            WriteMmio(gpa, size, BinaryPrimitives.ReadUInt64LittleEndian(piece));
            data = data[size..];
            gpa += (uint)size;
        }
    }

    private ulong ReadMmio(ulong gpa, int size)
    {
        ulong value = 0;
        for (int done = 0; done < size;)
        {
            int piece = MmioPiece(gpa + (uint)done, size - done);
            CountMmio(gpa + (uint)done);
            ulong part = Bus.ReadMmio(gpa + (uint)done, piece);
            value |= (piece == 8 ? part : part & ((1ul << (piece * 8)) - 1)) << (done * 8);
            done += piece;
        }

        return value;
    }

    private void WriteMmio(ulong gpa, int size, ulong value)
    {
        for (int done = 0; done < size;)
        {
            int piece = MmioPiece(gpa + (uint)done, size - done);
            CountMmio(gpa + (uint)done);
            ulong part = value >> (done * 8);
            Bus.WriteMmio(gpa + (uint)done, piece, piece == 8 ? part : part & ((1ul << (piece * 8)) - 1));
            done += piece;
        }
    }

    /// <summary>The largest naturally aligned piece of 1, 2, 4 or 8 bytes that an access can begin with.</summary>
    private static int MmioPiece(ulong gpa, int left)
    {
        int aligned = 1 << Math.Min(3, BitOperations.TrailingZeroCount(gpa));
        return Math.Min(aligned, 1 << BitOperations.Log2((uint)Math.Min(left, 8)));
    }

    private static ulong ReadHost(byte* host, int size) => size switch
    {
        1 => *host,
        2 => Unsafe.ReadUnaligned<ushort>(host),
        4 => Unsafe.ReadUnaligned<uint>(host),
        _ => Unsafe.ReadUnaligned<ulong>(host),
    };

    private static void WriteHost(byte* host, int size, ulong value)
    {
        switch (size)
        {
            case 1:
                *host = (byte)value;
                break;
            case 2:
                Unsafe.WriteUnaligned(host, (ushort)value);
                break;
            case 4:
                Unsafe.WriteUnaligned(host, (uint)value);
                break;
            default:
                Unsafe.WriteUnaligned(host, value);
                break;
        }
    }
}
