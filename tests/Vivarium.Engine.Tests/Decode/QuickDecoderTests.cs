using Iced.Intel;
using Vivarium.Engine.Software.Decode;
using Vivarium.Engine.Software.Privileged;
using Xunit;

namespace Vivarium.Engine.Tests.Decode;

/// <summary>Iced is the oracle of the quick decoder.</summary>
public sealed unsafe class QuickDecoderTests
{
    private const ulong Rip = 0xFFFF_FFFF_8123_4567;

    private readonly InstructionForms _forms = new(new CpuFeatures(CpuModel.Create("host")));
    private readonly byte[] _code = GC.AllocateArray<byte>(GuestCode.MaxInstructionBytes + sizeof(ulong), pinned: true);
    private readonly Reader _reader;
    private readonly Decoder _iced;
    private readonly QuickDecoder _quick;

    public QuickDecoderTests()
    {
        _reader = new Reader(_code);
        _iced = Decoder.Create(64, _reader);
        _quick = new QuickDecoder(_forms);
    }

    /// <summary>All prefixes and opcodes, with some of the ModR/M bytes and what may stand behind them.</summary>
    [Theory]
    [InlineData("", true)]
    [InlineData("66", true)]
    [InlineData("67", false)]
    [InlineData("F2", true)]
    [InlineData("F3", true)]
    [InlineData("F0", true)]
    [InlineData("2E", false)]
    [InlineData("3E", false)]
    [InlineData("64", true)]
    [InlineData("65", true)]
    [InlineData("66 F2", false)]
    [InlineData("65 66", false)]
    [InlineData("F2 F3", false)]
    public void All_is_as_Iced_has_it(string prefixes, bool isQuick)
    {
        byte[] before = Convert.FromHexString(prefixes.Replace(" ", "", StringComparison.Ordinal));
        var random = new Random(before.Length + (before.Length > 0 ? before[0] : 0));
        int quick = 0;
        for (int rex = 0; rex <= 16; rex++)
        {
            for (int opcode = 0; opcode < 512; opcode++)
            {
                for (int i = 0; i < 24; i++)
                {
                    random.NextBytes(_code);
                    int at = 0;
                    foreach (byte prefix in before)
                    {
                        _code[at++] = prefix;
                    }

                    if (rex != 0)
                    {
                        _code[at++] = (byte)(0x3F + rex);
                    }

                    if (opcode >= 256)
                    {
                        _code[at++] = 0x0F;
                    }

                    _code[at] = (byte)opcode;
                    quick += Compare() ? 1 : 0;
                }
            }
        }

        Assert.Equal(isQuick, quick > 1000);
    }

    [Theory]
    [InlineData("55")]                          // push rbp
    [InlineData("48 89 E5")]                    // mov rbp, rsp
    [InlineData("65 48 8B 04 25 28 00 00 00")]  // mov rax, gs:[28h]
    [InlineData("0F 84 10 00 00 00")]           // je
    [InlineData("E8 00 01 00 00")]              // call
    [InlineData("C3")]                          // ret
    [InlineData("41 0F B6 44 8D 10")]           // movzx eax, byte [r13 + rcx*4 + 10h]
    [InlineData("F2 0F 10 05 10 20 00 00")]     // movsd xmm0, [rip + 2010h]
    [InlineData("48 C7 44 24 08 FF FF FF FF")]  // mov qword [rsp + 8], -1
    [InlineData("66 83 3D 00 10 00 00 05")]     // cmp word [rip + 1000h], 5
    public void Common_ones_are_quick_and_need_all_their_bytes(string bytes)
    {
        byte[] code = Convert.FromHexString(bytes.Replace(" ", "", StringComparison.Ordinal));
        code.CopyTo(_code, 0);
        Assert.True(Compare());
        fixed (byte* at = _code)
        {
            var guest = default(GuestInstruction);
            Assert.Equal(0, _quick.Decode(at, code.Length - 1, Rip, ref guest));
            Assert.Equal(code.Length, _quick.Decode(at, code.Length, Rip, ref guest));
        }
    }

    /// <summary>False if it is not an instruction for the quick decoder.</summary>
    private bool Compare()
    {
        fixed (byte* code = _code)
        {
            // What was there before must not matter.
            var guest = new GuestInstruction { Named = 0xFFFF, Written = 0xFFFF, HasHighByte = true };
            int length = _quick.Decode(code, GuestCode.MaxInstructionBytes, Rip, ref guest);
            if (length == 0)
            {
                return false;
            }

            var expected = new GuestInstruction { Bytes = code };
            _reader.Position = 0;
            _iced.IP = Rip;
            _iced.Decode(out expected.Instruction);
            expected.Length = expected.Instruction.Length;
            expected.Describe(_forms);
            string what = $"{Convert.ToHexString(_code)}: {expected.Instruction}, not {guest.Instruction}";
            Assert.True(expected.Instruction.Equals(guest.Instruction), what);
            Assert.True(expected.Instruction.Length == length && expected.Instruction.NextIP == guest.Instruction.NextIP, what);
            Assert.True(expected.Form == guest.Form, what);
            Assert.True((expected.Named, expected.Written, expected.HasHighByte) == (guest.Named, guest.Written, guest.HasHighByte), what);
            return true;
        }
    }

    private sealed class Reader(byte[] code) : CodeReader
    {
        public int Position;

        public override int ReadByte() => Position < GuestCode.MaxInstructionBytes ? code[Position++] : -1;
    }
}
