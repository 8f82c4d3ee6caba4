namespace Vivarium.Display.Rfb;

/// <summary>Writes rectangles in one encoding, for one client: what was sent before is part of how the next is understood.</summary>
internal abstract class RectangleEncoder : IDisposable
{
    /// <summary>Its number.</summary>
    public abstract int Encoding { get; }

    /// <summary>No rectangle is given to it that is wider or higher.</summary>
    public virtual (int Width, int Height) Most => (int.MaxValue, int.MaxValue);

    /// <summary>Writes what comes after a rectangle's header.</summary>
    /// <param name="output">The message.</param>
    /// <param name="format">The client's.</param>
    /// <param name="pixels">All of the rectangle, row by row.</param>
    /// <param name="width">Of a row.</param>
    public abstract void Encode(RfbOutput output, PixelFormat format, ReadOnlySpan<uint> pixels, int width);

    public virtual void Dispose()
    {
    }
}
