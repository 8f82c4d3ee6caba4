namespace Vivarium.Devices;

/// <summary>A keyboard of the machine, as those see it who have keys to press: a terminal, a remote screen, a script.</summary>
public interface IKeyboardSink
{
    /// <summary>
    /// A key goes down or up, from any thread; never waits. Going down again while it is down is a repetition. What a guest
    /// that does not look leaves no room for is lost, as it is with a real keyboard.
    /// </summary>
    /// <param name="key">Any number; those that no keyboard has are ignored.</param>
    /// <param name="down">Pressed, or let go.</param>
    void SetKey(Key key, bool down);
}
