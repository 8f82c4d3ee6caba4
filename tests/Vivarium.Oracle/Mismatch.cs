using System.Text;
using Iced.Intel;

namespace Vivarium.Oracle;

/// <summary>A case whose outcomes differ, with everything that is needed to run it again.</summary>
internal sealed record Mismatch(Code Form, ulong Seed, int Index, string Text)
{
    public static unsafe Mismatch From(TestCase test, string difference)
    {
        var text = new StringBuilder();
        string what = test.Form == Code.INVALID ? $"sequence {test.Index}" : $"{test.Form} case {test.Index}";
        string again = test.Form == Code.INVALID ? $"--sequence {test.Index}" : $"--form {test.Form} --case {test.Index}";
        text.Append($"{what}, again with: --seed {test.Seed}{(test.Bitness != 64 ? $" --bits {test.Bitness}" : "")} {again}\n");
        text.Append($"  code at {test.CodeAddress:x}, CPL {test.Cpl}: {Convert.ToHexStringLower(test.Code)}\n");
        foreach (Instruction instruction in test.Instructions.Where(instruction => instruction.Code != Code.Nopd))
        {
            text.Append($"    {instruction.IP:x}  {instruction}\n");
        }

        CaseState* input = test.Input;
        string[] names = ["rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15"];
        text.Append("  before:");
        for (int register = 0; register < 16; register++)
        {
            text.Append($" {names[register]}={input->Gpr[register]:x}");
        }

        text.Append($" rflags={input->Rflags:x} gs={input->GsBase:x} fs={input->FsBase:x} fcw={*(ushort*)(input->Xsave + XsaveArea.Fcw):x} fsw={*(ushort*)(input->Xsave + XsaveArea.Fsw):x} mxcsr={*(uint*)(input->Xsave + XsaveArea.Mxcsr):x}\n");
        text.Append(difference);
        return new Mismatch(test.Form, test.Seed, test.Index, text.ToString());
    }
}
