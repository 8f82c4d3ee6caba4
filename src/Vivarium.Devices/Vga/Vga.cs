using Vivarium.Memory;

namespace Vivarium.Devices;

/// <summary>
/// A VGA (IBM VGA technical reference) with the Bochs display interface: text, CGA, planar and 256-colour modes, and
/// high resolutions with a linear frame buffer. As the PCI function 1234:1111 it is what QEMU's standard VGA is
/// (QEMU docs/specs/standard-vga), which the VGA BIOS of SeaBIOS and the drivers of guests know.
/// </summary>
/// <remarks>
/// The lock guards registers and what goes through the card's logic. Pictures are made from a copy of the registers, and read
/// the memory while the guest writes it, as the beam of a monitor does.
/// </remarks>
public sealed unsafe partial class Vga : IScreen
{
    public const int MemorySize = 16 * 1024 * 1024;

    /// <summary>Where the window to the display memory stands, 128 KiB.</summary>
    public const ulong WindowAddress = 0xA0000;

    public const ulong WindowSize = VgaMemory.WindowSize;

    private readonly Lock _lock = new();
    private readonly GuestMemory _guestMemory;
    private readonly MemoryRegion _region;
    private readonly MachineClock _clock;
    private readonly VgaRegisters _registers = new();
    private readonly VgaMemory _memory;
    private readonly VgaTiming _timing;
    private readonly TextHistory _history;
    private readonly VgaScanout _scanout;

    /// <summary>Counts what changes the picture and goes through the card's logic.</summary>
    private long _changes = 1;

    /// <summary>Takes its memory out of what <paramref name="memory"/> has reserved: <see cref="MemorySize"/> bytes, and the ROM's.</summary>
    /// <param name="memory">The machine's.</param>
    /// <param name="clock">By which retrace comes and goes.</param>
    /// <param name="rom">The VGA BIOS, which firmware looks for; empty for none.</param>
    public Vga(GuestMemory memory, MachineClock clock, ReadOnlySpan<byte> rom = default)
    {
        _guestMemory = memory;
        _clock = clock;
        _region = memory.Allocate(MemorySize);
        _memory = new VgaMemory(_registers, _region.Host, MemorySize);
        _timing = new VgaTiming(_registers);
        _history = new TextHistory(_registers, _memory);
        _scanout = new VgaScanout(_region.Host, MemorySize);
        _registers.Dispi[DispiRegister.Id] = DispiRegister.LastId;
        Function = CreateFunction(rom);
    }

    /// <summary>The card on the PCI bus: the frame buffer is BAR 0, its registers are BAR 2.</summary>
    public PciFunction Function { get; }

    /// <summary>Puts the card's fixed ports and its window where every PC has them.</summary>
    public void Map(PortBus ports, MmioBus mmio)
    {
        ports.Map(FirstPort, MonochromePorts, this, "VGA");
        ports.Map(FirstColorPort, ColorPorts, this, "VGA", FirstColorPort - FirstPort);
        ports.Map(DispiPort, DispiPorts, this, "Bochs display interface", DispiOffset);
        mmio.Map(WindowAddress, VgaMemory.WindowSize, new Window(this), "VGA memory");
    }

    public bool Refresh(Frame frame)
    {
        lock (_scanout)
            return Look(frame.Source, frame.Stamp, out var stamp, hasPixels: true) && Show(frame, stamp);
    }

    public bool Refresh(TextFrame frame)
    {
        lock (_scanout)
        {
            if (!Look(frame.Source, frame.Stamp, out var stamp, hasPixels: false))
                return false;
            frame.Source = this;
            frame.Stamp = stamp;
            _scanout.Describe(frame, (stamp.Phase & 1) == 0);
            return true;
        }
    }

    public ScreenText ReadText()
    {
        lock (_lock)
            return _history.Read();
    }

    public VgaState Save()
    {
        lock (_lock)
        {
            return new()
            {
                Sequencer = [.. _registers.Sequencer],
                Crtc = [.. _registers.Crtc],
                Graphics = [.. _registers.Graphics],
                Attribute = [.. _registers.Attribute],
                Palette = [.. _registers.Palette],
                Dispi = [.. _registers.Dispi],
                Misc = _registers.Misc,
                PelMask = _registers.PelMask,
                PaletteShown = _registers.PaletteShown,
                FeatureControl = _featureControl,
                SequencerIndex = _sequencerIndex,
                CrtcIndex = _crtcIndex,
                GraphicsIndex = _graphicsIndex,
                AttributeIndex = _attributeIndex,
                AttributeTakesData = _attributeTakesData,
                DacReadIndex = _dacReadIndex,
                DacWriteIndex = _dacWriteIndex,
                DacComponent = _dacComponent,
                DacReads = _dacReads,
                DispiIndex = _dispiIndex,
                Latch = _memory.Latch,
                Function = Function.Save(),
            };
        }
    }

    /// <summary>Takes the registers; the memory is part of the machine's.</summary>
    public void Restore(VgaState state)
    {
        StateFormat.Require(state.Version == VgaState.CurrentVersion
            && state.Sequencer is { Length: VgaRegisters.SequencerCount } && state.Crtc is { Length: VgaRegisters.CrtcCount }
            && state.Graphics is { Length: VgaRegisters.GraphicsCount } && state.Attribute is { Length: VgaRegisters.AttributeCount }
            && state.Palette is { Length: VgaRegisters.PaletteSize } && state.Dispi is { Length: DispiRegister.Count }
            && state.DacComponent is >= 0 and < 3 && state.Function is not null, "VGA");
        Function.Restore(state.Function!);
        lock (_lock)
        {
            state.Sequencer.CopyTo(_registers.Sequencer, 0);
            state.Crtc.CopyTo(_registers.Crtc, 0);
            state.Graphics.CopyTo(_registers.Graphics, 0);
            state.Attribute.CopyTo(_registers.Attribute, 0);
            state.Palette.CopyTo(_registers.Palette, 0);
            state.Dispi.CopyTo(_registers.Dispi, 0);
            _registers.Misc = state.Misc;
            _registers.PelMask = state.PelMask;
            _registers.PaletteShown = state.PaletteShown;
            _featureControl = state.FeatureControl;
            _sequencerIndex = state.SequencerIndex;
            _crtcIndex = state.CrtcIndex;
            _graphicsIndex = state.GraphicsIndex;
            _attributeIndex = state.AttributeIndex;
            _attributeTakesData = state.AttributeTakesData;
            _dacReadIndex = state.DacReadIndex;
            _dacWriteIndex = state.DacWriteIndex;
            _dacComponent = state.DacComponent;
            _dacReads = state.DacReads;
            _dispiIndex = state.DispiIndex;
            _memory.Latch = state.Latch;
            FitDispi();
            Changed();
        }
    }

    /// <summary>Finds out whether there is anything new, and takes what a picture needs. Called with the lock of pictures.</summary>
    private bool Look(object? source, ScanStamp seen, out ScanStamp stamp, bool hasPixels)
    {
        lock (_lock)
        {
            var phase = _timing.BlinkPhase(_clock.Nanoseconds);
            if (hasPixels)
                _scanout.NoteWrites(_guestMemory, _region, _registers);
            stamp = new ScanStamp(_changes, _scanout.Writes, _registers.IsGraphics || _registers.IsDispiEnabled ? 0 : hasPixels ? phase & 3 : 0);
            if (source == this && stamp == seen)
                return false;
            _scanout.Latch(_registers);
            return true;
        }
    }

    private bool Show(Frame frame, ScanStamp stamp)
    {
        // Only memory was written: rows that were not are as they are.
        var isSame = frame.Source == this && frame.Stamp.Changes == stamp.Changes && frame.Stamp.Phase == stamp.Phase;
        var changed = _scanout.Draw(frame, stamp.Phase, isSame ? frame.Stamp.Writes : -1);
        frame.Source = this;
        frame.Stamp = stamp;
        return changed || frame.Resized;
    }

    /// <summary>A register has changed that the picture depends on.</summary>
    private void Changed()
    {
        _changes++;
        _timing.Update();
        _history.Update();
    }
}
