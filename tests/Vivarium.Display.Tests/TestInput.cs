using System.Collections.Concurrent;
using Vivarium.Devices;

namespace Vivarium.Display.Tests;

/// <summary>Writes down what is pressed and moved.</summary>
internal sealed class TestInput : IKeyboardSink, IPointerSink
{
    public BlockingCollection<string> Events { get; } = [];

    public bool IsAbsolute { get; init; } = true;

    public void SetKey(Key key, bool down) => Events.Add($"{key} {(down ? "down" : "up")}");

    public void Move(int x, int y, int wheel, PointerButtons buttons) => Events.Add($"by {x},{y} wheel {wheel} {buttons}");

    public void MoveTo(ushort x, ushort y, int wheel, PointerButtons buttons) => Events.Add($"to {x},{y} wheel {wheel} {buttons}");

    /// <summary>The next so many events, which a client has caused.</summary>
    public string[] Take(int count) => [.. Enumerable.Range(0, count).Select(_ => Events.TryTake(out string? one, 10_000) ? one : "nothing")];
}
