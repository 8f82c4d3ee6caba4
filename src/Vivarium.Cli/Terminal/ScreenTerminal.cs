using System.Text;
using Vivarium.Cli.Terminal.Host;
using Vivarium.Devices;
using Vivarium.Display;

namespace Vivarium.Cli.Terminal;

/// <summary>Shows a machine's text screen in this terminal, on a thread of its own, until it is disposed of.</summary>
internal sealed class ScreenTerminal : IDisposable
{
    private static readonly TimeSpan s_refresh = TimeSpan.FromMilliseconds(25);
    private static readonly TimeSpan s_messageTime = TimeSpan.FromSeconds(4);

    private readonly IScreen _screen;
    private readonly StandardOutput _output = new();
    private readonly TextFrame _frame = new();
    private readonly TextPainter _painter = new();
    private readonly Thread _thread;
    private readonly ManualResetEventSlim _ending = new();
    private readonly Lock _messages = new();
    private string? _message;
    private long _messageEnd;
    private (int Columns, int Rows) _size;

    private ScreenTerminal(IScreen screen)
    {
        _screen = screen;
        _thread = new Thread(Show) { IsBackground = true, Name = "screen" };
        _thread.Start();
    }

    /// <summary>What gives the terminal back, in the notation of printf.</summary>
    public static string LeaveForPrintf => TextPainter.Leave.Replace("\x1B", "\\033", StringComparison.Ordinal);

    /// <summary>Fills the terminal with the screen. What viv says meanwhile is shown in its last line, and written when the terminal is given back.</summary>
    public static ScreenTerminal Enter(IScreen screen)
    {
        var terminal = new ScreenTerminal(screen);
        Notices.ShowBy(terminal.Say);
        return terminal;
    }

    /// <summary>There is a terminal to show it in, with a keyboard.</summary>
    public static bool IsPossible => RawTerminal.IsTerminal(Posix.StandardInput) && RawTerminal.IsTerminal(Posix.StandardOutput);

    /// <summary>Shows a line of viv's own over the screen's last, for a while.</summary>
    public void Say(string line)
    {
        lock (_messages)
        {
            _message = line;
            _messageEnd = Environment.TickCount64 + (long)s_messageTime.TotalMilliseconds;
        }
    }

    /// <summary>Gives the terminal back.</summary>
    public void Dispose()
    {
        if (_ending.IsSet)
        {
            return;
        }

        _ending.Set();
        _thread.Join();
        Notices.ShowBy(null);
    }

    private void Show()
    {
        try
        {
            do
            {
                Refresh();
            }
            while (!_ending.Wait(s_refresh));
            Write(TextPainter.Leave);
        }
        catch (IOException)
        {
            // The terminal has gone; the machine goes on, or its signal ends it.
        }
    }

    private void Refresh()
    {
        bool changed = _screen.Refresh(_frame);
        (int, int) size = Posix.TerminalSize(Posix.StandardOutput);
        bool resized = size != _size;
        _size = size;
        (string? message, bool isOver) = TakeMessage();
        if (isOver || resized)
        {
            _painter.Forget();
        }

        if (!changed && !resized && !isOver && message is null)
        {
            return;
        }

        string text = _painter.Paint(_frame, _size.Columns, _size.Rows);
        if (message is not null)
        {
            string shown = message.Length < _size.Columns ? message : message[..Math.Max(0, _size.Columns - 1)];
            text += $"\x1B[{_size.Rows};1H\x1B[0;7m{shown}\x1B[0m\x1B[K";
        }

        Write(text);
    }

    /// <summary>What is to be said now, and whether something has been said long enough.</summary>
    private (string? Message, bool IsOver) TakeMessage()
    {
        lock (_messages)
        {
            if (_message is null || Environment.TickCount64 < _messageEnd)
            {
                return (_message, false);
            }

            _message = null;
            return (null, true);
        }
    }

    private void Write(string text)
    {
        if (text.Length != 0)
        {
            _output.Write(Encoding.UTF8.GetBytes(text));
        }
    }
}
