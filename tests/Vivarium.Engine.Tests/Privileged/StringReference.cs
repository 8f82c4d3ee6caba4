using Vivarium.Engine.Software;

namespace Vivarium.Engine.Tests.Privileged;

/// <summary>String instructions as the manual tells them: one element after another, in a window of memory.</summary>
internal sealed class StringReference
{
    public ulong WindowBase { get; init; }

    public int AddressSize { get; init; }

    public int ElementSize { get; init; }

    /// <summary>The opcode of the byte form.</summary>
    public byte Opcode { get; init; }

    public byte Prefix { get; init; }

    public bool Backward { get; init; }

    public ulong Rax { get; set; }

    public ulong Rcx { get; set; }

    public ulong Rsi { get; set; }

    public ulong Rdi { get; set; }

    public ulong Flags { get; set; }

    public void Run(byte[] window)
    {
        if (Prefix == 0)
        {
            Iterate(window);
            return;
        }

        while (Truncate(Rcx) != 0)
        {
            bool compares = Iterate(window);
            Rcx = Merge(Rcx, Rcx - 1);
            bool equal = (Flags & RflagsBits.Zf) != 0;
            if (compares && equal != (Prefix == 0xF3))
            {
                return;
            }
        }
    }

    private bool Iterate(byte[] window)
    {
        ulong step = Backward ? 0 - (ulong)ElementSize : (ulong)ElementSize;
        ulong mask = ulong.MaxValue >> (64 - (ElementSize * 8));
        switch (Opcode)
        {
            case 0xA4:
                Write(window, Rdi, Read(window, Rsi));
                Rsi = Merge(Rsi, Rsi + step);
                Rdi = Merge(Rdi, Rdi + step);
                return false;
            case 0xA6:
                Compare(Read(window, Rsi), Read(window, Rdi));
                Rsi = Merge(Rsi, Rsi + step);
                Rdi = Merge(Rdi, Rdi + step);
                return true;
            case 0xAA:
                Write(window, Rdi, Rax & mask);
                Rdi = Merge(Rdi, Rdi + step);
                return false;
            case 0xAC:
                ulong value = Read(window, Rsi);
                Rax = ElementSize == 4 ? value : (Rax & ~mask) | value;
                Rsi = Merge(Rsi, Rsi + step);
                return false;
            default:
                Compare(Rax & mask, Read(window, Rdi));
                Rdi = Merge(Rdi, Rdi + step);
                return true;
        }
    }

    private void Compare(ulong left, ulong right)
    {
        int top = (ElementSize * 8) - 1;
        Int128 signed = (Int128)(long)(left << (63 - top)) - (long)(right << (63 - top));
        ulong result = (left - right) & (ulong.MaxValue >> (63 - top));
        bool evenParity = true;
        for (int i = 0; i < 8; i++)
        {
            evenParity ^= (result >> i & 1) != 0;
        }

        Flags = (left < right ? RflagsBits.Cf : 0)
            | (evenParity ? RflagsBits.Pf : 0)
            | ((left & 0xF) < (right & 0xF) ? RflagsBits.Af : 0)
            | (left == right ? RflagsBits.Zf : 0)
            | ((result >> top) != 0 ? RflagsBits.Sf : 0)
            | (signed > long.MaxValue || signed < long.MinValue ? RflagsBits.Of : 0);
    }

    private ulong Read(byte[] window, ulong offset)
    {
        ulong value = 0;
        for (int i = 0; i < ElementSize; i++)
        {
            value |= (ulong)window[Index(offset, i)] << (i * 8);
        }

        return value;
    }

    private void Write(byte[] window, ulong offset, ulong value)
    {
        for (int i = 0; i < ElementSize; i++)
        {
            window[Index(offset, i)] = (byte)(value >> (i * 8));
        }
    }

    private int Index(ulong offset, int i) => (int)(Truncate(offset) - WindowBase) + i;

    private ulong Truncate(ulong value) => AddressSize switch
    {
        2 => (ushort)value,
        4 => (uint)value,
        _ => value,
    };

    private ulong Merge(ulong old, ulong value) => AddressSize switch
    {
        2 => (old & ~0xFFFFul) | (ushort)value,
        4 => (uint)value,
        _ => value,
    };
}
