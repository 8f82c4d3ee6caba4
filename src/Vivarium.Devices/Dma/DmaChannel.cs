using Vivarium.Memory;

namespace Vivarium.Devices;

/// <summary>Which way a channel's mode says that data go.</summary>
internal enum DmaTransfer : byte
{
    /// <summary>Nowhere: addresses are counted.</summary>
    Verify = 0,
    ToMemory = 1,
    FromMemory = 2,
    Illegal = 3,
}

/// <summary>One channel of an 8237A. Under the controller's lock.</summary>
/// <param name="unit">Bytes of a transfer: 1, or 2 where addresses and counts are of words.</param>
internal sealed class DmaChannel(int unit)
{
    private const byte Autoinitialize = 1 << 4;
    private const byte Decrement = 1 << 5;

    private ushort _baseAddress;
    private ushort _baseCount;
    private ushort _address;
    private ushort _count;

    public bool IsMasked { get; set; } = true;

    public byte Mode { get; set; }

    /// <summary>Address bits 23:16; of word channels, 23:17.</summary>
    public byte Page { get; set; }

    public DmaTransfer Transfer => (DmaTransfer)(Mode >> 2 & 3);

    /// <summary>Bytes until the count is reached: a count of 0 is one transfer.</summary>
    public int Left => (_count + 1) * unit;

    public byte Read(bool isCount, bool isHigh)
    {
        var value = isCount ? _count : _address;
        return (byte)(isHigh ? value >> 8 : value);
    }

    public void Write(bool isCount, bool isHigh, byte value)
    {
        ref var register = ref isCount ? ref _baseCount : ref _baseAddress;
        register = (ushort)(isHigh ? register & 0xFF | value << 8 : register & 0xFF00 | value);
        if (isCount)
            _count = _baseCount;
        else
            _address = _baseAddress;
    }

    /// <summary>Addresses wrap within 64 KiB, or 128 KiB of words. What is not RAM takes nothing.</summary>
    public void WriteTo(GuestMemory memory, ReadOnlySpan<byte> data)
    {
        for (var done = 0; done < data.Length;)
        {
            var part = Run(done, data.Length);
            memory.TryWrite(AddressOf(done), data.Slice(done, part));
            done += part;
        }
    }

    /// <summary>What is not RAM gives ones.</summary>
    public void ReadFrom(GuestMemory memory, Span<byte> data)
    {
        for (var done = 0; done < data.Length;)
        {
            var part = Run(done, data.Length);
            if (!memory.TryRead(AddressOf(done), data.Slice(done, part)))
                data.Slice(done, part).Fill(0xFF);
            done += part;
        }
    }

    /// <summary>Counts what has been moved; true if the count was reached, and the channel masks or reloads itself.</summary>
    public bool Advance(int length)
    {
        var isEnd = length >= Left;
        var transfers = length / unit;
        _address = (ushort)((Mode & Decrement) != 0 ? _address - transfers : _address + transfers);
        _count = (ushort)(_count - transfers);
        if (!isEnd)
            return false;
        if ((Mode & Autoinitialize) != 0)
        {
            _address = _baseAddress;
            _count = _baseCount;
        }
        else
        {
            IsMasked = true;
        }

        return true;
    }

    public DmaChannelState Save() => new(_baseAddress, _baseCount, _address, _count, IsMasked, Mode, Page);

    public void Restore(DmaChannelState state) =>
        (_baseAddress, _baseCount, _address, _count, IsMasked, Mode, Page) = state;

    private ulong AddressOf(int done)
    {
        var transfers = done / unit;
        var address = (ushort)((Mode & Decrement) != 0 ? _address - transfers : _address + transfers);
        return unit == 1
            ? (ulong)Page << 16 | address
            : (ulong)(Page & 0xFE) << 16 | (uint)address << 1 | (uint)(done & 1);
    }

    /// <summary>How many of the bytes from <paramref name="done"/> on lie in a row.</summary>
    private int Run(int done, int length)
    {
        if ((Mode & Decrement) != 0)
            return 1;
        var toWrap = (0x1_0000 - (ushort)(_address + done / unit)) * unit - done % unit;
        return Math.Min(length - done, toWrap);
    }
}
