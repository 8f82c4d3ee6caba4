using Iced.Intel;
using Vivarium.Engine.Software.Decode;
using Vivarium.Engine.Software.Privileged;
using Xunit;

namespace Vivarium.Engine.Tests.Decode;

/// <summary>Bytes of 32-bit code that run as they are in 64-bit code.</summary>
public sealed unsafe class CopiedCodeTests
{
    private readonly InstructionForms _forms = new(new CpuFeatures(CpuModel.Create("host")));

    /// <summary>All opcodes with two bytes, with some of what may stand behind them.</summary>
    [Theory]
    [InlineData("")]
    [InlineData("66")]
    [InlineData("67")]
    [InlineData("F2")]
    [InlineData("F3")]
    [InlineData("2E")]
    [InlineData("65 66")]
    public void They_mean_the_same(string prefixes)
    {
        byte[] before = Convert.FromHexString(prefixes.Replace(" ", "", StringComparison.Ordinal));
        byte[] code = new byte[GuestCode.MaxInstructionBytes + sizeof(ulong)];
        var random = new Random(before.Length);
        int copied = 0;
        fixed (byte* bytes = code)
        {
            for (int opcode = 0; opcode < 512; opcode++)
            {
                for (int i = 0; i < 64; i++)
                {
                    random.NextBytes(code);
                    before.CopyTo(code, 0);
                    int at = before.Length;
                    if (opcode >= 256)
                    {
                        code[at++] = RegisterFields.TwoByteEscape;
                    }

                    code[at] = (byte)opcode;
                    copied += Compare(bytes, code) ? 1 : 0;
                }
            }
        }

        Assert.True(copied > 1000, $"{copied} of them");
    }

    /// <summary>False if they are not copied.</summary>
    private bool Compare(byte* bytes, byte[] code)
    {
        var guest = new GuestInstruction { Bytes = bytes, Instruction = Decode(32, code) };
        guest.Length = guest.Instruction.Length;
        guest.Describe(_forms);
        if (guest.Form is not { Offering: Offering.Offered } || !guest.Is(FormKinds.Registers) || guest.Is(FormKinds.Emulated | FormKinds.Jumps | FormKinds.Special))
        {
            return false;
        }

        Instruction same = Decode(64, code);
        string what = $"{Convert.ToHexString(code, 0, guest.Length)}: {guest.Instruction} and {same}";
        Assert.True(guest.Instruction.Code == same.Code && guest.Length == same.Length, what);
        for (int i = 0; i < same.OpCount; i++)
        {
            Assert.True(guest.Instruction.GetOpKind(i) == same.GetOpKind(i), what);
            Assert.True(same.GetOpKind(i) == OpKind.Register
                ? guest.Instruction.GetOpRegister(i) == same.GetOpRegister(i)
                : guest.Instruction.GetImmediate(i) == same.GetImmediate(i), what);
        }

        return true;
    }

    private static Instruction Decode(int bits, byte[] code) => Decoder.Create(bits, code, 0x1000).Decode();
}
