namespace Vivarium.Devices;

// The Bochs display interface: ports 1CE and 1CF (1D0 where an aligned one is wanted), or BAR 2.
public sealed unsafe partial class Vga
{
    private const ushort DispiPort = 0x1CE;
    private const int DispiPorts = 3;
    private const ushort DispiOffset = 0x100;

    private const int WidthUnit = 8;

    private ushort _dispiIndex;

    private ushort Dispi(int register) => _registers.Dispi[register];

    private ushort ReadDispiPort(int offset) => offset == 0 ? _dispiIndex : ReadDispi(_dispiIndex);

    private void WriteDispiPort(int offset, int size, ushort value)
    {
        if (offset == 0)
            _dispiIndex = value;
        else if (size > 1)
            WriteDispi(_dispiIndex, value);
    }

    private ushort ReadDispi(int register)
    {
        var asksForLimits = (Dispi(DispiRegister.Enable) & DispiRegister.GetCapabilities) != 0;
        return register switch
        {
            DispiRegister.XResolution when asksForLimits => DispiRegister.MostWidth,
            DispiRegister.YResolution when asksForLimits => DispiRegister.MostHeight,
            DispiRegister.BitsPerPixel when asksForLimits => DispiRegister.MostBitsPerPixel,
            DispiRegister.VideoMemory => MemorySize / DispiRegister.BankSize,
            < DispiRegister.Count => Dispi(register),
            _ => 0,
        };
    }

    private void WriteDispi(int register, ushort value)
    {
        switch (register)
        {
            case DispiRegister.Id when value is < DispiRegister.FirstId or > DispiRegister.LastId:
            case DispiRegister.VideoMemory or >= DispiRegister.Count:
                return;
            case DispiRegister.Enable:
                WriteDispiEnable(value);
                return;
        }

        if (Dispi(register) == value)
            return;
        _registers.Dispi[register] = value;
        FitDispi();
        Changed();
    }

    private void WriteDispiEnable(ushort value)
    {
        var begins = !_registers.IsDispiEnabled && (value & DispiRegister.Enabled) != 0;
        _registers.Dispi[DispiRegister.Enable] = value;
        if (begins)
        {
            _registers.Dispi[DispiRegister.VirtualWidth] = 0;
            _registers.Dispi[DispiRegister.XOffset] = 0;
            _registers.Dispi[DispiRegister.YOffset] = 0;
            _registers.Dispi[DispiRegister.Bank] = 0;
            FitDispi();
            if ((value & DispiRegister.NoClear) == 0)
                Clear();
        }
        else if (!_registers.IsDispiEnabled)
        {
            _registers.Dispi[DispiRegister.Bank] = 0;
        }

        Changed();
    }

    /// <summary>The memory of the picture, which a mode begins with, is black.</summary>
    private void Clear()
    {
        var bits = Dispi(DispiRegister.BitsPerPixel);
        var length = bits == 4 ? MemorySize : Math.Min(MemorySize, Dispi(DispiRegister.VirtualWidth) * VgaScanout.BytesPerPixel(bits) * Dispi(DispiRegister.YResolution));
        new Span<byte>(_region.Host, length).Clear();
        _guestMemory.NoteWritten(_region.Host, (ulong)length);
    }

    /// <summary>Makes of what the guest has written what the card can show, as it may ask for anything in any order.</summary>
    private void FitDispi()
    {
        if (!_registers.IsDispiEnabled)
            return;
        var registers = _registers.Dispi;
        if (registers[DispiRegister.BitsPerPixel] is not (4 or 8 or 15 or 16 or 24 or 32))
            registers[DispiRegister.BitsPerPixel] = 8;
        var width = Math.Clamp(registers[DispiRegister.XResolution] & ~(WidthUnit - 1), WidthUnit, DispiRegister.MostWidth);
        var virtualWidth = Math.Clamp(registers[DispiRegister.VirtualWidth] & ~(WidthUnit - 1), width, short.MaxValue & ~(WidthUnit - 1));
        var bits = registers[DispiRegister.BitsPerPixel];
        var pitch = bits == 4 ? virtualWidth / 2 : virtualWidth * VgaScanout.BytesPerPixel(bits);
        var rows = Math.Min(MemorySize / pitch, ushort.MaxValue);
        registers[DispiRegister.XResolution] = (ushort)width;
        registers[DispiRegister.YResolution] = (ushort)Math.Clamp((int)registers[DispiRegister.YResolution], 1, Math.Min(rows, DispiRegister.MostHeight));
        registers[DispiRegister.VirtualWidth] = (ushort)virtualWidth;
        registers[DispiRegister.VirtualHeight] = (ushort)rows;
        registers[DispiRegister.XOffset] = (ushort)Math.Min(registers[DispiRegister.XOffset], virtualWidth - width);
        registers[DispiRegister.YOffset] = (ushort)Math.Min((int)registers[DispiRegister.YOffset], rows - registers[DispiRegister.YResolution]);
    }
}
