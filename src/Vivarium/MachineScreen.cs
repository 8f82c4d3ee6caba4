using Vivarium.Devices;
using Vivarium.Display;

namespace Vivarium;

/// <summary>
/// The monitor on a machine's video card. It outlives resets of the machine, as a monitor does, and so does the text that was on it
/// before. From any thread.
/// </summary>
public sealed class MachineScreen : IScreen
{
    private const int MostLines = 4096;

    private readonly Lock _lock = new();
    private readonly List<string> _before = [];
    private long _beforeEver;
    private IScreen? _card;

    internal MachineScreen()
    {
    }

    public bool Refresh(Frame frame)
    {
        lock (_lock)
        {
            return _card is not null && _card.Refresh(frame);
        }
    }

    public bool Refresh(TextFrame frame)
    {
        lock (_lock)
        {
            return _card is not null && _card.Refresh(frame);
        }
    }

    public ScreenText ReadText()
    {
        lock (_lock)
        {
            ScreenText now = _card?.ReadText() ?? ScreenText.Nothing;
            return _beforeEver == 0 ? now : new ScreenText([.. _before, .. now.Scrolled], _beforeEver + now.ScrolledEver, now.Visible);
        }
    }

    /// <summary>Writes what is on the screen now as a PNG file.</summary>
    /// <exception cref="VivariumException">The machine has ended, or is just being reset.</exception>
    /// <exception cref="IOException">The stream cannot be written.</exception>
    public void SavePng(Stream stream)
    {
        ArgumentNullException.ThrowIfNull(stream);
        var frame = new Frame();
        if (!Refresh(frame))
        {
            throw new VivariumException("the machine has ended or is just being reset");
        }

        PngWriter.Write(frame, stream);
    }

    /// <summary>Connects it to the card of a machine that is about to start.</summary>
    internal void Attach(IScreen card)
    {
        lock (_lock)
        {
            _card = card;
        }
    }

    /// <summary>Nobody looks at the card any more when this returns: its memory is about to go. What could be read there is kept.</summary>
    internal void Detach()
    {
        lock (_lock)
        {
            if (_card is null)
            {
                return;
            }

            ScreenText last = _card.ReadText();
            _card = null;
            _before.AddRange(last.Scrolled);
            int rows = last.Visible.Count;
            while (rows > 0 && last.Visible[rows - 1].Length == 0)
            {
                rows--;
            }

            _before.AddRange(last.Visible.Take(rows));
            _beforeEver += last.ScrolledEver + rows;
            if (_before.Count > MostLines)
            {
                _before.RemoveRange(0, _before.Count - MostLines);
            }
        }
    }
}
