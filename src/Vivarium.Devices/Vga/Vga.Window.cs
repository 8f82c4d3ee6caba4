namespace Vivarium.Devices;

// The window at A0000, through the card's logic, and the card on the PCI bus.
public sealed unsafe partial class Vga
{
    private const int FrameBufferBar = 0;
    private const int RegisterBar = 2;
    private const int RegisterBarSize = 4096;

    /// <summary>Of a text mode; fonts are in another.</summary>
    private const int CharacterPlane = 1;

    // BAR 2 (QEMU docs/specs/standard-vga): no EDID, the ports from 3C0 on, and the display interface.
    private const ulong PortsInBar = 0x400;
    private const ulong DispiInBar = 0x500;
    private const ulong ExtensionsInBar = 0x600;
    private const uint ExtensionsSize = 8;
    private const uint LittleEndian = 0x1E1E1E1E;

    private static readonly PciIdentity s_identity = new(0x1234, 0x1111, 2, 0x030000, 0x1234, 0x1111);

    private byte ReadWindow(int offset)
    {
        var (start, length) = _memory.Window;
        return (uint)(offset - start) < (uint)length ? _memory.Read(offset - start) : (byte)0xFF;
    }

    private void WriteWindow(int offset, byte value)
    {
        var (start, length) = _memory.Window;
        if ((uint)(offset - start) >= (uint)length)
            return;
        if ((_registers.Sequencer[VgaRegisters.MapMask] & CharacterPlane) != 0)
            _history.Writing(offset - start);
        _memory.Write(offset - start, value);
        _changes++;

        // The guest may run code from there.
        _guestMemory.NoteWritten(_region.Host + _memory.LastAccess, sizeof(uint));
    }

    private PciFunction CreateFunction(ReadOnlySpan<byte> rom)
    {
        var function = new PciFunction("vga", s_identity, hasInterrupt: false);
        function.AddMemoryBar(FrameBufferBar, _region);
        function.AddMemoryBar(RegisterBar, RegisterBarSize, new Registers(this));
        if (!rom.IsEmpty)
            function.AddRom(_guestMemory, rom);
        return function;
    }

    /// <summary>What the processor sees at A0000.</summary>
    private sealed class Window(Vga vga) : IMmioDevice
    {
        public ulong ReadMmio(ulong offset, int size)
        {
            ulong value = 0;
            lock (vga._lock)
            {
                for (var i = 0; i < size; i++)
                    value |= (ulong)vga.ReadWindow((int)offset + i) << (8 * i);
            }

            return value;
        }

        public void WriteMmio(ulong offset, int size, ulong value)
        {
            lock (vga._lock)
            {
                for (var i = 0; i < size; i++)
                    vga.WriteWindow((int)offset + i, (byte)(value >> (8 * i)));
            }
        }
    }

    /// <summary>BAR 2.</summary>
    private sealed class Registers(Vga vga) : IMmioDevice
    {
        private const ulong FirstColor = FirstColorPort - FirstPort;

        public ulong ReadMmio(ulong offset, int size) => offset switch
        {
            >= PortsInBar and < PortsInBar + ColorPorts when size <= 2 => vga.ReadPort((ushort)(FirstColor + offset - PortsInBar), size),
            >= DispiInBar and < DispiInBar + 2 * DispiRegister.Count when size == 2 => Dispi(offset),
            ExtensionsInBar => ExtensionsSize,
            ExtensionsInBar + 4 => LittleEndian,
            < PortsInBar => 0,
            _ => ulong.MaxValue,
        };

        public void WriteMmio(ulong offset, int size, ulong value)
        {
            switch (offset)
            {
                case >= PortsInBar and < PortsInBar + ColorPorts when size <= 2:
                    vga.WritePort((ushort)(FirstColor + offset - PortsInBar), size, (uint)value);
                    break;
                case >= DispiInBar and < DispiInBar + 2 * DispiRegister.Count when size == 2:
                    lock (vga._lock)
                        vga.WriteDispi((int)(offset - DispiInBar) / 2, (ushort)value);
                    break;
            }
        }

        private ulong Dispi(ulong offset)
        {
            lock (vga._lock)
                return vga.ReadDispi((int)(offset - DispiInBar) / 2);
        }
    }
}
