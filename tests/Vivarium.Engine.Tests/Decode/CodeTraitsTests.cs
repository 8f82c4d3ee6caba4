using Iced.Intel;
using Vivarium.Engine.Software.Decode;
using Xunit;

namespace Vivarium.Engine.Tests.Decode;

/// <summary>Traits come from one instruction of a form; what Iced knows of the form as a whole is the oracle.</summary>
public class CodeTraitsTests
{
    private readonly CodeTraitsFactory _traits = new();
    private readonly InstructionInfoFactory _factory = new();

    [Fact]
    public void TablesHoldEveryForm()
    {
        Assert.True(Enum.GetValues<Code>().Length <= FormCounts.Codes);
        Assert.True(Enum.GetValues<Mnemonic>().Length <= FormCounts.Mnemonics);
    }

    [Fact]
    public void AnOperandThatMayBeMemoryIsAccessedAsItsFormSays()
    {
        int forms = 0;
        foreach (Code code in Enum.GetValues<Code>().Where(code => MayBeMemory(code) >= 0))
        {
            Instruction instruction = OfForm(code, memory: true);
            OpAccess access = _factory.GetInfo(instruction).GetOpAccess(MayBeMemory(code));
            CodeTraits traits = _traits.Create(instruction);
            bool writes = access is OpAccess.Write or OpAccess.CondWrite or OpAccess.ReadWrite or OpAccess.ReadCondWrite;
            bool reads = access is OpAccess.Read or OpAccess.CondRead or OpAccess.ReadWrite or OpAccess.ReadCondWrite;

            // PUSH and POP access the stack too.
            Assert.True(traits.WritesMemory || !writes, $"{code} writes");
            Assert.True(traits.ReadsMemory || !(reads || (writes && traits.Extended == ExtendedKind.X87)), $"{code} reads");
            forms++;
        }

        Assert.InRange(forms, 1000, FormCounts.Codes);
    }

    [Fact]
    public void ExtendedStateIsTheSameWithMemoryAsWithARegister()
    {
        foreach (Code code in Enum.GetValues<Code>().Where(code => MayBeMemory(code) >= 0 && code.Mnemonic() is not (Mnemonic.Cvtpi2pd or Mnemonic.Cvtpi2ps)))
        {
            CodeTraits memory = _traits.Create(OfForm(code, memory: true));
            CodeTraits register = _traits.Create(OfForm(code, memory: false));
            Assert.True(memory.Extended == register.Extended && memory.Waiting == register.Waiting, $"{code}");
        }
    }

    /// <summary>The operand that is memory or a register, or -1.</summary>
    private static int MayBeMemory(Code code)
    {
        OpCodeInfo form = code.ToOpCode();
        for (int i = 0; i < form.OpCount; i++)
        {
            if (form.GetOpKind(i).ToString().Contains("_or_mem", StringComparison.Ordinal))
            {
                return i;
            }
        }

        return -1;
    }

    private static Instruction OfForm(Code code, bool memory)
    {
        OpCodeInfo form = code.ToOpCode();
        var instruction = new Instruction { Code = code, MemoryBase = Register.RAX };
        for (int i = 0; i < form.OpCount; i++)
        {
            string kind = form.GetOpKind(i).ToString();
            bool either = kind.Contains("_or_mem", StringComparison.Ordinal);
            Register register = FirstOf(kind);
            if (either && memory)
            {
                instruction.SetOpKind(i, OpKind.Memory);
            }
            else if (register != Register.None)
            {
                instruction.SetOpKind(i, OpKind.Register);
                instruction.SetOpRegister(i, register + i);
            }
            else
            {
                instruction.SetOpKind(i, OpKind.Immediate8);
            }
        }

        return instruction;
    }

    private static Register FirstOf(string kind) => kind switch
    {
        _ when kind.StartsWith("xmm", StringComparison.Ordinal) => Register.XMM0,
        _ when kind.StartsWith("ymm", StringComparison.Ordinal) => Register.YMM0,
        _ when kind.StartsWith("zmm", StringComparison.Ordinal) => Register.ZMM0,
        _ when kind.StartsWith("mm", StringComparison.Ordinal) => Register.MM0,
        _ when kind.StartsWith("k_", StringComparison.Ordinal) || kind.StartsWith("kp1", StringComparison.Ordinal) => Register.K1,
        _ when kind.StartsWith("bnd", StringComparison.Ordinal) => Register.BND0,
        _ when kind.StartsWith("r8", StringComparison.Ordinal) => Register.AL,
        _ when kind.StartsWith("r16", StringComparison.Ordinal) => Register.AX,
        _ when kind.StartsWith("r32", StringComparison.Ordinal) => Register.EAX,
        _ when kind.StartsWith("r64", StringComparison.Ordinal) => Register.RAX,
        _ when kind.StartsWith("st", StringComparison.Ordinal) => Register.ST0,
        _ => Register.None,
    };
}
