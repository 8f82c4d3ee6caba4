using Vivarium.Devices;
using Vivarium.Display;

namespace Vivarium;

/// <summary>The monitor on a machine's video card. It outlives resets of the machine, as a monitor does. From any thread.</summary>
public sealed class MachineScreen : IScreen
{
    private volatile IScreen? _card;

    internal MachineScreen()
    {
    }

    public bool Refresh(Frame frame) => _card is { } card && card.Refresh(frame);

    public bool Refresh(TextFrame frame) => _card is { } card && card.Refresh(frame);

    public ScreenText ReadText() => _card?.ReadText() ?? ScreenText.Nothing;

    /// <summary>Writes what is on the screen now as a PNG file.</summary>
    /// <exception cref="IOException">The stream cannot be written.</exception>
    public void SavePng(Stream stream)
    {
        ArgumentNullException.ThrowIfNull(stream);
        var frame = new Frame();
        _ = Refresh(frame);
        PngWriter.Write(frame, stream);
    }

    /// <summary>Connects it to the card of a machine that is about to start.</summary>
    internal void Attach(IScreen card) => _card = card;
}
