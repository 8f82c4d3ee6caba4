namespace Vivarium.Devices;

/// <summary>What a monitor on the machine's video card would show. From any thread.</summary>
public interface IScreen
{
    /// <summary>
    /// Brings a picture up to date, and notes in it which parts have changed. Costs next to nothing while the guest changes
    /// nothing. False if nothing has changed since this frame was last refreshed.
    /// </summary>
    bool Refresh(Frame frame);

    /// <summary>As <see cref="Refresh(Frame)"/>, for the characters of a text mode; in graphics modes there are none.</summary>
    bool Refresh(TextFrame frame);

    /// <summary>The text on the screen, and what has scrolled off it. Null in graphics modes where nothing was written before.</summary>
    ScreenText ReadText();
}
