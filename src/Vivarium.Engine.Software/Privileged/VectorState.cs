using System.Runtime.CompilerServices;
using Iced.Intel;

namespace Vivarium.Engine.Software.Privileged;

/// <summary>The guest's vector, mask and MMX registers while C# runs: in the standard-format XSAVE area (SDM vol. 1, 13.4-13.5).</summary>
internal readonly unsafe struct VectorState(SoftwareVcpu cpu)
{
    private const int XmmBytes = 16;
    private const int YmmBytes = 32;
    private const int StackRegisterStride = 16;

    /// <summary>Reads an element of 1, 2, 4 or 8 bytes at a byte offset of a vector register (by number).</summary>
    public ulong Read(int register, int offset, int size)
    {
        byte* place = Place(register, offset, out int component);
        return IsInUse(component) ? Load(place, size) : 0;
    }

    public void Write(int register, int offset, int size, ulong value)
    {
        byte* place = Place(register, offset, out int component);
        Use(component);
        Unsafe.CopyBlockUnaligned(place, &value, (uint)size);
    }

    /// <summary>Clears a register from a byte offset up to the widest the CPU model has.</summary>
    public void ClearFrom(int register, int offset)
    {
        int end = (cpu.S->Xcr0 & (1ul << ExtendedArea.ZmmHi256)) != 0 ? 2 * YmmBytes
            : (cpu.S->Xcr0 & (1ul << ExtendedArea.Avx)) != 0 ? YmmBytes : XmmBytes;
        for (; offset < end; offset += 8)
        {
            Write(register, offset, 8, 0);
        }
    }

    public ulong Mask(int register) => IsInUse(ExtendedArea.Opmask) ? *(ulong*)MaskPlace(register) : 0;

    public void SetMask(int register, ulong value)
    {
        Use(ExtendedArea.Opmask);
        *(ulong*)MaskPlace(register) = value;
    }

    /// <summary>An MMX register: the significand of the physical x87 register with its number.</summary>
    public ulong Mmx(int register)
    {
        if (!IsInUse(ExtendedArea.X87))
        {
            return 0;
        }

        // The area holds the registers in stack order, beginning at the top (SDM vol. 1, 10.5.1.1).
        int top = (*(ushort*)(cpu.S->Xsave + 2) >> 11) & 7;
        return *(ulong*)(cpu.S->Xsave + ExtendedArea.StackRegisters + (((register - top) & 7) * StackRegisterStride));
    }

    /// <summary>What every MMX instruction does to the x87 state: the top of the stack is register 0, and all are valid (SDM vol. 1, 9.5.1).</summary>
    public void EnterMmx()
    {
        Use(ExtendedArea.X87);
        byte* area = cpu.S->Xsave;
        ushort* status = (ushort*)(area + 2);
        int top = (*status >> 11) & 7;
        var registers = new Span<byte>(area + ExtendedArea.StackRegisters, ExtendedArea.StackRegistersSize);
        Span<byte> rotated = stackalloc byte[ExtendedArea.StackRegistersSize];
        for (int i = 0; i < 8; i++)
        {
            registers.Slice(((i - top) & 7) * StackRegisterStride, StackRegisterStride).CopyTo(rotated[(i * StackRegisterStride)..]);
        }

        rotated.CopyTo(registers);
        *status = (ushort)(*status & ~(7 << 11));
        area[4] = 0xFF;
    }

    /// <summary>Number of an XMM, YMM or ZMM register.</summary>
    public static int Number(Register register)
        => register.IsXMM() ? register - Register.XMM0 : register.IsYMM() ? register - Register.YMM0 : register - Register.ZMM0;

    private static ulong Load(byte* place, int size) => size switch
    {
        1 => *place,
        2 => *(ushort*)place,
        4 => *(uint*)place,
        _ => *(ulong*)place,
    };

    private byte* Place(int register, int offset, out int component)
    {
        byte* area = cpu.S->Xsave;
        if (register >= 16)
        {
            component = ExtendedArea.Hi16Zmm;
            return area + cpu.Model.XsaveComponent(component).Offset + ((register - 16) * 2 * YmmBytes) + offset;
        }

        switch (offset)
        {
            case < XmmBytes:
                component = ExtendedArea.Sse;
                return area + ExtendedArea.Xmm + (register * XmmBytes) + offset;
            case < YmmBytes:
                component = ExtendedArea.Avx;
                return area + cpu.Model.XsaveComponent(component).Offset + (register * XmmBytes) + offset - XmmBytes;
            default:
                component = ExtendedArea.ZmmHi256;
                return area + cpu.Model.XsaveComponent(component).Offset + (register * YmmBytes) + offset - YmmBytes;
        }
    }

    private byte* MaskPlace(int register) => cpu.S->Xsave + cpu.Model.XsaveComponent(ExtendedArea.Opmask).Offset + (register * 8);

    private bool IsInUse(int component) => (*StateBitmap & (1ul << component)) != 0;

    /// <summary>A component in its initial state holds garbage in memory: it is cleared before its first element is written.</summary>
    private void Use(int component)
    {
        if (IsInUse(component))
        {
            return;
        }

        *StateBitmap |= 1ul << component;
        (int offset, int size) = component switch
        {
            ExtendedArea.X87 => (ExtendedArea.StackRegisters, ExtendedArea.StackRegistersSize),
            ExtendedArea.Sse => (ExtendedArea.Xmm, ExtendedArea.XmmSize),
            _ => cpu.Model.XsaveComponent(component),
        };
        new Span<byte>(cpu.S->Xsave + offset, size).Clear();
        if (component == ExtendedArea.X87)
        {
            new Span<byte>(cpu.S->Xsave, ExtendedArea.Mxcsr).Clear();
            *(ushort*)cpu.S->Xsave = ExtendedArea.InitialControlWord;
        }
    }

    private ulong* StateBitmap => (ulong*)(cpu.S->Xsave + ExtendedArea.StateBitmap);
}
