using Vivarium.Devices;

namespace Vivarium.Display.Tests;

/// <summary>A screen that shows what a test puts on it.</summary>
internal sealed class TestScreen : IScreen
{
    private readonly Lock _lock = new();
    private uint[] _pixels = [];
    private int _width;

    public TestScreen(int width, int height, Func<int, int, uint>? pixel = null) => Show(width, height, pixel ?? ((_, _) => 0));

    public void Show(int width, int height, Func<int, int, uint> pixel)
    {
        lock (_lock)
        {
            _width = width;
            _pixels = new uint[width * height];
            for (int i = 0; i < _pixels.Length; i++)
            {
                _pixels[i] = pixel(i % width, i / width);
            }
        }
    }

    public bool Refresh(Frame frame)
    {
        lock (_lock)
        {
            frame.Begin(_width, _pixels.Length / _width);
            bool changed = frame.Resized;
            for (int y = 0; y < frame.Height; y++)
            {
                changed |= frame.SetRow(y, _pixels.AsSpan(y * _width, _width));
            }

            return changed;
        }
    }

    public bool Refresh(TextFrame frame) => false;

    public ScreenText ReadText() => ScreenText.Nothing;
}
