using System.Runtime.InteropServices;
using Vivarium.Cli.Terminal.Host;

namespace Vivarium.Cli.Terminal;

/// <summary>Standard output as bytes, unbuffered; the console classes would put themselves between guest and terminal.</summary>
internal sealed unsafe class StandardOutput : Stream
{
    public override bool CanRead => false;
    public override bool CanSeek => false;
    public override bool CanWrite => true;
    public override long Length => throw new NotSupportedException();
    public override long Position { get => throw new NotSupportedException(); set => throw new NotSupportedException(); }

    /// <exception cref="IOException">Nobody reads any more (its HResult is <see cref="Posix.BrokenPipe"/>), or the disk is full.</exception>
    public override void Write(ReadOnlySpan<byte> buffer)
    {
        while (!buffer.IsEmpty)
        {
            nint written;
            fixed (byte* bytes = buffer)
            {
                written = Posix.Write(Posix.StandardOutput, bytes, buffer.Length);
            }

            if (written >= 0)
            {
                buffer = buffer[(int)written..];
                continue;
            }

            int error = Marshal.GetLastPInvokeError();
            switch (error)
            {
                case Posix.InterruptedCall:
                    break;
                case Posix.TryAgain:
                    // Somebody made the terminal non-blocking; wait until it takes more.
                    var fd = new Posix.PollFd { Fd = Posix.StandardOutput, Events = Posix.PollOut };
                    _ = Posix.Poll(&fd, 1, -1);
                    break;
                default:
                    throw new IOException($"cannot write to standard output: {Marshal.GetPInvokeErrorMessage(error)}", error);
            }
        }
    }

    public override void Write(byte[] buffer, int offset, int count) => Write(buffer.AsSpan(offset, count));

    public override void Flush()
    {
    }

    public override int Read(byte[] buffer, int offset, int count) => throw new NotSupportedException();

    public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();

    public override void SetLength(long value) => throw new NotSupportedException();
}
