using System.Runtime.InteropServices;
using Vivarium.Cli.Terminal.Host;

namespace Vivarium.Cli.Terminal;

/// <summary>
/// Feeds standard input to the guest's console on a thread of its own. From a terminal, the Ctrl-A commands are taken
/// out, and keys that a deaf guest does not take are dropped, so that the commands always get through. From anything
/// else every byte goes to the guest, no faster than it takes them; the end of the input does not end the machine.
/// </summary>
internal sealed unsafe class StandardInput(IKeyboard keyboard, bool terminal, Action<ConsoleCommand> command)
{
    private const int ReadSize = 1024;

    public void Start() => new Thread(Pump) { IsBackground = true, Name = "stdin" }.Start();

    private void Pump()
    {
        Span<byte> typed = stackalloc byte[ReadSize];
        Span<byte> forGuest = stackalloc byte[ReadSize];
        var filter = new EscapeFilter();
        while (Read(typed) is > 0 and int count)
        {
            if (!terminal)
            {
                _ = keyboard.Type(typed[..count]);
                continue;
            }

            int length = 0;
            foreach (byte key in typed[..count])
            {
                if (filter.Take(key, out byte send, out ConsoleCommand asked))
                {
                    forGuest[length++] = send;
                }
                else if (asked != ConsoleCommand.None)
                {
                    command(asked);
                }
            }

            _ = keyboard.TryType(forGuest[..length]);
        }
    }

    private static int Read(Span<byte> buffer)
    {
        while (true)
        {
            nint count;
            fixed (byte* bytes = buffer)
            {
                count = Posix.Read(Posix.StandardInput, bytes, buffer.Length);
            }

            if (count >= 0)
            {
                return (int)count;
            }

            switch (Marshal.GetLastPInvokeError())
            {
                case Posix.InterruptedCall:
                    break;
                case Posix.TryAgain:
                    var fd = new Posix.PollFd { Fd = Posix.StandardInput, Events = Posix.PollIn };
                    _ = Posix.Poll(&fd, 1, -1);
                    break;
                default:
                    return 0;
            }
        }
    }
}
