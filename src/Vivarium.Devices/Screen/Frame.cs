namespace Vivarium.Devices;

/// <summary>A picture of the screen, and which parts of it the last <see cref="IScreen.Refresh(Frame)"/> has changed.</summary>
public sealed class Frame
{
    /// <summary>No screen is wider or higher, in pixels.</summary>
    public const int MostWidth = 4096, MostHeight = 4096;

    private uint[] _pixels = [];
    private (int Left, int Right)[] _changes = [];

    /// <summary>In pixels; 0 before the first refresh.</summary>
    public int Width { get; private set; }

    /// <summary>In pixels; 0 before the first refresh.</summary>
    public int Height { get; private set; }

    /// <summary>Row by row from the top left, each 0x00RRGGBB.</summary>
    public ReadOnlySpan<uint> Pixels => _pixels.AsSpan(0, Width * Height);

    /// <summary>The last refresh has changed the size, and with it everything.</summary>
    public bool Resized { get; private set; }

    /// <summary>Whose picture this is, and what of it was seen: the screen's own.</summary>
    internal object? Source { get; set; }

    internal ScanStamp Stamp { get; set; }

    /// <summary>One row of <see cref="Pixels"/>.</summary>
    public ReadOnlySpan<uint> Row(int y) => _pixels.AsSpan(y * Width, Width);

    /// <summary>The pixels of a row that the last refresh has changed, from left to before right; empty where they are equal.</summary>
    public (int Left, int Right) Change(int y) => _changes[y];

    /// <summary>Begins a refresh; a picture of another size begins black.</summary>
    public void Begin(int width, int height)
    {
        Resized = width != Width || height != Height;
        if (!Resized)
        {
            Array.Clear(_changes);
            return;
        }

        ArgumentOutOfRangeException.ThrowIfGreaterThan((uint)width, (uint)MostWidth);
        ArgumentOutOfRangeException.ThrowIfGreaterThan((uint)height, (uint)MostHeight);
        (Width, Height) = (width, height);
        _pixels = new uint[width * height];
        _changes = new (int, int)[height];
        Array.Fill(_changes, (0, width));
    }

    /// <summary>Sets a row. True if any of its pixels has changed.</summary>
    /// <param name="y">From the top.</param>
    /// <param name="pixels">As many as the picture is wide.</param>
    public bool SetRow(int y, ReadOnlySpan<uint> pixels)
    {
        var row = _pixels.AsSpan(y * Width, Width);
        var left = row.CommonPrefixLength(pixels);
        if (left == Width)
            return false;
        var right = Width;
        while (row[right - 1] == pixels[right - 1])
            right--;
        pixels[left..right].CopyTo(row[left..]);
        var known = _changes[y];
        _changes[y] = known.Right == 0 ? (left, right) : (Math.Min(known.Left, left), Math.Max(known.Right, right));
        return true;
    }
}
