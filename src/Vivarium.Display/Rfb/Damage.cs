namespace Vivarium.Display.Rfb;

/// <summary>The parts of the screen that one client has not been sent, in bands of 16 rows.</summary>
internal sealed class Damage
{
    private const int Band = 16;

    private (int Left, int Right)[] _bands = [];
    private int _width;
    private int _height;

    public bool IsEmpty { get; private set; } = true;

    public void Resize(int width, int height)
    {
        (_width, _height) = (width, height);
        _bands = new (int, int)[(height + Band - 1) / Band];
        IsEmpty = true;
    }

    public void Add(int left, int right, int top, int bottom)
    {
        (left, right) = (Math.Max(left, 0), Math.Min(right, _width));
        (top, bottom) = (Math.Max(top, 0), Math.Min(bottom, _height));
        if (left >= right || top >= bottom)
        {
            return;
        }

        IsEmpty = false;
        for (int band = top / Band; band <= (bottom - 1) / Band; band++)
        {
            ref (int Left, int Right) known = ref _bands[band];
            known = known.Right == 0 ? (left, right) : (Math.Min(known.Left, left), Math.Max(known.Right, right));
        }
    }

    /// <summary>Takes all of it, bands of the same width together.</summary>
    public void Take(List<Rectangle> rectangles)
    {
        for (int band = 0; band < _bands.Length;)
        {
            (int Left, int Right) extent = _bands[band];
            int first = band;
            while (band < _bands.Length && _bands[band] == extent)
            {
                _bands[band++] = default;
            }

            if (extent.Right != 0)
            {
                int top = first * Band;
                rectangles.Add(new Rectangle(extent.Left, top, extent.Right - extent.Left, Math.Min(band * Band, _height) - top));
            }
        }

        IsEmpty = true;
    }
}
