using System.Runtime.CompilerServices;
using Iced.Intel;

namespace Vivarium.Engine.Software.Privileged;

/// <summary>
/// MOVS, STOS, LODS, CMPS, SCAS with and without repeat prefixes (SDM vol. 2; vol. 1, 7.3.9), page by page. The
/// registers always say how far it went, so a fault, an interrupt or a kick between two elements is restartable.
/// </summary>
internal static unsafe class Strings
{
    private const int Rax = 0, Es = 0;

    public static void Register(delegate*<SoftwareVcpu, in Instruction, void>[] table)
    {
        table[(int)Mnemonic.Movsb] = &Movs;
        table[(int)Mnemonic.Movsw] = &Movs;
        table[(int)Mnemonic.Movsd] = &Movs;
        table[(int)Mnemonic.Movsq] = &Movs;
        table[(int)Mnemonic.Stosb] = &Stos;
        table[(int)Mnemonic.Stosw] = &Stos;
        table[(int)Mnemonic.Stosd] = &Stos;
        table[(int)Mnemonic.Stosq] = &Stos;
        table[(int)Mnemonic.Lodsb] = &Lods;
        table[(int)Mnemonic.Lodsw] = &Lods;
        table[(int)Mnemonic.Lodsd] = &Lods;
        table[(int)Mnemonic.Lodsq] = &Lods;
        table[(int)Mnemonic.Cmpsb] = &Cmps;
        table[(int)Mnemonic.Cmpsw] = &Cmps;
        table[(int)Mnemonic.Cmpsd] = &Cmps;
        table[(int)Mnemonic.Cmpsq] = &Cmps;
        table[(int)Mnemonic.Scasb] = &Scas;
        table[(int)Mnemonic.Scasw] = &Scas;
        table[(int)Mnemonic.Scasd] = &Scas;
        table[(int)Mnemonic.Scasq] = &Scas;
    }

    private static void Movs(SoftwareVcpu cpu, in Instruction insn)
    {
        int size = ElementSize(insn.Mnemonic);
        var operands = new StringOperands(cpu, insn, size);
        for (ulong count = operands.Count; count != 0; count = operands.Count)
        {
            var source = StringRun.At(cpu, operands, operands.SourceSegment, operands.Source, count, Access.Read);
            source.Resolve(cpu, operands, operands.SourceSegment, Access.Read);
            if (source.Kind == RunKind.Fault)
            {
                return;
            }

            var destination = StringRun.At(cpu, operands, Es, operands.Destination, source.Elements, Access.Write);
            destination.Resolve(cpu, operands, Es, Access.Write);
            if (destination.Kind == RunKind.Fault)
            {
                return;
            }

            ulong elements = 1;
            if (source.Kind == RunKind.Direct && destination.Kind == RunKind.Direct)
            {
                elements = Math.Min(source.Elements, destination.Elements);
                Copy(destination.Host, source.Host, elements, size, operands.Backward);
            }
            else
            {
                cpu.Store(destination.Linear, size, cpu.Load(source.Linear, size));
            }

            operands.AdvanceSource(elements);
            operands.AdvanceDestination(elements);
            operands.CountDown(elements);
            if (!operands.Repeated || operands.MustYield())
            {
                return;
            }
        }
    }

    private static void Stos(SoftwareVcpu cpu, in Instruction insn)
    {
        int size = ElementSize(insn.Mnemonic);
        ulong value = cpu.ReadGpr(Rax, size);
        var operands = new StringOperands(cpu, insn, size);
        for (ulong count = operands.Count; count != 0; count = operands.Count)
        {
            var run = StringRun.At(cpu, operands, Es, operands.Destination, count, Access.Write);
            run.Resolve(cpu, operands, Es, Access.Write);
            switch (run.Kind)
            {
                case RunKind.Fault:
                    return;
                case RunKind.Direct:
                    byte* lowest = operands.Backward ? run.Host - ((run.Elements - 1) * (uint)size) : run.Host;
                    Fill(lowest, run.Elements, size, value);
                    break;
                default:
                    cpu.Store(run.Linear, size, value);
                    break;
            }

            operands.AdvanceDestination(run.Elements);
            operands.CountDown(run.Elements);
            if (!operands.Repeated || operands.MustYield())
            {
                return;
            }
        }
    }

    private static void Lods(SoftwareVcpu cpu, in Instruction insn)
    {
        int size = ElementSize(insn.Mnemonic);
        var operands = new StringOperands(cpu, insn, size);
        for (ulong count = operands.Count; count != 0; count = operands.Count)
        {
            var run = StringRun.At(cpu, operands, operands.SourceSegment, operands.Source, count, Access.Read);
            run.Resolve(cpu, operands, operands.SourceSegment, Access.Read);
            if (run.Kind == RunKind.Fault)
            {
                return;
            }

            // Of plain memory only the last element can be told apart.
            ulong value = run.Kind == RunKind.Direct
                ? Element(run.Host, run.Elements - 1, size, operands.Backward)
                : cpu.Load(run.Linear, size);
            cpu.WriteGpr(Rax, size, value);
            operands.AdvanceSource(run.Elements);
            operands.CountDown(run.Elements);
            if (!operands.Repeated || operands.MustYield())
            {
                return;
            }
        }
    }

    // Which operand of CMPS is looked at first is not laid down (SDM vol. 3A, 6.9); AMD's processors begin with the one at ES:RDI,
    // where MOVS begins with its source, as is seen by the address in CR2 when neither is there.
    // CMPS and SCAS change the flags only at the end: a fault restores them, and a resumed one compares at least once more.
    private static void Cmps(SoftwareVcpu cpu, in Instruction insn)
    {
        int size = ElementSize(insn.Mnemonic);
        var operands = new StringOperands(cpu, insn, size);
        bool whileEqual = !insn.HasRepnePrefix;
        for (ulong count = operands.Count; count != 0; count = operands.Count)
        {
            var second = StringRun.At(cpu, operands, Es, operands.Destination, count, Access.Read);
            second.Resolve(cpu, operands, Es, Access.Read);
            if (second.Kind == RunKind.Fault)
            {
                return;
            }

            var first = StringRun.At(cpu, operands, operands.SourceSegment, operands.Source, second.Elements, Access.Read);
            first.Resolve(cpu, operands, operands.SourceSegment, Access.Read);
            if (first.Kind == RunKind.Fault)
            {
                return;
            }

            ulong done = 0;
            ulong left, right;
            if (first.Kind == RunKind.Direct && second.Kind == RunKind.Direct)
            {
                ulong elements = Math.Min(first.Elements, second.Elements);
                do
                {
                    left = Element(first.Host, done, size, operands.Backward);
                    right = Element(second.Host, done, size, operands.Backward);
                    done++;
                }
                while (done < elements && (left == right) == whileEqual);
            }
            else
            {
                right = cpu.Load(second.Linear, size);
                left = cpu.Load(first.Linear, size);
                done = 1;
            }

            operands.AdvanceSource(done);
            operands.AdvanceDestination(done);
            operands.CountDown(done);
            if (!operands.Repeated || (left == right) != whileEqual || operands.Count == 0)
            {
                cpu.S->ArithmeticFlags = Comparison.Flags(left, right, size);
                return;
            }

            if (operands.MustYield())
            {
                return;
            }
        }
    }

    private static void Scas(SoftwareVcpu cpu, in Instruction insn)
    {
        int size = ElementSize(insn.Mnemonic);
        ulong left = cpu.ReadGpr(Rax, size);
        var operands = new StringOperands(cpu, insn, size);
        bool whileEqual = !insn.HasRepnePrefix;
        for (ulong count = operands.Count; count != 0; count = operands.Count)
        {
            var run = StringRun.At(cpu, operands, Es, operands.Destination, count, Access.Read);
            run.Resolve(cpu, operands, Es, Access.Read);
            if (run.Kind == RunKind.Fault)
            {
                return;
            }

            ulong done = 0;
            ulong right;
            if (run.Kind == RunKind.Direct)
            {
                do
                {
                    right = Element(run.Host, done, size, operands.Backward);
                    done++;
                }
                while (done < run.Elements && (left == right) == whileEqual);
            }
            else
            {
                right = cpu.Load(run.Linear, size);
                done = 1;
            }

            operands.AdvanceDestination(done);
            operands.CountDown(done);
            if (!operands.Repeated || (left == right) != whileEqual || operands.Count == 0)
            {
                cpu.S->ArithmeticFlags = Comparison.Flags(left, right, size);
                return;
            }

            if (operands.MustYield())
            {
                return;
            }
        }
    }

    /// <summary>
    /// Copies as single elements in order would: where the destination lies ahead of the source by less than the
    /// length, elements already written are read again and repeat.
    /// </summary>
    private static void Copy(byte* destination, byte* source, ulong elements, int size, bool backward)
    {
        ulong bytes = elements * (uint)size;
        if (backward)
        {
            ulong below = bytes - (uint)size;
            if ((ulong)(source - destination) - 1 < bytes - 1)
            {
                CopyElements(destination, source, elements, size, -size);
                return;
            }

            destination -= below;
            source -= below;
        }
        else if ((ulong)(destination - source) - 1 < bytes - 1)
        {
            CopyElements(destination, source, elements, size, size);
            return;
        }

        Buffer.MemoryCopy(source, destination, bytes, bytes);
    }

    private static void CopyElements(byte* destination, byte* source, ulong elements, int size, int step)
    {
        for (; elements != 0; elements--, destination += step, source += step)
        {
            switch (size)
            {
                case 1:
                    *destination = *source;
                    break;
                case 2:
                    *(ushort*)destination = *(ushort*)source;
                    break;
                case 4:
                    *(uint*)destination = *(uint*)source;
                    break;
                default:
                    *(ulong*)destination = *(ulong*)source;
                    break;
            }
        }
    }

    private static void Fill(byte* lowest, ulong elements, int size, ulong value)
    {
        int count = (int)elements;
        switch (size)
        {
            case 1:
                new Span<byte>(lowest, count).Fill((byte)value);
                break;
            case 2:
                new Span<ushort>(lowest, count).Fill((ushort)value);
                break;
            case 4:
                new Span<uint>(lowest, count).Fill((uint)value);
                break;
            default:
                new Span<ulong>(lowest, count).Fill(value);
                break;
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static ulong Element(byte* current, ulong index, int size, bool backward)
    {
        long distance = (long)index * size;
        byte* element = backward ? current - distance : current + distance;
        return size switch
        {
            1 => *element,
            2 => *(ushort*)element,
            4 => *(uint*)element,
            _ => *(ulong*)element,
        };
    }

    private static int ElementSize(Mnemonic mnemonic) => mnemonic switch
    {
        Mnemonic.Movsb or Mnemonic.Stosb or Mnemonic.Lodsb or Mnemonic.Cmpsb or Mnemonic.Scasb => 1,
        Mnemonic.Movsw or Mnemonic.Stosw or Mnemonic.Lodsw or Mnemonic.Cmpsw or Mnemonic.Scasw => 2,
        Mnemonic.Movsd or Mnemonic.Stosd or Mnemonic.Lodsd or Mnemonic.Cmpsd or Mnemonic.Scasd => 4,
        _ => 8,
    };
}
