using static Vivarium.Devices.VgaRegisters;

namespace Vivarium.Devices;

// The ports 3B0-3BB and 3C0-3DF.
public sealed unsafe partial class Vga : IPortDevice
{
    private const ushort FirstPort = 0x3B0;
    private const int MonochromePorts = 12;
    private const ushort FirstColorPort = 0x3C0;
    private const int ColorPorts = 32;

    private const ushort AttributeAddress = 0x3C0;
    private const ushort AttributeDataRead = 0x3C1;
    private const ushort MiscWrite = 0x3C2;
    private const ushort SequencerAddress = 0x3C4;
    private const ushort SequencerData = 0x3C5;
    private const ushort PelMaskPort = 0x3C6;
    private const ushort DacReadAddress = 0x3C7;
    private const ushort DacWriteAddress = 0x3C8;
    private const ushort DacData = 0x3C9;
    private const ushort FeatureControlRead = 0x3CA;
    private const ushort MiscRead = 0x3CC;
    private const ushort GraphicsAddress = 0x3CE;
    private const ushort GraphicsData = 0x3CF;

    // At 3B4 or 3D4, by the miscellaneous output register.
    private const ushort CrtcAddress = 0x3D4;
    private const ushort CrtcData = 0x3D5;
    private const ushort InputStatus1 = 0x3DA;
    private const ushort ToMonochrome = 0x20;

    private const byte CrtcProtected = 1 << 7;
    private const byte LineCompareInOverflow = 1 << 4;
    private const byte PaletteAddressSource = 1 << 5;
    private const byte AttributeIndexMask = 0x1F;
    private const int PaletteEntries = 16;
    private const byte DacStateRead = 3;

    private static ReadOnlySpan<byte> SequencerBits => [0x03, 0x3D, 0x0F, 0x3F, 0x0E];

    private static ReadOnlySpan<byte> GraphicsBits => [0x0F, 0x0F, 0x0F, 0x1F, 0x03, 0x7B, 0x0F, 0x0F, 0xFF];

    private byte _featureControl;
    private byte _sequencerIndex;
    private byte _crtcIndex;
    private byte _graphicsIndex;
    private byte _attributeIndex;
    private bool _attributeTakesData;
    private byte _dacReadIndex;
    private byte _dacWriteIndex;
    private int _dacComponent;
    private bool _dacReads;

    public uint ReadPort(ushort offset, int size)
    {
        lock (_lock)
        {
            if (offset >= DispiOffset)
                return ReadDispiPort(offset - DispiOffset);
            uint value = 0;
            for (var i = 0; i < size; i++)
                value |= (uint)ReadRegister((ushort)(FirstPort + offset + i)) << (8 * i);
            return value;
        }
    }

    public void WritePort(ushort offset, int size, uint value)
    {
        lock (_lock)
        {
            if (offset >= DispiOffset)
            {
                WriteDispiPort(offset - DispiOffset, size, (ushort)value);
                return;
            }

            for (var i = 0; i < size; i++)
                WriteRegister((ushort)(FirstPort + offset + i), (byte)(value >> (8 * i)));
        }
    }

    private byte ReadRegister(ushort port)
    {
        switch (Resolve(port))
        {
            case AttributeAddress:
                return (byte)(_attributeIndex | (_registers.PaletteShown ? PaletteAddressSource : 0));
            case AttributeDataRead:
                return _attributeIndex < AttributeCount ? _registers.Attribute[_attributeIndex] : (byte)0;
            case MiscWrite:
                // Input status 0: no interrupt waits, and no switch is set.
                return 0;
            case SequencerAddress:
                return _sequencerIndex;
            case SequencerData:
                return _sequencerIndex < SequencerCount ? _registers.Sequencer[_sequencerIndex] : (byte)0;
            case PelMaskPort:
                return _registers.PelMask;
            case DacReadAddress:
                return _dacReads ? DacStateRead : (byte)0;
            case DacWriteAddress:
                return _dacWriteIndex;
            case DacData:
                return ReadDac();
            case FeatureControlRead:
                return _featureControl;
            case MiscRead:
                return _registers.Misc;
            case GraphicsAddress:
                return _graphicsIndex;
            case GraphicsData:
                return _graphicsIndex < GraphicsCount ? _registers.Graphics[_graphicsIndex] : (byte)0;
            case CrtcAddress:
                return _crtcIndex;
            case CrtcData:
                return _crtcIndex < CrtcCount ? _registers.Crtc[_crtcIndex] : (byte)0;
            case InputStatus1:
                _attributeTakesData = false;
                return _timing.InputStatus1(_clock.Nanoseconds);
            default:
                return 0xFF;
        }
    }

    private void WriteRegister(ushort port, byte value)
    {
        switch (Resolve(port))
        {
            case AttributeAddress:
                WriteAttribute(value);
                break;
            case MiscWrite:
                if (_registers.Misc != value)
                {
                    _registers.Misc = value;
                    Changed();
                }

                break;
            case SequencerAddress:
                _sequencerIndex = (byte)(value & 0x07);
                break;
            case SequencerData:
                if (_sequencerIndex < SequencerCount)
                    Set(ref _registers.Sequencer[_sequencerIndex], (byte)(value & SequencerBits[_sequencerIndex]));
                break;
            case PelMaskPort:
                if (_registers.PelMask != value)
                {
                    _registers.PelMask = value;
                    Changed();
                }

                break;
            case DacReadAddress:
                _dacReadIndex = value;
                _dacComponent = 0;
                _dacReads = true;
                break;
            case DacWriteAddress:
                _dacWriteIndex = value;
                _dacComponent = 0;
                _dacReads = false;
                break;
            case DacData:
                WriteDac(value);
                break;
            case GraphicsAddress:
                _graphicsIndex = (byte)(value & 0x0F);
                break;
            case GraphicsData:
                WriteGraphics(value);
                break;
            case CrtcAddress:
                _crtcIndex = (byte)(value & 0x3F);
                break;
            case CrtcData:
                WriteCrtc(value);
                break;
            case InputStatus1:
                _featureControl = value;
                break;
        }
    }

    /// <summary>The port's name; those of the other kind of monitor do not answer.</summary>
    private ushort Resolve(ushort port)
    {
        var isColor = (_registers.Misc & ColorAddresses) != 0;
        return port switch
        {
            < FirstColorPort => isColor ? (ushort)0 : (ushort)(port + ToMonochrome),
            >= CrtcAddress - 4 => isColor ? port : (ushort)0,
            _ => port,
        };
    }

    private void Set(ref byte register, byte value)
    {
        if (register == value)
            return;
        register = value;
        Changed();
    }

    private void WriteAttribute(byte value)
    {
        var takesData = _attributeTakesData;
        _attributeTakesData = !takesData;
        if (!takesData)
        {
            _attributeIndex = (byte)(value & AttributeIndexMask);
            var shown = (value & PaletteAddressSource) != 0;
            if (shown != _registers.PaletteShown)
            {
                _registers.PaletteShown = shown;
                Changed();
            }
        }
        else if (_attributeIndex < PaletteEntries)
        {
            if (!_registers.PaletteShown)
                Set(ref _registers.Attribute[_attributeIndex], (byte)(value & 0x3F));
        }
        else if (_attributeIndex < AttributeCount)
        {
            Set(ref _registers.Attribute[_attributeIndex], value);
        }
    }

    /// <summary>Most of these change only what the processor's next access does, and are written between any two of them.</summary>
    private void WriteGraphics(byte value)
    {
        if (_graphicsIndex >= GraphicsCount)
            return;
        value &= GraphicsBits[_graphicsIndex];
        if (_graphicsIndex is GraphicsMode or Miscellaneous)
            Set(ref _registers.Graphics[_graphicsIndex], value);
        else
            _registers.Graphics[_graphicsIndex] = value;
    }

    private void WriteCrtc(byte value)
    {
        if (_crtcIndex >= CrtcCount)
            return;
        ref var register = ref _registers.Crtc[_crtcIndex];
        if (_crtcIndex <= Overflow && (_registers.Crtc[VerticalRetraceEnd] & CrtcProtected) != 0)
        {
            if (_crtcIndex != Overflow)
                return;
            value = (byte)((register & ~LineCompareInOverflow) | (value & LineCompareInOverflow));
        }

        if (_crtcIndex is StartAddressHigh or StartAddressLow)
            _history.Panning(_crtcIndex == StartAddressHigh);
        Set(ref register, value);
    }

    private byte ReadDac()
    {
        var value = _registers.Palette[_dacReadIndex * 3 + _dacComponent];
        if (++_dacComponent == 3)
        {
            _dacComponent = 0;
            _dacReadIndex++;
        }

        return value;
    }

    private void WriteDac(byte value)
    {
        if ((_registers.Dispi[DispiRegister.Enable] & DispiRegister.EightBitDac) == 0)
            value &= 0x3F;
        _registers.Palette[_dacWriteIndex * 3 + _dacComponent] = value;
        _changes++;
        if (++_dacComponent == 3)
        {
            _dacComponent = 0;
            _dacWriteIndex++;
        }
    }
}
