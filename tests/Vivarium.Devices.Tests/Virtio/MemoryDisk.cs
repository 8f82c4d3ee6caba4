namespace Vivarium.Devices.Tests;

/// <summary>A disk in an array, which can be told to fail or to wait.</summary>
internal sealed class MemoryDisk(int length) : IBlockBackend
{
    public byte[] Bytes { get; } = new byte[length];

    public List<string> Log { get; } = [];

    public Exception? Failure { get; set; }

    /// <summary>A byte that can be neither read nor written.</summary>
    public ulong BadByte { get; set; } = ulong.MaxValue;

    /// <summary>Flush waits for it.</summary>
    public ManualResetEventSlim FlushGate { get; } = new(true);

    public ulong Length { get; set; } = (ulong)length;

    public uint LogicalBlockSize { get; init; } = 512;

    public uint PhysicalBlockSize { get; init; } = 4096;

    public bool ReadOnly { get; init; }

    public bool CanDiscard => true;

    public bool CanWriteZeroes => true;

    public void Read(ulong offset, ReadOnlySpan<IoSegment> segments)
    {
        Check();
        CheckBadByte(offset, segments);
        foreach (var segment in segments)
        {
            Bytes.AsSpan((int)offset, (int)segment.Length).CopyTo(segment.Span);
            offset += segment.Length;
        }
    }

    public void Write(ulong offset, ReadOnlySpan<IoSegment> segments)
    {
        Check();
        CheckBadByte(offset, segments);
        foreach (var segment in segments)
        {
            segment.Span.CopyTo(Bytes.AsSpan((int)offset));
            offset += segment.Length;
        }
    }

    public void Flush()
    {
        FlushGate.Wait();
        Check();
        lock (Log)
            Log.Add("flush");
    }

    public void Discard(ulong offset, ulong length)
    {
        Check();
        lock (Log)
            Log.Add($"discard {offset} {length}");
    }

    public void WriteZeroes(ulong offset, ulong length, bool mayUnmap)
    {
        Check();
        Log.Add($"zero {offset} {length} {mayUnmap}");
        Bytes.AsSpan((int)offset, (int)length).Clear();
    }

    private void CheckBadByte(ulong offset, ReadOnlySpan<IoSegment> segments)
    {
        foreach (var segment in segments)
        {
            if (BadByte >= offset && BadByte < offset + segment.Length)
                throw new IOException("bad byte");
            offset += segment.Length;
        }
    }

    private void Check()
    {
        if (Failure is { } failure)
            throw failure;
    }
}
