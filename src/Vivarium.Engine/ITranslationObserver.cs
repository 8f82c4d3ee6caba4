namespace Vivarium.Engine;

/// <summary>Sees an engine's translations come and go. Called with the engine's locks held: it returns at once.</summary>
public interface ITranslationObserver
{
    /// <summary>There is new code, which may run soon.</summary>
    /// <param name="address">Where on the host.</param>
    /// <param name="size">In bytes.</param>
    /// <param name="rip">What it is the translation of.</param>
    void Translated(ulong address, int size, ulong rip);

    /// <summary>There is code of the engine itself, which stays.</summary>
    void Made(ulong address, int size, string name);

    /// <summary>All translations have been thrown away: their addresses will be used for others.</summary>
    void ThrownAway();
}
