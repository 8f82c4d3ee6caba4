using static Vivarium.Devices.VgaRegisters;

namespace Vivarium.Devices;

/// <summary>The CRT controller's counters for one picture.</summary>
internal struct VgaRaster
{
    private const int NoPanningBelow = 1 << 5;
    private const int RowScanMask = 0x1F;

    private bool _second;
    private bool _pans;

    public VgaRaster(VgaRegisters registers)
    {
        Address = registers.StartAddress + (registers.Crtc[PresetRowScan] >> 5 & 3);
        RowScan = registers.Crtc[PresetRowScan] & RowScanMask;
        _pans = true;
    }

    /// <summary>Of the row's first character.</summary>
    public int Address { get; private set; }

    /// <summary>The scan line within the row.</summary>
    public int RowScan { get; private set; }

    /// <summary>The scan line shows what the one before it has shown.</summary>
    public bool Repeats { get; private set; }

    /// <summary>How many dots (pixels, where a pixel is two dots) the picture is shifted to the left.</summary>
    public readonly int Panning(VgaRegisters registers)
    {
        if (!_pans)
            return 0;
        var value = registers.Attribute[PixelPanning] & 0x0F;
        if (!registers.IsGraphics && registers.CharacterDots == 9)
            return value >= 8 ? 0 : value + 1;
        return value & 7;
    }

    /// <summary>On to the scan line after <paramref name="y"/>.</summary>
    public void Advance(int y, VgaRegisters registers)
    {
        Repeats = false;
        if (y == registers.LineCompare)
        {
            Address = 0;
            RowScan = 0;
            _second = false;
            _pans = (registers.Attribute[AttributeMode] & NoPanningBelow) == 0;
            return;
        }

        if (registers.IsDoubleScanned)
        {
            _second = !_second;
            if (_second)
            {
                Repeats = true;
                return;
            }
        }

        if (RowScan == registers.CharacterLines - 1)
        {
            RowScan = 0;
            Address += registers.RowOffset;
        }
        else
        {
            // Rows of pixels that are shown several times look alike, but where a scan line has an address of its own.
            Repeats = registers.IsGraphics && (registers.Crtc[ModeControl] & 3) == 3;
            RowScan = (RowScan + 1) & RowScanMask;
        }
    }
}
