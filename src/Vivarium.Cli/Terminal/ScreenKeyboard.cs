using Vivarium.Devices;
using Vivarium.Display;

namespace Vivarium.Cli.Terminal;

/// <summary>Presses the keys of the machine's keyboard that a terminal's bytes stand for.</summary>
internal sealed class ScreenKeyboard(IKeyboardSink keyboard) : IKeyboard
{
    /// <summary>What is pasted comes no faster than firmware and consoles keep up with.</summary>
    private static readonly TimeSpan s_pause = TimeSpan.FromMilliseconds(8);

    public bool Type(ReadOnlySpan<byte> keys) => TryType(keys);

    public bool TryType(ReadOnlySpan<byte> keys)
    {
        bool first = true;
        TerminalKeys.Read(keys, stroke =>
        {
            if (!first)
            {
                Thread.Sleep(s_pause);
            }

            first = false;
            stroke.Press(keyboard);
        });
        return true;
    }
}
