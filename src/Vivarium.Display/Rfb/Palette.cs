namespace Vivarium.Display.Rfb;

/// <summary>The colours of a rectangle, if they are few.</summary>
internal sealed class Palette(int most)
{
    private const int Slots = 1024;

    private readonly uint[] _colors = new uint[most];
    private readonly short[] _slots = new short[Slots];

    public int Count { get; private set; }

    public ReadOnlySpan<uint> Colors => _colors.AsSpan(0, Count);

    /// <summary>Takes the colours of a rectangle; false if there are too many.</summary>
    public bool Take(ReadOnlySpan<uint> pixels)
    {
        Array.Clear(_slots);
        Count = 0;
        uint last = ~pixels[0];
        foreach (uint pixel in pixels)
        {
            if (pixel == last)
            {
                continue;
            }

            last = pixel;
            ref short slot = ref Slot(pixel);
            if (slot != 0)
            {
                continue;
            }

            if (Count == most)
            {
                return false;
            }

            _colors[Count++] = pixel;
            slot = (short)Count;
        }

        return true;
    }

    public int IndexOf(uint pixel) => Slot(pixel) - 1;

    private ref short Slot(uint pixel)
    {
        uint hash = (pixel * 0x9E3779B1) >> 22;
        while (true)
        {
            ref short slot = ref _slots[hash];
            if (slot == 0 || _colors[slot - 1] == pixel)
            {
                return ref slot;
            }

            hash = (hash + 1) % Slots;
        }
    }
}
