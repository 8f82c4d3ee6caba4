namespace Vivarium.Devices;

/// <summary>A mouse or tablet of the machine, as those see it who have something to point at. From any thread; never waits.</summary>
public interface IPointerSink
{
    /// <summary>The guest has a device that takes places on the screen, and uses it; otherwise it takes only motions.</summary>
    bool IsAbsolute { get; }

    /// <summary>A motion, in counts (about a pixel each), to the right and down; a guest without a wheel does not see that.</summary>
    /// <param name="x">To the right.</param>
    /// <param name="y">Down.</param>
    /// <param name="wheel">Notches towards the user.</param>
    /// <param name="buttons">Those that are down now.</param>
    void Move(int x, int y, int wheel, PointerButtons buttons);

    /// <summary>A place on the screen, from 0 (left, top) to 65535 (right, bottom); ignored unless <see cref="IsAbsolute"/>.</summary>
    /// <param name="x">From the left.</param>
    /// <param name="y">From the top.</param>
    /// <param name="wheel">Notches towards the user.</param>
    /// <param name="buttons">Those that are down now.</param>
    void MoveTo(ushort x, ushort y, int wheel, PointerButtons buttons);
}
