namespace Vivarium.Devices;

/// <summary>The registers of the video card; its memory is part of the machine's.</summary>
public sealed record VgaState
{
    public const int CurrentVersion = 1;

    public int Version { get; init; } = CurrentVersion;

    public byte[] Sequencer { get; init; } = [];
    public byte[] Crtc { get; init; } = [];
    public byte[] Graphics { get; init; } = [];
    public byte[] Attribute { get; init; } = [];
    public byte[] Palette { get; init; } = [];
    public ushort[] Dispi { get; init; } = [];
    public byte Misc { get; init; }
    public byte PelMask { get; init; }
    public bool PaletteShown { get; init; }
    public byte FeatureControl { get; init; }
    public byte SequencerIndex { get; init; }
    public byte CrtcIndex { get; init; }
    public byte GraphicsIndex { get; init; }
    public byte AttributeIndex { get; init; }

    /// <summary>The next write to 3C0 is data.</summary>
    public bool AttributeTakesData { get; init; }

    public byte DacReadIndex { get; init; }
    public byte DacWriteIndex { get; init; }

    /// <summary>0 to 2: red, green, blue.</summary>
    public int DacComponent { get; init; }

    public bool DacReads { get; init; }
    public ushort DispiIndex { get; init; }

    /// <summary>The four latches, plane 0 in the low byte.</summary>
    public uint Latch { get; init; }

    public PciFunctionState? Function { get; init; }
}
