using Iced.Intel;
using Vivarium.Engine.Tests.Snippets;
using static Iced.Intel.AssemblerRegisters;
using static Vivarium.Engine.Tests.Smp.SmpMachine;

namespace Vivarium.Engine.Tests.Smp;

/// <summary>Code that one vCPU writes and another runs (SDM vol. 3A, 9.1.3 and 9.3).</summary>
[Collection(SmpCollection.Name)]
public sealed class CrossModifyingCodeTests
{
    /// <summary>Where the code stands that is changed; nothing else is near.</summary>
    private const ulong Target = Shared + 0x8000;

    /// <summary>Until the machine is stopped.</summary>
    private const int Forever = int.MaxValue - 1;

    private const ulong Flag = Shared + 0x1000;
    private const ulong Answer = Shared + 0x1100;
    private static readonly TimeSpan Enough = TimeSpan.FromMilliseconds(300);

    /// <summary>
    /// An aligned immediate is replaced by one store, without a word to the vCPU that runs it in a loop: it goes on with the
    /// old or the new value, never with an older one again, and comes to the newest.
    /// </summary>
    [Theory]
    [InlineData("alone")]
    [InlineData("caller linked to it")]
    [InlineData("called from another page")]
    public void AnImmediateReplacedByOneStoreIsSeenInTime(string kind)
    {
        const int count = 4_000;
        using var m = new SmpMachine(2);

        // mov rax, imm64 with the immediate aligned; then RET, or a jump of the page's own code to the loop.
        m.Base.WriteBytes(Target + 6, 0x48, 0xB8, 0, 0, 0, 0, 0, 0, 0, 0, 0xC3);
        ulong entry = Target + 6;
        if (kind == "caller linked to it")
        {
            m.Base.Write(Target + 0x100, c => { c.inc(edx); c.jmp(Target + 6); });
            entry = Target + 0x100;
        }

        SmpCpu runner = m.Cpus[1];
        runner.Write(c =>
        {
            Label again = c.CreateLabel();
            Label end = c.CreateLabel();
            c.xor(ebx, ebx);
            c.Label(ref again);
            if (kind == "alone")
            {
                c.mov(rdi, entry);
                c.call(rdi);
            }
            else
            {
                c.call(entry);
            }

            c.cmp(rax, rbx);
            c.FailIfBelow();
            c.mov(rbx, rax);
            c.mov(__qword_ptr[Answer], rax);
            c.cmp(__byte_ptr[StopFlag], 0);
            c.jne(end);
            c.cmp(rax, count);
            c.jne(again);
            c.Label(ref end);
            c.End();
        });

        // Every 16th value must be seen before the next is written; the others may be overtaken.
        m.Cpus[0].Write(c =>
        {
            Label end = c.CreateLabel();
            c.Repeat(count, part =>
            {
                Label next = part.CreateLabel();
                part.mov(__qword_ptr[Target + 8], r8);
                part.test(r8d, 15);
                part.jne(next);
                part.WaitFor(Answer, end);
                part.nop();
                part.Label(ref next);
                part.nop();
            });
            c.Label(ref end);
            c.End();
        });
        m.Run(Enough, enough: () => m.Memory.Read<ulong>(Answer) > 0);
    }

    /// <summary>The ways to serialize (SDM vol. 3A, 9.3).</summary>
    public static TheoryData<string> Serializing => ["cpuid", "iret", "mov cr3", "invlpg", "wbinvd", "mov cr0"];

    /// <summary>One vCPU writes an instruction and says so through memory; the other serializes and must run the new one: each time.</summary>
    [Theory]
    [MemberData(nameof(Serializing))]
    public void CodeWrittenBeforeASignalRunsAfterSerializing(string how)
    {
        using var m = new SmpMachine(2);
        m.Base.WriteBytes(Target, 0xB8, 0, 0, 0, 0, 0xC3); // mov eax, imm32; ret
        m.Cpus[0].Write(c => Handshake(c, 3_000, part =>
        {
            // Unaligned, and in pieces: nobody runs it now.
            part.mov(__word_ptr[Target + 1], r8w);
            part.mov(edx, r8d);
            part.shr(edx, 16);
            part.mov(__word_ptr[Target + 3], dx);
        }));
        m.Cpus[1].Write(c => Obey(c, 3_000, part =>
        {
            Serialize(part, how);
            part.call(Target);
            part.cmp(eax, r8d);
            part.FailIfNotEqual();
        }));
        m.Run(Enough);
    }

    /// <summary>As before with functions of many lengths and places, so that blocks overlap in all ways.</summary>
    [Fact]
    public void WholeFunctionsWrittenBeforeASignalRunAfterSerializing()
    {
        using var m = new SmpMachine(2);
        m.Cpus[0].Write(c => Handshake(c, 2_000, part =>
        {
            // At Target + (round * 7 mod 256): so many NOPs as round mod 32, then mov eax, round; ret.
            FunctionAddress(part);
            part.mov(ecx, r8d);
            part.and(ecx, 31);
            part.mov(al, -112);                 // 90H
            part.rep.stosb();
            part.mov(__byte_ptr[rdi], -72);     // B8H
            part.mov(__dword_ptr[rdi + 1], r8d);
            part.mov(__byte_ptr[rdi + 5], -61); // C3H
        }));
        m.Cpus[1].Write(c => Obey(c, 2_000, part =>
        {
            FunctionAddress(part);
            Serialize(part, "cpuid");
            part.call(rdi);
            part.cmp(eax, r8d);
            part.FailIfNotEqual();
        }));
        m.Run(Enough);
    }

    /// <summary>
    /// As kernels patch code that others run: INT3 over the first byte, all serialize, the rest, all serialize, the first
    /// byte, all serialize. The vCPU in the loop runs the old or the new instruction or meets the INT3, nothing else.
    /// </summary>
    [Fact]
    public void PatchingByInt3IsExact()
    {
        const int count = 1_500;
        using var m = new SmpMachine(2);
        ulong handler = m.Cpus[1].Code + 0x1000;

        // The patched instruction is add ebx, imm32 (81 C3 id) or sub ebx, imm32 (81 EB id), unaligned over a cache line.
        const ulong site = Target + 0x3D;
        m.Base.WriteBytes(site, 0x81, 0xC3, 1, 0, 0, 0, 0xC3);
        m.Base.SetGate(3, handler);

        // #BP: as if the instruction were a NOP, and counted.
        m.Base.Write(handler, c =>
        {
            c.inc(r14d);
            c.add(__qword_ptr[rsp], 5);
            c.iretq();
        });

        // Serializing is asked for through Flag (the round) and confirmed through Answer.
        SmpCpu runner = m.Cpus[1];
        runner.Write(c =>
        {
            Label again = c.CreateLabel();
            Label same = c.CreateLabel();
            Label good = c.CreateLabel();
            Label end = c.CreateLabel();
            c.xor(r8d, r8d);
            c.xor(r14d, r14d);
            c.Label(ref again);
            c.xor(ebx, ebx);
            c.call(site);

            // 0 (INT3), or plus or minus the number of the round, as one instruction has it.
            c.test(ebx, ebx);
            c.je(good);
            c.mov(eax, ebx);
            c.neg(eax);
            c.cmovs(eax, ebx);
            c.mov(ecx, __dword_ptr[Shared]);
            c.cmp(ecx, eax);
            c.FailIfNotEqual();

            // Odd rounds add, even ones subtract.
            c.mov(ecx, ebx);
            c.shr(ecx, 31);
            c.xor(eax, ecx);
            c.test(eax, 1);
            c.jne(good);
            c.ud2();
            c.Label(ref good);
            c.mov(rax, __qword_ptr[Flag]);
            c.cmp(rax, r8);
            c.je(same);
            c.mov(r8, rax);
            Serialize(c, "cpuid");
            c.mov(__qword_ptr[Answer], r8);
            c.Label(ref same);
            c.cmp(__byte_ptr[StopFlag], 0);
            c.jne(end);
            c.cmp(r8d, count * 3);
            c.jb(again);
            c.Label(ref end);
            c.End();
        });
        m.Memory.Write(Shared, 1u);
        m.Cpus[0].Write(c =>
        {
            Label end = c.CreateLabel();
            c.xor(r8d, r8d);
            c.mov(edi, 2);
            Label again = c.CreateLabel();
            Label odd = c.CreateLabel();
            c.Label(ref again);
            c.mov(__byte_ptr[site], -52);       // CCH
            Sync(c, end);
            c.mov(__dword_ptr[Shared], edi);
            c.mov(__dword_ptr[site + 2], edi);
            c.mov(al, -61);                     // C3H: add
            c.test(edi, 1);
            c.jne(odd);
            c.mov(al, -21);                     // EBH: sub
            c.Label(ref odd);
            c.mov(__byte_ptr[site + 1], al);
            Sync(c, end);
            c.mov(__byte_ptr[site], -127);      // 81H
            Sync(c, end);
            c.inc(edi);
            c.cmp(edi, count + 2);
            c.jb(again);
            c.Label(ref end);
            c.End();
        });
        m.Run(Enough, enough: () => m.Memory.Read<ulong>(Answer) > 3);
    }

    /// <summary>Two vCPUs write and run code in the same page at once, each its own functions, which lie between the other's.</summary>
    [Theory]
    [InlineData(0x40)]
    [InlineData(0x10)]
    public void BothWriteAndRunCodeInOnePage(int distance)
    {
        const int count = 3_000;
        using var m = new SmpMachine(2);
        foreach (SmpCpu cpu in m.Cpus)
        {
            cpu.Rdi = Target + (ulong)(cpu.Index * distance);
            cpu.Write(c => c.Repeat(count, part =>
            {
                // Two functions of mine, between which is one of the other's. Writing one's own code needs a jump only.
                foreach (int place in new[] { 0, 2 * distance })
                {
                    part.mov(__byte_ptr[rdi + place], -72);
                    part.mov(__dword_ptr[rdi + place + 1], r8d);
                    part.mov(__byte_ptr[rdi + place + 5], -61);
                }

                part.call(rdi);
                part.cmp(eax, r8d);
                part.FailIfNotEqual();
                part.lea(rsi, __qword_ptr[rdi + (2 * distance)]);
                part.call(rsi);
                part.cmp(eax, r8d);
                part.FailIfNotEqual();
            }));
        }

        m.Run(Enough);
    }

    /// <summary>
    /// An instruction, operation and constant, is replaced again and again by one aligned store: it is run in one of its two
    /// forms, never with the operation of one and the constant of the other.
    /// </summary>
    [Fact]
    public void AnInstructionReplacedByOneStoreIsNeverMixed()
    {
        const ulong add = 0x90C3_0000_1111_C381;    // add ebx, 1111H; ret
        const ulong sub = 0x90C3_0000_2222_EB81;    // sub ebx, 2222H; ret
        using var m = new SmpMachine(2);
        m.Memory.Write(Target, add);
        m.Cpus[0].State.Gpr[9] = add;
        m.Cpus[0].State.Gpr[10] = sub;
        m.Cpus[0].Rdi = Target;
        m.Cpus[0].Write(c => c.Repeat(Forever, part =>
        {
            part.mov(__qword_ptr[rdi], r9);
            part.mov(__qword_ptr[rdi], r10);
        }));
        m.Cpus[1].Write(c => c.Repeat(Forever, part =>
        {
            Label good = part.CreateLabel();
            part.xor(ebx, ebx);
            part.call(Target);
            part.cmp(ebx, 0x1111);
            part.je(good);
            part.cmp(ebx, -0x2222);
            part.FailIfNotEqual();
            part.nop();
            part.Label(ref good);
            part.nop();
        }));
        m.Run(Enough);
    }

    /// <summary>One vCPU counts in a page's free granules while another writes, runs and rewrites functions all over the rest.</summary>
    [Fact]
    public void DataBesideCodeThatIsBeingTranslatedIsKept()
    {
        using var m = new SmpMachine(2);
        m.Cpus[0].Rdi = Target;
        m.Cpus[0].Write(c => c.Repeat(Forever, part =>
        {
            part.inc(__qword_ptr[rdi + 0x38]);
            part.inc(rbx);
            part.cmp(__qword_ptr[rdi + 0x38], rbx);
            part.FailIfNotEqual();
            part.@lock.inc(__qword_ptr[rdi + 0xF80]);
            part.cmp(__qword_ptr[rdi + 0xF80], rbx);
            part.FailIfNotEqual();
        }));
        m.Cpus[1].Write(c => c.Repeat(Forever, part =>
        {
            part.imul(edi, r8d, 5 * 64);
            part.and(edi, 0x7C0);
            part.or(edi, 0x80);
            part.add(edi, (int)Target);
            part.mov(__byte_ptr[rdi], -72);     // B8H: mov eax, imm32
            part.mov(__dword_ptr[rdi + 1], r8d);
            part.mov(__byte_ptr[rdi + 5], -61); // C3H
            part.call(rdi);
            part.cmp(eax, r8d);
            part.FailIfNotEqual();
        }));
        m.Run(Enough);
    }

    /// <summary>Code that is written through another linear address, across pages, into the middle of a block that runs.</summary>
    [Fact]
    public void CodeAcrossPagesWrittenThroughAnotherMappingRunsAfterSerializing()
    {
        const ulong alias = 0x20_0000;
        using var m = new SmpMachine(2);
        m.Pages.Map(alias, Target, PageTables.P | PageTables.Rw);
        m.Pages.Map(alias + 0x1000, Target + 0x1000, PageTables.P | PageTables.Rw);

        // The immediate lies in both pages.
        ulong site = Target + 0xFFD;
        m.Base.WriteBytes(site, 0xB8, 0, 0, 0, 0, 0xC3);
        m.Cpus[0].Write(c => Handshake(c, 2_000, part => part.mov(__dword_ptr[alias + 0xFFE], r8d)));
        m.Cpus[1].Write(c => Obey(c, 2_000, part =>
        {
            Serialize(part, "cpuid");
            part.call(site);
            part.cmp(eax, r8d);
            part.FailIfNotEqual();
        }));
        m.Run(Enough);
    }

    /// <summary>A locked operation on a code byte is both: atomic, and seen as code.</summary>
    [Fact]
    public void LockedOperationsOnCodeAreExactAndSeen()
    {
        const int count = 2_000;
        using var m = new SmpMachine(3);
        m.Base.WriteBytes(Target, 0xB8, 0, 0, 0, 0, 0xC3);
        for (int i = 0; i < 2; i++)
        {
            m.Cpus[i].Write(c => c.Repeat(count, part => part.@lock.inc(__dword_ptr[Target + 1])));
        }

        m.Cpus[2].Write(c => c.Until(Answer, 2 * count, part =>
        {
            part.call(Target);
            part.mov(__qword_ptr[Answer], rax);
        }));
        m.Run();
        Assert.Equal(2u * count, m.Memory.Read<uint>(Target + 1));
        Assert.Equal(2ul * count, m.Memory.Read<ulong>(Answer));
    }

    /// <summary>RDI = where the function of this round stands.</summary>
    private static void FunctionAddress(Assembler c)
    {
        c.imul(edi, r8d, 7);
        c.movzx(edi, dil);
        c.add(edi, (int)Target);
    }

    /// <summary>Each round: does something, says so by Flag, and waits until the other has answered.</summary>
    private static void Handshake(Assembler c, int rounds, Action<Assembler> part)
    {
        Label end = c.CreateLabel();
        c.Repeat(rounds, round =>
        {
            part(round);
            round.mov(__qword_ptr[Flag], r8);
            round.WaitFor(Answer, end);
        });
        c.Label(ref end);
        c.End();
    }

    /// <summary>The other side: waits for Flag, does something, answers.</summary>
    private static void Obey(Assembler c, int rounds, Action<Assembler> part)
    {
        Label end = c.CreateLabel();
        c.Repeat(rounds, round =>
        {
            round.WaitFor(Flag, end);
            part(round);
            round.mov(__qword_ptr[Answer], r8);
        });
        c.Label(ref end);
        c.End();
    }

    /// <summary>Counts R8 up and waits until the other has serialized.</summary>
    private static void Sync(Assembler c, Label end)
    {
        c.inc(r8);
        c.mov(__qword_ptr[Flag], r8);
        c.WaitFor(Answer, end);
    }

    private static void Serialize(Assembler c, string how)
    {
        switch (how)
        {
            case "cpuid":
                c.push(rbx);
                c.xor(eax, eax);
                c.cpuid();
                c.pop(rbx);
                break;
            case "iret":
                Label next = c.CreateLabel();
                c.mov(rdx, rsp);
                c.push(SnippetMachine.Data32);
                c.push(rdx);
                c.pushfq();
                c.push(SnippetMachine.Code64);
                c.lea(rdx, __qword_ptr[next]);
                c.push(rdx);
                c.iretq();
                c.Label(ref next);
                break;
            case "mov cr3":
                c.mov(rdx, cr3);
                c.mov(cr3, rdx);
                break;
            case "invlpg":
                c.invlpg(__byte_ptr[rsp]);
                break;
            case "wbinvd":
                c.wbinvd();
                break;
            default:
                c.mov(rdx, cr0);
                c.mov(cr0, rdx);
                break;
        }
    }
}
