using System.Numerics;
using Iced.Intel;
using Vivarium.Engine.Software.Privileged;

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

        ulong linear = (Code64 && segment < 4 ? 0 : Segment(segment)->Base) + offset;
        linear = Code64 ? linear : (uint)linear;
        _bounceLinear = linear;
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

    private ulong ActiveElements(in Instruction instruction, int size, out int elementSize)
    {
        var vectors = new VectorState(this);
        if (instruction.OpMask != Register.None)
        {
            elementSize = Math.Max(instruction.MemorySize.GetElementSize(), 1);
            ulong mask = vectors.Mask(instruction.OpMask - Register.K0);
            int elements = size / elementSize;
            mask &= elements == 64 ? ulong.MaxValue : (1ul << elements) - 1;
            return IsCompressed(instruction.Mnemonic) ? Lowest(BitOperations.PopCount(mask)) : mask;
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

    private static ulong Lowest(int count) => count >= 64 ? ulong.MaxValue : (1ul << count) - 1;

    /// <summary>These use as many contiguous elements in memory as the mask has bits set.</summary>
    private static bool IsCompressed(Mnemonic mnemonic) => mnemonic
        is Mnemonic.Vcompressps or Mnemonic.Vcompresspd or Mnemonic.Vpcompressb or Mnemonic.Vpcompressw
        or Mnemonic.Vpcompressd or Mnemonic.Vpcompressq or Mnemonic.Vexpandps or Mnemonic.Vexpandpd
        or Mnemonic.Vpexpandb or Mnemonic.Vpexpandw or Mnemonic.Vpexpandd or Mnemonic.Vpexpandq;
}
