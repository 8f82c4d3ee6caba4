using Iced.Intel;

namespace Vivarium.Oracle.Generate;

/// <summary>Makes cases of a single instruction. A case depends on the seed, its form and its index only.</summary>
internal sealed unsafe class CaseGenerator(ulong seed, int bitness = 64)
{
    private const int Attempts = 40;

    private readonly InstructionMaker _maker = new(bitness);
    private readonly ulong _seed = seed;

    /// <summary>False when no encodable case of the form was found.</summary>
    public bool TryMake(Code form, int index, TestCase test)
    {
        Rng random = Rng.For(_seed, (int)form, index);
        for (int attempt = 0; attempt < Attempts; attempt++)
        {
            test.Reset();
            test.Seed = _seed;
            test.Bitness = bitness;
            test.Form = form;
            test.Index = index;
            StateGenerator.Fill(ref random, test.Input);
            test.Input->FsBase = bitness == 64 ? Native.NativeRunner.FsBase : 0;
            CaseMemory.DataContent.CopyTo(test.Memory, 0);
            test.CodeAddress = CaseWindow.CodeBase + 64 + (ulong)random.Below(CaseWindow.CodeSize - 256);
            test.Cpl = random.Chance(50) ? 0 : 3;

            // Landing pads: ahead and behind, in reach of 8-bit displacements; the one after the instruction follows below.
            ulong ahead = test.CodeAddress + 48;
            ulong behind = test.CodeAddress - 40;
            test.Pads.Add(0);
            test.Pads.Add(ahead);
            test.Pads.Add(behind);

            var context = new AddressContext(sequence: false, bitness);
            if (!_maker.TryMake(ref random, form, test, test.CodeAddress, ref context, out Instruction instruction))
            {
                continue;
            }

            ulong prefixed = 0;
            if (random.Chance(6) && instruction.Encoding == EncodingKind.Legacy && instruction.SegmentPrefix == Register.None)
            {
                prefixed = 1;
                test.CodeBuffer[0] = bitness == 16 ? random.Pick<byte>([0x26, 0x36, 0x3E]) : random.Pick<byte>([0x26, 0x2E, 0x36, 0x3E]);
            }

            if (!_maker.TryEncode(instruction, test.CodeAddress + prefixed, test.CodeBuffer.AsSpan((int)prefixed), out int length, out _)
                || length + (int)prefixed > 15)
            {
                continue;
            }

            test.CodeLength = length + (int)prefixed;
            if (!_maker.TryDecode(test.Code, test.CodeAddress, out Instruction decoded) || decoded.Length != test.CodeLength || decoded.Code != form)
            {
                continue;
            }

            if (bitness != 64)
            {
                Narrow(test.Input);
            }

            test.Instructions.Add(decoded);
            test.Pads[0] = test.CodeAddress + (ulong)test.CodeLength;
            test.Input->Rip = test.ToRip(test.CodeAddress);
            test.UndefinedFlags = FlagFlow.Undefined(decoded);
            test.UndefinedFlagsAtFault = test.UndefinedFlags;
            if (decoded.IsStringInstruction && (decoded.HasRepPrefix || decoded.HasRepnePrefix))
            {
                // Intel restores the flags when an iteration faults, AMD keeps those of the iterations done.
                test.UndefinedFlagsAtFault |= FlagFlow.ToRflags(decoded.RflagsModified);
            }

            const int longOperand = 14;
            if (decoded.MemorySize.GetSize() >= longOperand && decoded.MemorySize is not (MemorySize.UInt128 or MemorySize.UInt256) && !decoded.MemorySize.IsPacked())
            {
                test.IgnoredFaultAddress = CaseWindow.PageSize - 1;
            }

            return true;
        }

        return false;
    }

    /// <summary>Cuts the general registers to 32 bits.</summary>
    public static void Narrow(CaseState* state)
    {
        for (int register = 0; register < 8; register++)
        {
            state->Gpr[register] = (uint)state->Gpr[register];
        }
    }
}
