namespace Vivarium.Devices;

/// <summary>
/// The readable or the writable part of a buffer: pieces of guest RAM in order. A device takes bytes from its front (headers,
/// data) or its end (status bytes), whatever way the driver has cut it into descriptors (virtio 1.2, 2.6.4). The guest can
/// change what is in it at any time: what is checked must first be copied.
/// </summary>
public unsafe struct IoSegments
{
    private IoSegment* _first;

    internal IoSegments(IoSegment* first, int count, ulong length)
    {
        _first = first;
        Count = count;
        Length = length;
    }

    /// <summary>How many pieces; none is empty.</summary>
    public int Count { get; private set; }

    /// <summary>What is left, in bytes; less than 2^32.</summary>
    public ulong Length { get; private set; }

    /// <summary>The pieces that are left.</summary>
    public readonly ReadOnlySpan<IoSegment> Span => new(_first, Count);

    /// <summary>Copies bytes out of the front and drops them; false, with nothing changed, if there are fewer.</summary>
    public bool TryRead(Span<byte> destination)
    {
        if ((ulong)destination.Length > Length)
            return false;
        while (!destination.IsEmpty)
        {
            var part = (int)Math.Min((nuint)destination.Length, _first->Length);
            new ReadOnlySpan<byte>(_first->Address, part).CopyTo(destination);
            destination = destination[part..];
            Drop((nuint)part);
        }

        return true;
    }

    /// <summary>Copies bytes to the front and drops it; false, with nothing changed, if there is less room.</summary>
    public bool TryWrite(ReadOnlySpan<byte> source)
    {
        if ((ulong)source.Length > Length)
            return false;
        while (!source.IsEmpty)
        {
            var part = (int)Math.Min((nuint)source.Length, _first->Length);
            source[..part].CopyTo(new Span<byte>(_first->Address, part));
            source = source[part..];
            Drop((nuint)part);
        }

        return true;
    }

    /// <summary>Drops bytes from the front; false, with nothing changed, if there are fewer.</summary>
    public bool TrySkip(ulong length)
    {
        if (length > Length)
            return false;
        while (length != 0)
        {
            var part = (nuint)Math.Min(length, _first->Length);
            Drop(part);
            length -= part;
        }

        return true;
    }

    /// <summary>Takes the last byte away and tells where it is; null if there is none.</summary>
    public byte* TakeLastByte()
    {
        if (Length == 0)
            return null;
        var last = &_first[Count - 1];
        var address = last->Address + (last->Length - 1);
        Length--;
        if (--last->Length == 0)
            Count--;
        return address;
    }

    /// <summary>Drops bytes from the end, so that <paramref name="length"/> are left; nothing if there are fewer.</summary>
    public void Truncate(ulong length)
    {
        while (Length > length)
        {
            var last = &_first[Count - 1];
            var part = (nuint)Math.Min(Length - length, last->Length);
            Length -= part;
            last->Length -= part;
            if (last->Length == 0)
                Count--;
        }
    }

    /// <summary>Drops part of the first piece, or all of it.</summary>
    private void Drop(nuint part)
    {
        Length -= part;
        _first->Address += part;
        _first->Length -= part;
        if (_first->Length == 0)
        {
            _first++;
            Count--;
        }
    }
}
