using Iced.Intel;
using Vivarium.Engine.Software.Decode;
using Vivarium.Engine.Software.Translate;
using Xunit;

namespace Vivarium.Engine.Tests.Decode;

/// <summary>Short cuts past Iced's methods must say what those say.</summary>
public class OperandTests
{
    [Fact]
    public void Sizes_are_those_of_Iced()
    {
        // Twice: worked out, and from the table.
        for (int round = 0; round < 2; round++)
        {
            foreach (Register register in Enum.GetValues<Register>())
            {
                Assert.Equal(RegisterExtensions.GetSize(register), OperandSizes.GetSize(register));
            }

            foreach (MemorySize size in Enum.GetValues<MemorySize>())
            {
                Assert.Equal(MemorySizeExtensions.GetSize(size), OperandSizes.GetSize(size));
            }
        }
    }

    [Theory]
    [InlineData("48 8B 03", 1)] // mov rax, [rbx]
    [InlineData("48 89 03", 0)] // mov [rbx], rax
    [InlineData("48 89 D8", -1)] // mov rax, rbx
    [InlineData("C4 E2 F3 F7 03", 1)] // shlx rax, [rbx], rcx
    [InlineData("C5 F5 58 03", 2)] // vaddpd ymm0, ymm1, [rbx]
    [InlineData("C4 E3 69 5C 03 40", 2)] // vfmaddsubps xmm0, xmm2, [rbx], xmm4
    [InlineData("C4 E3 E9 5C 03 40", 3)] // vfmaddsubps xmm0, xmm2, xmm4, [rbx]
    [InlineData("AA", -1)] // stosb: not at an address of the instruction's own
    public void The_memory_operand_is_found(string bytes, int expected)
    {
        Instruction instruction = Decoder.Create(64, new ByteArrayCodeReader(bytes)).Decode();
        Assert.NotEqual(Code.INVALID, instruction.Code);
        Assert.Equal(expected, Operands.FindMemory(instruction));
    }

    /// <summary>The translator looks no further for AH to BH.</summary>
    [Fact]
    public void No_form_has_a_byte_register_behind_its_second_operand()
    {
        foreach (Code code in Enum.GetValues<Code>())
        {
            OpCodeInfo form = code.ToOpCode();
            for (int i = 2; i < form.OpCount; i++)
            {
                Assert.False(form.GetOpKind(i) is OpCodeOperandKind.r8_or_mem or OpCodeOperandKind.r8_reg or OpCodeOperandKind.r8_opcode, code.ToString());
            }
        }
    }
}
