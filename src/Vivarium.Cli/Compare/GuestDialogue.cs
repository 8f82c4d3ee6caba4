using System.Text;

namespace Vivarium.Cli.Compare;

/// <summary>Talks to a guest on its serial console: what it says is kept, and read from where the last answer ended.</summary>
internal sealed class GuestDialogue : Stream
{
    private readonly Lock _lock = new();
    private readonly StringBuilder _said = new();
    private readonly MachineConsole _console;
    private readonly Task<MachineExit> _exit;
    private TaskCompletionSource _news = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private int _heard;

    public GuestDialogue(VirtualMachine machine)
    {
        _console = machine.Console;
        _exit = machine.WaitAsync();
        _console.Output = this;
    }

    public override bool CanRead => false;

    public override bool CanSeek => false;

    public override bool CanWrite => true;

    public override long Length => throw new NotSupportedException();

    public override long Position
    {
        get => throw new NotSupportedException();
        set => throw new NotSupportedException();
    }

    public void Say(string text) => _console.Send(Encoding.ASCII.GetBytes(text));

    /// <summary>Waits until the guest has said it; gives what it said before that.</summary>
    /// <exception cref="VivariumException">The guest has ended without saying it.</exception>
    public async Task<string> HearAsync(string text)
    {
        while (true)
        {
            Task news;
            lock (_lock)
            {
                string rest = _said.ToString(_heard, _said.Length - _heard);
                int at = rest.IndexOf(text, StringComparison.Ordinal);
                if (at >= 0)
                {
                    _heard += at + text.Length;
                    return rest[..at];
                }

                news = _news.Task;
            }

            if (await Task.WhenAny(news, _exit).ConfigureAwait(false) == _exit)
            {
                MachineExit exit = await _exit.ConfigureAwait(false);
                throw new VivariumException(exit.Kind == ExitKind.TimedOut
                    ? "the guest has not done its work within the time limit; give it more with --timeout 30m"
                    : $"the guest ended before its work was done ({exit.Kind}{(exit.Detail is null ? "" : $": {exit.Detail}")}); look at it with viv run");
            }
        }
    }

    public override void Flush()
    {
    }

    public override int Read(byte[] buffer, int offset, int count) => throw new NotSupportedException();

    public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();

    public override void SetLength(long value) => throw new NotSupportedException();

    public override void Write(byte[] buffer, int offset, int count) => Write(buffer.AsSpan(offset, count));

    public override void Write(ReadOnlySpan<byte> buffer)
    {
        TaskCompletionSource news;
        lock (_lock)
        {
            _ = _said.Append(Encoding.Latin1.GetString(buffer));
            news = _news;
            _news = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        }

        news.SetResult();
    }
}
