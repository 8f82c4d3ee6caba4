using System.Numerics;
using Iced.Intel;
using Vivarium.Engine.Software.Privileged;
using AccessInfo = Vivarium.Engine.Software.Translate.AccessInfo;
using AccessRules = Vivarium.Engine.Software.Translate.AccessRules;

namespace Vivarium.Engine.Software;

// Vector instructions with a mask do not access, and do not fault on, what the mask leaves out (SDM vol. 1, 15.6.4;
// vol. 2, VMASKMOV). Translated code checks the whole operand; where that fails, the careful translation comes here.
internal sealed unsafe partial class SoftwareVcpu
{
    /// <summary>Bytes of the bounce buffer that are to be written, if not all; element size and one bit per element.</summary>
    private ulong _bounceElements;
    private int _bounceElementSize;

    /// <summary>A bounce buffer for the active elements of the masked instruction that S-&gt;ExitInfo names.</summary>
    private byte* BounceMasked(ulong offset, int segment, int size, bool read, bool write)
    {
        // As it was translated: in guest memory another vCPU may have put something else there.
        ref readonly Instruction instruction = ref _code.Traps[(int)S->ExitInfo];
        ulong active = ActiveElements(instruction, size, out int elementSize);
        bool whole = AccessesWhole(instruction);
        if (whole && read)
        {
            (active, elementSize) = (1, size);
        }

        ulong linear = (Code64 && segment < 4 ? 0 : Segment(segment)->Base) + offset;
        linear = Code64 ? linear : (uint)linear;
        _bounceLinear = linear;
        if (whole && write)
        {
            ProbeBounced(SegmentedAddress(segment, offset, size, Access.Write), size);
        }

        for (int i = 0; i < size / elementSize; i++)
        {
            if ((active >> i & 1) != 0)
            {
                ulong at = SegmentedAddress(segment, offset + (ulong)(i * elementSize), elementSize, write ? Access.Write : Access.Read);
                if (write)
                {
                    ProbeBounced(at, elementSize);
                }
                else
                {
                    Probe(at, elementSize, Access.Read);
                }
            }
        }

        byte* bounce = BounceFor(linear);
        new Span<byte>(bounce, size).Clear();
        for (int i = 0; read && i < size / elementSize; i++)
        {
            if ((active >> i & 1) != 0)
            {
                LoadBytes(linear + (ulong)(i * elementSize), new Span<byte>(bounce + (i * elementSize), elementSize));
            }
        }

        _bounceSize = write ? size : 0;
        _bounceElements = active;
        _bounceElementSize = elementSize;
        return bounce;
    }

    /// <summary>AMD's processors do not ask for the alignment of an operand of which the mask selects nothing.</summary>
    private bool IsUnaccessed(AccessInfo info)
        => (info.Rules & AccessRules.Masked) != 0 && !CpuModel.HostIsIntel && ActiveElements(_code.Traps[(int)S->ExitInfo], info.Size, out _) == 0;

    private ulong ActiveElements(in Instruction instruction, int size, out int elementSize)
    {
        var vectors = new VectorState(this);
        if (instruction.OpMask != Register.None)
        {
            elementSize = MaskedElementSize(instruction);
            int elements = size / elementSize;
            int maskBits = instruction.IsBroadcast ? VectorSize(instruction.MemorySize) / elementSize
                : IsBroadcast(instruction.Mnemonic) ? instruction.Op0Register.GetSize() / elementSize
                : elements;
            ulong mask = vectors.Mask(instruction.OpMask - Register.K0) & Lowest(maskBits);
            return IsCompressed(instruction.Mnemonic) ? Lowest(BitOperations.PopCount(mask)) : Fold(mask, elements);
        }

        // VMASKMOV and VPMASKMOV: the sign bits of the middle operand's elements.
        elementSize = instruction.Mnemonic is Mnemonic.Vmaskmovpd or Mnemonic.Vpmaskmovq ? 8 : 4;
        int register = VectorState.Number(instruction.Op1Register);
        ulong signs = 0;
        for (int i = 0; i < size / elementSize; i++)
        {
            signs |= (vectors.Read(register, i * elementSize, elementSize) >> ((elementSize * 8) - 1)) << i;
        }

        return signs;
    }

    /// <summary>An element of memory that goes to several of the vector is accessed if the mask selects any of those.</summary>
    private static ulong Fold(ulong mask, int elements)
    {
        ulong folded = mask;
        for (int shift = elements; shift < 64; shift += elements)
        {
            folded |= mask >> shift;
        }

        return folded & Lowest(elements);
    }

    /// <summary>What one bit of the mask stands for: not always what the instruction takes the operand to be made of.</summary>
    private static int MaskedElementSize(in Instruction instruction) => instruction.Mnemonic switch
    {
        Mnemonic.Vpmuldq or Mnemonic.Vpmuludq => sizeof(ulong),
        Mnemonic.Vpdpbusd or Mnemonic.Vpdpbusds or Mnemonic.Vpdpwssd or Mnemonic.Vpdpwssds => sizeof(uint),
        _ => Math.Max(instruction.MemorySize.GetElementSize(), 1),
    };

    /// <summary>Bytes of the vector that EVEX.b fills with one element.</summary>
    private static int VectorSize(MemorySize broadcast) => broadcast switch
    {
        >= MemorySize.Broadcast512_Int16 => 64,
        >= MemorySize.Broadcast256_Int16 => 32,
        >= MemorySize.Broadcast128_Int16 => 16,
        >= MemorySize.Broadcast64_UInt32 => 8,
        _ => 4,
    };

    private static ulong Lowest(int count) => count >= 64 ? ulong.MaxValue : (1ul << count) - 1;

    /// <summary>These use as many contiguous elements in memory as the mask has bits set.</summary>
    private static bool IsCompressed(Mnemonic mnemonic) => mnemonic
        is Mnemonic.Vcompressps or Mnemonic.Vcompresspd or Mnemonic.Vpcompressb or Mnemonic.Vpcompressw
        or Mnemonic.Vpcompressd or Mnemonic.Vpcompressq or Mnemonic.Vexpandps or Mnemonic.Vexpandpd
        or Mnemonic.Vpexpandb or Mnemonic.Vpexpandw or Mnemonic.Vpexpandd or Mnemonic.Vpexpandq;

    private static bool IsBroadcast(Mnemonic mnemonic) => mnemonic
        is Mnemonic.Vbroadcastss or Mnemonic.Vbroadcastsd or Mnemonic.Vbroadcastf32x2 or Mnemonic.Vbroadcastf32x4 or Mnemonic.Vbroadcastf32x8
        or Mnemonic.Vbroadcastf64x2 or Mnemonic.Vbroadcastf64x4 or Mnemonic.Vbroadcasti32x2 or Mnemonic.Vbroadcasti32x4 or Mnemonic.Vbroadcasti32x8
        or Mnemonic.Vbroadcasti64x2 or Mnemonic.Vbroadcasti64x4 or Mnemonic.Vpbroadcastb or Mnemonic.Vpbroadcastw or Mnemonic.Vpbroadcastd
        or Mnemonic.Vpbroadcastq;

    /// <summary>
    /// The mask selects elements of the result only, which are made of any of the operand's, and suppresses no fault: exception classes E4NF,
    /// E5NF and E6NF (SDM vol. 2A, 2.8).
    /// </summary>
    private static bool AccessesWhole(in Instruction instruction) => instruction.Mnemonic switch
    {
        Mnemonic.Vmovddup or Mnemonic.Vmovshdup or Mnemonic.Vmovsldup
            or Mnemonic.Vunpcklps or Mnemonic.Vunpcklpd or Mnemonic.Vunpckhps or Mnemonic.Vunpckhpd
            or Mnemonic.Vpunpcklbw or Mnemonic.Vpunpcklwd or Mnemonic.Vpunpckldq or Mnemonic.Vpunpcklqdq
            or Mnemonic.Vpunpckhbw or Mnemonic.Vpunpckhwd or Mnemonic.Vpunpckhdq or Mnemonic.Vpunpckhqdq
            or Mnemonic.Vpacksswb or Mnemonic.Vpackssdw or Mnemonic.Vpackuswb or Mnemonic.Vpackusdw
            or Mnemonic.Vshufps or Mnemonic.Vshufpd or Mnemonic.Vshuff32x4 or Mnemonic.Vshuff64x2 or Mnemonic.Vshufi32x4 or Mnemonic.Vshufi64x2
            or Mnemonic.Vpshufb or Mnemonic.Vpshufd or Mnemonic.Vpshufhw or Mnemonic.Vpshuflw
            or Mnemonic.Vpermb or Mnemonic.Vpermw or Mnemonic.Vpermd or Mnemonic.Vpermq or Mnemonic.Vpermps or Mnemonic.Vpermpd
            or Mnemonic.Vpermilps or Mnemonic.Vpermilpd
            or Mnemonic.Vpermi2b or Mnemonic.Vpermi2w or Mnemonic.Vpermi2d or Mnemonic.Vpermi2q or Mnemonic.Vpermi2ps or Mnemonic.Vpermi2pd
            or Mnemonic.Vpermt2b or Mnemonic.Vpermt2w or Mnemonic.Vpermt2d or Mnemonic.Vpermt2q or Mnemonic.Vpermt2ps or Mnemonic.Vpermt2pd
            or Mnemonic.Valignd or Mnemonic.Valignq or Mnemonic.Vpalignr or Mnemonic.Vdbpsadbw or Mnemonic.Vpmaddwd or Mnemonic.Vpmaddubsw
            or Mnemonic.Vpconflictd or Mnemonic.Vpconflictq or Mnemonic.Vpmultishiftqb or Mnemonic.Vgf2p8affineqb or Mnemonic.Vgf2p8affineinvqb
            or Mnemonic.Vcvtne2ps2bf16
            or Mnemonic.Vinsertf32x4 or Mnemonic.Vinsertf32x8 or Mnemonic.Vinsertf64x2 or Mnemonic.Vinsertf64x4
            or Mnemonic.Vinserti32x4 or Mnemonic.Vinserti32x8 or Mnemonic.Vinserti64x2 or Mnemonic.Vinserti64x4
            or Mnemonic.Vextractf32x4 or Mnemonic.Vextractf32x8 or Mnemonic.Vextractf64x2 or Mnemonic.Vextractf64x4
            or Mnemonic.Vextracti32x4 or Mnemonic.Vextracti32x8 or Mnemonic.Vextracti64x2 or Mnemonic.Vextracti64x4 => true,

        // One count for all elements.
        Mnemonic.Vpsllw or Mnemonic.Vpslld or Mnemonic.Vpsllq or Mnemonic.Vpsrlw or Mnemonic.Vpsrld or Mnemonic.Vpsrlq
            or Mnemonic.Vpsraw or Mnemonic.Vpsrad or Mnemonic.Vpsraq => instruction.Op2Kind == OpKind.Memory,
        _ => false,
    };
}
