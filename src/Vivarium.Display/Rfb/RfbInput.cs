using System.Buffers.Binary;

namespace Vivarium.Display.Rfb;

/// <summary>What a client sends, read to measure: never more than a message has.</summary>
internal sealed class RfbInput(Stream stream)
{
    private readonly byte[] _buffer = new byte[4096];
    private int _start;
    private int _end;

    /// <summary>The next bytes; they hold until the next call. At most 4096.</summary>
    /// <exception cref="EndOfStreamException">The client has gone.</exception>
    public async ValueTask<ReadOnlyMemory<byte>> ReadAsync(int count, CancellationToken cancellation)
    {
        if (_end - _start < count)
        {
            _buffer.AsSpan(_start, _end - _start).CopyTo(_buffer);
            _end -= _start;
            _start = 0;
        }

        while (_end - _start < count)
        {
            int read = await stream.ReadAsync(_buffer.AsMemory(_end), cancellation).ConfigureAwait(false);
            if (read == 0)
            {
                throw new EndOfStreamException();
            }

            _end += read;
        }

        ReadOnlyMemory<byte> bytes = _buffer.AsMemory(_start, count);
        _start += count;
        return bytes;
    }

    public async ValueTask<byte> ReadByteAsync(CancellationToken cancellation) => (await ReadAsync(1, cancellation).ConfigureAwait(false)).Span[0];

    public async ValueTask<ushort> ReadUInt16Async(CancellationToken cancellation) => BinaryPrimitives.ReadUInt16BigEndian((await ReadAsync(2, cancellation).ConfigureAwait(false)).Span);

    public async ValueTask<uint> ReadUInt32Async(CancellationToken cancellation) => BinaryPrimitives.ReadUInt32BigEndian((await ReadAsync(4, cancellation).ConfigureAwait(false)).Span);

    public async ValueTask SkipAsync(long count, CancellationToken cancellation)
    {
        while (count > 0)
        {
            int part = (int)Math.Min(count, _buffer.Length);
            _ = await ReadAsync(part, cancellation).ConfigureAwait(false);
            count -= part;
        }
    }
}
