using Vivarium.Memory;

namespace Vivarium.Devices;

/// <summary>
/// The two 8237A DMA controllers of a PC (Intel 8237A data sheet; PIIX4 data sheet, 8.3): channels 0 to 3 move bytes, 5 to 7
/// words, 4 is the cascade of the first controller. Page registers give the upper address bits. A device asks to move data on
/// its channel, which goes on until the channel's count is reached.
/// </summary>
public sealed class DmaController : IPortDevice
{
    private const ushort ByteController = 0x00;
    private const ushort WordController = 0xC0;
    private const ushort PageRegisters = 0x81;
    private const int BytePorts = 0x10;
    private const int WordPorts = 0x20;
    private const int PagePorts = 0x0F;

    // Offsets by which the device tells its three ranges of ports apart.
    private const ushort WordOffset = 0x100;
    private const ushort PageOffset = 0x200;

    // Registers of a controller, after the eight of its channels.
    private const int StatusOrCommand = 8;
    private const int Request = 9;
    private const int SingleMask = 10;
    private const int Mode = 11;
    private const int ClearPointer = 12;
    private const int MasterClear = 13;
    private const int ClearMask = 14;
    private const int AllMask = 15;

    private const byte Disable = 1 << 2;
    private const byte MaskBit = 1 << 2;
    private const int Channels = 4;

    /// <summary>Which port from 81h on is the page register of which channel; the others keep what is written.</summary>
    private static ReadOnlySpan<sbyte> PageOf => [2, 3, 1, -1, -1, -1, 0, -1, 6, 7, 5, -1, -1, -1, -1];

    private readonly Lock _lock = new();
    private readonly GuestMemory _memory;
    private readonly DmaChannel[] _channels = [new(1), new(1), new(1), new(1), new(2), new(2), new(2), new(2)];
    private readonly byte[] _command = new byte[2];
    private readonly byte[] _status = new byte[2];
    private readonly bool[] _pointer = new bool[2];
    private readonly byte[] _pages = new byte[PagePorts];

    public DmaController(GuestMemory memory)
    {
        _memory = memory;
    }

    public void Map(PortBus ports)
    {
        ports.Map(ByteController, BytePorts, this, "DMA 1");
        ports.Map(WordController, WordPorts, this, "DMA 2", WordOffset);
        ports.Map(PageRegisters, PagePorts, this, "DMA pages", PageOffset);
    }

    public uint ReadPort(ushort offset, int size)
    {
        uint value = 0;
        lock (_lock)
        {
            for (var i = 0; i < size; i++)
                value |= (uint)Read(offset + i) << (8 * i);
        }

        return value;
    }

    public void WritePort(ushort offset, int size, uint value)
    {
        lock (_lock)
        {
            for (var i = 0; i < size; i++)
                Write(offset + i, (byte)(value >> (8 * i)));
        }
    }

    /// <summary>How many bytes the channel moves until its count is reached; 0 while it is masked or its controller is off.</summary>
    public int Left(int channel)
    {
        lock (_lock)
            return IsEnabled(channel) ? _channels[channel].Left : 0;
    }

    /// <summary>A device gives bytes, which go to memory if the channel is set up so. Returns how many were taken.</summary>
    /// <param name="channel">0 to 3, or 5 to 7.</param>
    /// <param name="data">Bytes, of words an even number.</param>
    /// <param name="terminalCount">The count was reached.</param>
    public int Give(int channel, ReadOnlySpan<byte> data, out bool terminalCount)
    {
        terminalCount = false;
        lock (_lock)
        {
            if (!IsEnabled(channel))
                return 0;
            var state = _channels[channel];
            var length = Math.Min(data.Length, state.Left);
            if (state.Transfer == DmaTransfer.ToMemory)
                state.WriteTo(_memory, data[..length]);
            terminalCount = Advance(channel, length);
            return length;
        }
    }

    /// <summary>A device takes bytes from memory, if the channel is set up so, or else gets zeros. Returns how many there were.</summary>
    /// <inheritdoc cref="Give"/>
    public int Take(int channel, Span<byte> data, out bool terminalCount)
    {
        terminalCount = false;
        lock (_lock)
        {
            if (!IsEnabled(channel))
                return 0;
            var state = _channels[channel];
            var length = Math.Min(data.Length, state.Left);
            data[..length].Clear();
            if (state.Transfer == DmaTransfer.FromMemory)
                state.ReadFrom(_memory, data[..length]);
            terminalCount = Advance(channel, length);
            return length;
        }
    }

    public DmaState Save()
    {
        lock (_lock)
        {
            return new()
            {
                Command = [.. _command],
                Status = [.. _status],
                Pointer = [.. _pointer],
                Pages = [.. _pages],
                Channels = Array.ConvertAll(_channels, channel => channel.Save()),
            };
        }
    }

    public void Restore(DmaState state)
    {
        StateFormat.Require(state is { Version: DmaState.CurrentVersion, Command.Length: 2, Status.Length: 2, Pointer.Length: 2, Pages.Length: PagePorts, Channels.Length: 2 * Channels }, "DMA controller");
        lock (_lock)
        {
            state.Command.CopyTo(_command, 0);
            state.Status.CopyTo(_status, 0);
            state.Pointer.CopyTo(_pointer, 0);
            state.Pages.CopyTo(_pages, 0);
            for (var i = 0; i < _channels.Length; i++)
                _channels[i].Restore(state.Channels[i]);
        }
    }

    /// <summary>A channel of the first controller also needs the cascade to be open.</summary>
    private bool IsEnabled(int channel)
    {
        const int cascade = 4;
        var controller = channel / Channels;
        return (_command[controller] & Disable) == 0 && !_channels[channel].IsMasked
            && (controller == 1 || ((_command[1] & Disable) == 0 && !_channels[cascade].IsMasked));
    }

    private bool Advance(int channel, int length)
    {
        if (!_channels[channel].Advance(length))
            return false;
        _status[channel / Channels] |= (byte)(1 << channel % Channels);
        return true;
    }

    private byte Read(int offset)
    {
        if (offset >= PageOffset)
            return PageOf[offset - PageOffset] is var channel and >= 0 ? _channels[channel].Page : _pages[offset - PageOffset];
        var (controller, register) = Locate(offset);
        if (register < StatusOrCommand)
        {
            var value = _channels[controller * Channels + register / 2].Read(isCount: (register & 1) != 0, isHigh: _pointer[controller]);
            _pointer[controller] = !_pointer[controller];
            return value;
        }

        switch (register)
        {
            case StatusOrCommand:
                var status = _status[controller];
                _status[controller] &= 0xF0;
                return status;
            case AllMask:
                var mask = 0xF0;
                for (var i = 0; i < Channels; i++)
                    mask |= _channels[controller * Channels + i].IsMasked ? 1 << i : 0;
                return (byte)mask;
            default:
                return 0;
        }
    }

    private void Write(int offset, byte value)
    {
        if (offset >= PageOffset)
        {
            if (PageOf[offset - PageOffset] is var channel and >= 0)
                _channels[channel].Page = value;
            else
                _pages[offset - PageOffset] = value;
            return;
        }

        var (controller, register) = Locate(offset);
        var channels = _channels.AsSpan(controller * Channels, Channels);
        if (register < StatusOrCommand)
        {
            channels[register / 2].Write(isCount: (register & 1) != 0, isHigh: _pointer[controller], value);
            _pointer[controller] = !_pointer[controller];
            return;
        }

        switch (register)
        {
            case StatusOrCommand:
                _command[controller] = value;
                break;
            case Request:
                // Memory to memory and block transfers by software have no use in a PC.
                break;
            case SingleMask:
                channels[value & 3].IsMasked = (value & MaskBit) != 0;
                break;
            case Mode:
                channels[value & 3].Mode = value;
                break;
            case ClearPointer:
                _pointer[controller] = false;
                break;
            case MasterClear:
                _command[controller] = 0;
                _status[controller] = 0;
                _pointer[controller] = false;
                SetMasks(channels, 0xF);
                break;
            case ClearMask:
                SetMasks(channels, 0);
                break;
            case AllMask:
                SetMasks(channels, value);
                break;
        }
    }

    private static void SetMasks(Span<DmaChannel> channels, int mask)
    {
        for (var i = 0; i < Channels; i++)
            channels[i].IsMasked = (mask >> i & 1) != 0;
    }

    /// <summary>The second controller's registers stand at even ports.</summary>
    private static (int Controller, int Register) Locate(int offset) => offset >= WordOffset ? (1, (offset - WordOffset) / 2) : (0, offset);
}
