using System.Text;

namespace Vivarium.Devices;

/// <summary>One port of a <see cref="VirtioConsole"/>, as the host sees it.</summary>
public sealed class VirtioConsolePort
{
    /// <summary>The name's greatest length in bytes.</summary>
    public const int MaxName = 64;

    private const int WaitingCapacity = 16384;

    private VirtioConsole? _console;

    /// <param name="output">Takes what the guest writes; null discards it.</param>
    /// <param name="name">What the guest finds the port by (/dev/virtio-ports/NAME); null for none.</param>
    /// <param name="isConsole">The guest may make it a terminal (hvc).</param>
    public VirtioConsolePort(ISerialBackend? output, string? name = null, bool isConsole = true)
    {
        NameBytes = Encoding.UTF8.GetBytes(name ?? "");
        if (NameBytes.Length > MaxName)
            throw new ArgumentException($"The name of a console port has at most {MaxName} bytes.", nameof(name));
        Output = output;
        IsConsole = isConsole;
    }

    public bool IsConsole { get; }

    /// <summary>A program in the guest has opened the port, or closed it. Called without any lock.</summary>
    public Action<bool>? GuestOpened { get; set; }

    /// <summary>Called, without any lock, when there is room again after <see cref="Receive"/> did not take all it was given.</summary>
    public Action? ReceiveReady { get; set; }

    internal ISerialBackend? Output { get; }

    internal byte[] NameBytes { get; }

    internal int Number { get; set; }

    // What follows belongs to the device's lock.

    /// <summary>Input that waits for the guest's buffers.</summary>
    internal ByteQueue Waiting { get; } = new(WaitingCapacity);

    /// <summary>Someone has been told that there is no room.</summary>
    internal bool Refused { get; set; }

    internal bool IsGuestOpen { get; set; }

    /// <summary>Control messages that wait for the guest's buffers.</summary>
    internal VirtioConsoleMessages Messages { get; set; }

    /// <summary>
    /// Gives the guest input, from any thread. Says how many bytes were taken; <see cref="ReceiveReady"/> tells when to
    /// come again with the rest.
    /// </summary>
    public int Receive(ReadOnlySpan<byte> bytes)
    {
        if (_console is not { } console)
            return 0;
        lock (console.Lock)
        {
            var taken = 0;
            while (true)
            {
                var part = Math.Min(Waiting.Room, bytes.Length - taken);
                for (var i = 0; i < part; i++)
                    Waiting.Enqueue(bytes[taken + i]);
                taken += part;
                console.Deliver(this);
                if (taken == bytes.Length)
                    return taken;
                if (Waiting.Room == 0)
                {
                    Refused = true;
                    return taken;
                }
            }
        }
    }

    internal void Connect(VirtioConsole console, int number)
    {
        if (_console is not null)
            throw new InvalidOperationException("The console port belongs to a device already.");
        _console = console;
        Number = number;
    }
}

/// <summary>Control messages to the driver, in the order in which they are sent.</summary>
[Flags]
internal enum VirtioConsoleMessages : byte
{
    None = 0,
    Add = 1,
    Name = 2,
    ConsolePort = 4,
    Resize = 8,
    Open = 16,
}
