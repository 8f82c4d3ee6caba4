using System.Text;
using System.Text.RegularExpressions;
using Vivarium.Expect;

namespace Vivarium.Guests.Tests.Debian;

/// <summary>A machine in this process, with its console at hand.</summary>
internal sealed class LibraryMachine : IGuestConsole, IAsyncDisposable
{
    private readonly Transcript _transcript = new();
    private readonly Transcript _log = new();

    public LibraryMachine(MachineSpec spec)
    {
        Machine = VirtualMachine.Create(TestOptions.With(spec));
        var console = new PlainText();
        Machine.Console.Output = new Listener(bytes =>
        {
            int before = console.Length;
            console.Append(bytes);
            _transcript.Add(console.From(before));
        });
        Machine.DebugOutput = new Listener(bytes => _log.Add(Encoding.Latin1.GetString(bytes)));
        Machine.Start();
    }

    public VirtualMachine Machine { get; }

    public void Send(string text) => Machine.Console.Send(Encoding.Latin1.GetBytes(text));

    /// <inheritdoc/>
    /// <remarks>
    /// As a terminal shows it: SeaBIOS's serial console moves the cursor with every tick of its clock that comes between a character and
    /// the call that moves it on, so that any text of a boot loader may have a control sequence in it.
    /// </remarks>
    public Match Expect(string pattern, TimeSpan patience) => _transcript.Expect(pattern, patience, () => $"and the log:\n{_log}");

    /// <summary>As <see cref="Expect"/>, of what the guest writes to debug ports: firmware's messages.</summary>
    public Match ExpectLog(string pattern, TimeSpan patience) => _log.Expect(pattern, patience);

    public async ValueTask DisposeAsync() => await Machine.DisposeAsync();

    private sealed class Listener(Action<ReadOnlySpan<byte>> heard) : Stream
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

        public override void Write(byte[] buffer, int offset, int count) => heard(buffer.AsSpan(offset, count));

        public override void Write(ReadOnlySpan<byte> buffer) => heard(buffer);
    }
}
