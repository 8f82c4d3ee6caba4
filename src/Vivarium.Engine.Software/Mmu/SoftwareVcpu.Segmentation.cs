using Iced.Intel;
using Vivarium.Engine.Software.Decode;

namespace Vivarium.Engine.Software;

// From operands to linear addresses (SDM vol. 3A, 3.4 and 5.3; vol. 1, 3.7.5).
internal sealed unsafe partial class SoftwareVcpu
{
    public const int EsIndex = 0;
    public const int CsIndex = 1;
    public const int SsIndex = 2;
    public const int DsIndex = 3;
    public const int FsIndex = 4;
    public const int GsIndex = 5;

    private const uint CodeSegment = 1 << 3;
    private const uint ReadableOrWritable = 1 << 1;
    private const uint ExpandDown = 1 << 2;

    /// <summary>Not real mode, not virtual-8086 mode: segment types and privileges count.</summary>
    public bool SegmentProtection => ProtectedMode && !Virtual8086;

    /// <summary>The operand's offset in its segment, address size applied.</summary>
    public ulong EffectiveAddress(in Instruction instruction)
    {
        Register baseRegister = instruction.MemoryBase;
        Register index = instruction.MemoryIndex;
        ulong address = instruction.MemoryDisplacement64;
        if (baseRegister is Register.RIP or Register.EIP)
        {
            // Iced has already made it absolute.
            return baseRegister == Register.RIP ? address : (uint)address;
        }

        if (baseRegister != Register.None)
        {
            address += ReadRegister(baseRegister);
        }

        if (index != Register.None)
        {
            address += ReadRegister(index) * (ulong)instruction.MemoryIndexScale;
        }

        int size = baseRegister != Register.None ? baseRegister.GetSize()
            : index != Register.None ? index.GetSize()
            : instruction.MemoryDisplSize;
        return size switch
        {
            2 => (ushort)address,
            4 => (uint)address,
            _ => address,
        };
    }

    /// <summary>The operand's linear address after all segment checks for an access of <paramref name="size"/> bytes. Throws #GP/#SS.</summary>
    public ulong LinearAddress(in Instruction instruction, int size, Access access)
        => SegmentedAddress(OperandSegment.Of(instruction, Code64), EffectiveAddress(instruction), size, access);

    /// <summary>Segment base + offset after all checks (canonical in 64-bit mode; limit, type, presence otherwise).</summary>
    public ulong SegmentedAddress(int segment, ulong offset, int size, Access access)
    {
        if (!Code64)
        {
            NativeSegment* register = Segment(segment);
            CheckSegment(register, segment, (uint)offset, size, access);
            return (uint)(register->Base + offset);
        }

        ulong linear = segment >= FsIndex ? Segment(segment)->Base + offset : offset;
        if (!IsCanonical(linear) || !IsCanonical(linear + (uint)size - 1))
        {
            throw SegmentFault(segment);
        }

        return linear;
    }

    private void CheckSegment(NativeSegment* register, int segment, uint offset, int size, Access access)
    {
        uint attributes = register->Attributes;
        if (SegmentProtection && ((attributes & SegmentRegister.Unusable) != 0 || !TypeAllows(attributes, access)))
        {
            throw SegmentFault(segment);
        }

        if (!WithinLimit(*register, offset, size))
        {
            throw SegmentFault(segment);
        }
    }

    /// <summary>The segment limit check (SDM vol. 3A, 5.3), for 16-bit and 32-bit code.</summary>
    internal bool WithinLimit(in NativeSegment segment, uint offset, int size)
    {
        ulong last = (ulong)offset + (uint)size - 1;
        if ((segment.Attributes & (CodeSegment | ExpandDown)) == ExpandDown && SegmentProtection)
        {
            uint top = (segment.Attributes & SegmentRegister.Big) != 0 ? uint.MaxValue : ushort.MaxValue;
            return offset > segment.Limit && last <= top;
        }

        // A segment of all 4 GiB wraps around; it has no offset outside.
        return last <= segment.Limit || segment.Limit == uint.MaxValue;
    }

    private static bool TypeAllows(uint attributes, Access access)
    {
        bool code = (attributes & CodeSegment) != 0;
        bool flag = (attributes & ReadableOrWritable) != 0;
        return access switch
        {
            Access.Read => !code || flag,
            Access.Write => !code && flag,
            _ => code,
        };
    }

    private static GuestException SegmentFault(int segment)
        => segment == SsIndex ? GuestException.Stack() : GuestException.Protection();
}
