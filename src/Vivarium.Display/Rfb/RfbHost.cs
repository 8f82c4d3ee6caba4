using Vivarium.Devices;

namespace Vivarium.Display.Rfb;

/// <summary>What an <see cref="RfbServer"/> shows, and to whom it gives what its clients type and point at.</summary>
/// <param name="Name">What clients show in their title.</param>
/// <param name="Screen">What is shown.</param>
/// <param name="Keyboard">Null if keys are nobody's.</param>
/// <param name="Pointer">Null if there is no mouse.</param>
/// <param name="Password">Null or empty if none is asked for. Eight characters count.</param>
public sealed record RfbHost(string Name, IScreen Screen, IKeyboardSink? Keyboard = null, IPointerSink? Pointer = null, string? Password = null);
