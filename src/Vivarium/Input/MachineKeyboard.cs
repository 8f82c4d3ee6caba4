using Vivarium.Devices;

namespace Vivarium.Input;

/// <summary>The keyboard of a machine. It outlives resets: what is pressed while there is no power goes nowhere.</summary>
public sealed class MachineKeyboard : IKeyboardSink
{
    /// <summary>How long a key is held, and how long the next waits: what firmware and consoles keep up with.</summary>
    public static readonly TimeSpan DefaultPause = TimeSpan.FromMilliseconds(10);

    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(10);
    private static readonly TimeSpan s_look = TimeSpan.FromMilliseconds(1);

    private readonly SemaphoreSlim _turn = new(1);
    private volatile Ps2Keyboard? _device;

    internal MachineKeyboard(bool isPresent) => IsPresent = isPresent;

    /// <summary>The machine has one.</summary>
    public bool IsPresent { get; }

    /// <summary>The lamps as the guest has set them: bit 0 Scroll Lock, bit 1 Num Lock, bit 2 Caps Lock.</summary>
    public byte Indicators => _device?.Indicators ?? 0;

    public void SetKey(Key key, bool down) => _device?.SetKey(key, down);

    /// <summary>
    /// Types a text on a US keyboard, no faster than the guest takes it; \n is Enter, \t Tab, \b Backspace and U+001B Escape. Texts
    /// and chords that are typed at the same time come one after the other.
    /// </summary>
    /// <param name="pause">How long each key is held, and how long the next waits; <see cref="DefaultPause"/> if null.</param>
    /// <exception cref="InvalidInputException">There is no keyboard, or a character that a US keyboard does not have.</exception>
    /// <exception cref="VivariumException">The guest does not take keys.</exception>
    public async Task TypeAsync(string text, TimeSpan? pause = null, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(text);
        RequirePresence();
        TypedText.Check(text);
        await _turn.WaitAsync(cancellation).ConfigureAwait(false);
        try
        {
            foreach (char character in text)
            {
                _ = UsKeyboard.TryFind(character, out Key key, out bool shift);
                await StrikeAsync(shift ? [Key.LeftShift, key] : [key], pause ?? DefaultPause, cancellation).ConfigureAwait(false);
            }
        }
        finally
        {
            _ = _turn.Release();
        }
    }

    /// <summary>Presses keys together and lets them go.</summary>
    /// <param name="pause">As with <see cref="TypeAsync"/>.</param>
    /// <exception cref="InvalidInputException">There is no keyboard.</exception>
    /// <exception cref="VivariumException">The guest does not take keys.</exception>
    public async Task PressAsync(KeyChord chord, TimeSpan? pause = null, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(chord);
        RequirePresence();
        await _turn.WaitAsync(cancellation).ConfigureAwait(false);
        try
        {
            await StrikeAsync(chord.Keys, pause ?? DefaultPause, cancellation).ConfigureAwait(false);
        }
        finally
        {
            _ = _turn.Release();
        }
    }

    /// <summary>Connects the keyboard of a machine that is about to start; null when it has ended.</summary>
    internal void Attach(Ps2Keyboard? device) => _device = device;

    private async Task StrikeAsync(IReadOnlyList<Key> keys, TimeSpan pause, CancellationToken cancellation)
    {
        await WaitForGuestAsync(cancellation).ConfigureAwait(false);
        foreach (Key key in keys)
        {
            SetKey(key, true);
        }

        // Let go in any case: a key that is held repeats.
        try
        {
            await Task.Delay(pause, cancellation).ConfigureAwait(false);
        }
        finally
        {
            foreach (Key key in keys.Reverse())
            {
                SetKey(key, false);
            }
        }

        await Task.Delay(pause, cancellation).ConfigureAwait(false);
    }

    private async Task WaitForGuestAsync(CancellationToken cancellation)
    {
        long end = Environment.TickCount64 + (long)s_patience.TotalMilliseconds;
        while (_device is not { IsDrained: true, IsScanning: true })
        {
            if (Environment.TickCount64 > end)
            {
                throw new VivariumException($"the guest does not take keys: it has not looked at its keyboard for {s_patience.TotalSeconds:0} s");
            }

            await Task.Delay(s_look, cancellation).ConfigureAwait(false);
        }
    }

    private void RequirePresence()
    {
        if (!IsPresent)
        {
            throw new InvalidInputException("this machine has no keyboard; a machine run with --virt full has one, and viv console types on the serial line of any");
        }
    }
}
