using System.Text;
using System.Text.RegularExpressions;

namespace Vivarium.Guests.Tests.Debian;

/// <summary>A machine in this process, with its console at hand.</summary>
internal sealed class LibraryMachine : IGuestConsole, IAsyncDisposable
{
    private readonly Transcript _transcript = new();
    private readonly Transcript _log = new();

    public LibraryMachine(MachineSpec spec)
    {
        Machine = VirtualMachine.Create(TestOptions.With(spec));
        Machine.Console.Output = new Listener(_transcript);
        Machine.DebugOutput = new Listener(_log);
        Machine.Start();
    }

    public VirtualMachine Machine { get; }

    public void Send(string text) => Machine.Console.Send(Encoding.Latin1.GetBytes(text));

    public Match Expect(string pattern, TimeSpan patience) => _transcript.Expect(pattern, patience, () => $"and the log:\n{_log}");

    /// <summary>As <see cref="Expect"/>, of what the guest writes to debug ports: firmware's messages.</summary>
    public Match ExpectLog(string pattern, TimeSpan patience) => _log.Expect(pattern, patience);

    public async ValueTask DisposeAsync() => await Machine.DisposeAsync();

    private sealed class Listener(Transcript transcript) : Stream
    {
        public override bool CanRead => false;

        public override bool CanSeek => false;

        public override bool CanWrite => true;

        public override long Length => throw new NotSupportedException();

        public override long Position
        {
            get => throw new NotSupportedException();
            set => throw new NotSupportedException();
        }

        public override void Flush()
        {
        }

        public override int Read(byte[] buffer, int offset, int count) => throw new NotSupportedException();

        public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();

        public override void SetLength(long value) => throw new NotSupportedException();

        public override void Write(byte[] buffer, int offset, int count) => transcript.Add(Encoding.Latin1.GetString(buffer, offset, count));

        public override void Write(ReadOnlySpan<byte> buffer) => transcript.Add(Encoding.Latin1.GetString(buffer));
    }
}
