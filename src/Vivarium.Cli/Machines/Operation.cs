using Vivarium.Cli.Verbs;
using Vivarium.Devices;
using Vivarium.Expect;
using Vivarium.Input;

namespace Vivarium.Cli.Machines;

/// <summary>What somebody at the machine would do: type, click, change media, read. Every word of an order is checked, for anybody may have sent it.</summary>
internal static class Operation
{
    private const double LongestHold = 10;

    /// <exception cref="VivariumException">It cannot be; the message says why.</exception>
    public static async Task<FoundText?> RunAsync(VirtualMachine machine, ControlOrder order, CancellationToken cancellation)
    {
        string text = order.Text ?? throw new InvalidInputException("the request lacks its text");
        switch (order.Verb)
        {
            case ControlVerb.Type:
                await machine.Keyboard.TypeAsync(text, Hold(order), cancellation).ConfigureAwait(false);
                return null;
            case ControlVerb.Key:
                await machine.Keyboard.PressAsync(KeyChord.Parse(text), Hold(order), cancellation).ConfigureAwait(false);
                return null;
            case ControlVerb.Mouse:
                await MoveAsync(machine.Pointer, MouseAction.Parse(text.Split(' ', StringSplitOptions.RemoveEmptyEntries)), cancellation).ConfigureAwait(false);
                return null;
            case ControlVerb.Insert:
                machine.InsertMedium(text, order.File ?? throw new InvalidInputException("the request lacks the file to put into the drive"));
                return null;
            case ControlVerb.Eject:
                machine.EjectMedium(text, order.Force);
                return null;
            default:
                TextPattern pattern = order.Regex ? TextPattern.Expression(text) : TextPattern.Literal(text);
                return await machine.ExpectAsync(pattern, Patience(order), ExpectVerb.ParseSource(order.On), order.New, cancellation).ConfigureAwait(false);
        }
    }

    private static Task MoveAsync(MachinePointer mouse, MouseAction action, CancellationToken cancellation) => action.Kind switch
    {
        MouseActionKind.Move => mouse.MoveAsync(action.X, action.Y, cancellation: cancellation),
        MouseActionKind.Wheel => mouse.MoveAsync(0, 0, action.X, cancellation),
        MouseActionKind.Click => mouse.ClickAsync(action.Buttons, cancellation),
        _ => mouse.HoldAsync(action.Buttons, action.Kind == MouseActionKind.Press, cancellation),
    };

    private static TimeSpan? Hold(ControlOrder order) => order.Seconds switch
    {
        null => null,
        >= 0 and <= LongestHold and var seconds => TimeSpan.FromSeconds(seconds),
        _ => throw new InvalidInputException($"keys are held for {LongestHold} s at most"),
    };

    private static TimeSpan Patience(ControlOrder order) => order.Seconds is null or (>= 0 and <= MachineSpec.LongestTimeoutSeconds)
        ? TimeSpan.FromSeconds(order.Seconds ?? 0)
        : throw new InvalidInputException("nobody waits that long");
}
