using Vivarium.Devices;

namespace Vivarium.Input;

/// <summary>The mouse of a machine. It outlives resets.</summary>
public sealed class MachinePointer : IPointerSink
{
    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(5);
    private static readonly TimeSpan s_look = TimeSpan.FromMilliseconds(1);
    private static readonly TimeSpan s_hold = TimeSpan.FromMilliseconds(30);

    private readonly SemaphoreSlim _turn = new(1);
    private volatile Ps2Mouse? _device;
    private PointerButtons _held;

    internal MachinePointer(bool isPresent) => IsPresent = isPresent;

    /// <summary>The machine has one.</summary>
    public bool IsPresent { get; }

    public bool IsAbsolute => false;

    public void Move(int x, int y, int wheel, PointerButtons buttons) => _device?.Move(x, y, wheel, buttons);

    public void MoveTo(ushort x, ushort y, int wheel, PointerButtons buttons)
    {
        // A mouse does not know where on the screen it is.
    }

    /// <summary>Moves the mouse, in counts to the right and down, and turns its wheel, in notches towards the user.</summary>
    /// <exception cref="InvalidInputException">There is no mouse.</exception>
    /// <exception cref="VivariumException">The guest does not use it.</exception>
    public Task MoveAsync(int x, int y, int wheel = 0, CancellationToken cancellation = default) =>
        InTurnAsync(() => Move(x, y, wheel, _held), cancellation);

    /// <summary>Presses buttons and lets them go.</summary>
    /// <exception cref="InvalidInputException">There is no mouse.</exception>
    /// <exception cref="VivariumException">The guest does not use it.</exception>
    public async Task ClickAsync(PointerButtons buttons, CancellationToken cancellation = default)
    {
        await HoldAsync(buttons, down: true, cancellation).ConfigureAwait(false);
        try
        {
            await Task.Delay(s_hold, cancellation).ConfigureAwait(false);
        }
        finally
        {
            await HoldAsync(buttons, down: false, CancellationToken.None).ConfigureAwait(false);
        }
    }

    /// <summary>Presses buttons, or lets them go, so that what is moved between is dragged.</summary>
    /// <exception cref="InvalidInputException">There is no mouse.</exception>
    /// <exception cref="VivariumException">The guest does not use it.</exception>
    public Task HoldAsync(PointerButtons buttons, bool down, CancellationToken cancellation = default) => InTurnAsync(
        () =>
        {
            _held = down ? _held | buttons : _held & ~buttons;
            Move(0, 0, 0, _held);
        },
        cancellation);

    /// <summary>Connects the mouse of a machine that is about to start; null when it has ended.</summary>
    internal void Attach(Ps2Mouse? device) => _device = device;

    private async Task InTurnAsync(Action act, CancellationToken cancellation)
    {
        if (!IsPresent)
        {
            throw new InvalidInputException("this machine has no mouse; a machine run with --virt full has one");
        }

        await _turn.WaitAsync(cancellation).ConfigureAwait(false);
        try
        {
            long end = Environment.TickCount64 + (long)s_patience.TotalMilliseconds;
            while (_device is not { IsEnabled: true, IsDrained: true })
            {
                if (Environment.TickCount64 > end)
                {
                    throw new VivariumException(_device is { IsEnabled: true }
                        ? "the guest does not look at its mouse"
                        : "the guest has not switched its mouse on; has it a driver for a PS/2 mouse?");
                }

                await Task.Delay(s_look, cancellation).ConfigureAwait(false);
            }

            act();
        }
        finally
        {
            _ = _turn.Release();
        }
    }
}
