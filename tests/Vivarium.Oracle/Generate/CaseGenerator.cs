using Iced.Intel;

namespace Vivarium.Oracle.Generate;

/// <summary>Makes cases of a single instruction. A case depends on the seed, its form and its index only.</summary>
internal sealed unsafe class CaseGenerator(ulong seed, int bitness = 64)
{
    private const int Attempts = 40;

    /// <summary>The engine takes what is no instruction for one that is too long, #GP, if that shows in its last possible byte only.</summary>
    private const int TooLong = 15;

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

            if (decoded.Encoding == EncodingKind.EVEX && !decoded.IsVsib && test.CodeLength < TooLong - 1 && random.Chance(8))
            {
                SpoilEvex(ref random, test, decoded.MemoryBase != Register.None || decoded.MemoryDisplSize != 0);
                _ = _maker.TryDecode(test.Code, test.CodeAddress, out decoded);
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

    /// <summary>
    /// Changes a bit of the prefix, or puts a prefix before it: that may not be an instruction any more, or another one. What the address is made
    /// of stays, so that it is nowhere but near the window.
    /// </summary>
    private static void SpoilEvex(ref Rng random, TestCase test, bool hasMemory)
    {
        const byte evex = 0x62;
        Span<byte> code = test.CodeBuffer;
        if (random.Chance(15))
        {
            test.Code.CopyTo(code[1..]);
            code[0] = random.Pick<byte>([0x66, 0xF0, 0xF2, 0xF3, 0x48]);
            test.CodeLength++;
            return;
        }

        // P0: RXB, R', a zero; P1: W, vvvv, a one; P2: z, L'L, b, V', aaa (SDM vol. 2A, 2.7.1).
        Span<byte> prefix = code.Slice(code.IndexOf(evex) + 1, 3);
        (int at, byte bits) = random.Below(6) switch
        {
            0 => (0, hasMemory ? (byte)0x98 : (byte)0xF8),
            1 => (1, (byte)0xFC),
            _ => (2, (byte)0xFF),
        };
        byte bit;
        do
        {
            bit = (byte)(1 << random.Below(8));
        }
        while ((bits & bit) == 0);

        prefix[at] ^= bit;
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
