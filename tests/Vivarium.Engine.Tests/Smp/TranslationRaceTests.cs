using Vivarium.Engine.Software;
using Iced.Intel;
using Vivarium.Engine.Tests.Snippets;
using static Iced.Intel.AssemblerRegisters;
using static Vivarium.Engine.Tests.Smp.SmpMachine;

namespace Vivarium.Engine.Tests.Smp;

/// <summary>Several vCPUs that make, link and lose translations of the same code at the same time.</summary>
[Collection(SmpCollection.Name)]
public sealed class TranslationRaceTests
{
    /// <summary>2 MiB of code.</summary>
    private const ulong CodeArea = 0xE0_0000;

    private const int Pages = 512;
    private static readonly TimeSpan Enough = TimeSpan.FromSeconds(1);

    /// <summary>Round by round all call a function that nobody has called before: loops, jumps and calls within its page.</summary>
    [Theory]
    [InlineData(2)]
    [InlineData(4)]
    public void AllMeetTheSameNewCodeAtOnce(int cpus)
    {
        using var m = new SmpMachine(cpus);
        m.Pages.MapLarge(CodeArea, CodeArea, 21, PageTables.P | PageTables.Rw);
        for (int page = 0; page < Pages; page++)
        {
            int number = page + 1;
            m.Base.Write(CodeArea + ((ulong)page << 12), c =>
            {
                Label again = c.CreateLabel();
                Label inner = c.CreateLabel();
                Label far = c.CreateLabel();
                c.xor(eax, eax);
                c.mov(ecx, 3);
                c.Label(ref again);
                c.add(eax, number);
                c.dec(ecx);
                c.jne(again);
                c.call(inner);
                c.ret();
                c.Label(ref inner);
                c.inc(eax);
                c.jmp(far);
                c.nop();
                c.Label(ref far);
                c.ret();
            });
        }

        foreach (SmpCpu cpu in m.Cpus)
        {
            cpu.Write(c => c.Rounds(m, cpu.Index, Pages, round =>
            {
                round.mov(edi, r8d);
                round.dec(edi);
                round.shl(edi, 12);
                round.add(edi, (int)CodeArea);
                round.call(rdi);
                round.lea(ecx, __qword_ptr[r8 + (r8 * 2)]);
                round.inc(ecx);
                round.cmp(eax, ecx);
                round.FailIfNotEqual();
            }));
        }

        m.Run(Enough, enough: () => Rendezvous.Completed(m) > 10);
    }

    /// <summary>
    /// More code than the cache holds, made by two vCPUs, while two others run code of their own: everything is thrown away
    /// under them, in whatever they are.
    /// </summary>
    [Fact]
    public void TheCacheIsFilledAndEmptiedWhileOthersRun()
    {
        const int capacity = 1 << 20;
        const int aliases = 256;
        const ulong firstAlias = 0x4000_0000;
        using var m = new SmpMachine(4, TestOptions.Engine with { CodeCacheBytes = capacity });

        // One page of PUSH and POP, which is seen at many addresses: each is translated for itself.
        var code = new byte[0x1000];
        for (int i = 0; i < code.Length; i++)
        {
            code[i] = (byte)(i % 2 == 0 ? 0x50 : 0x59); // push rax; pop rcx
        }

        code[^2] = code[^1] = 0xC3;
        m.Base.WriteBytes(CodeArea, code);
        for (int i = 0; i < aliases; i++)
        {
            m.Pages.Map(firstAlias + ((ulong)i << 12), CodeArea, PageTables.P | PageTables.Rw);
        }

        foreach (SmpCpu cpu in m.Cpus.Take(2))
        {
            // One goes up, the other down, and they meet.
            bool up = cpu.Index == 0;
            cpu.Write(c => c.Repeat(int.MaxValue - 1, part =>
            {
                part.mov(edi, r8d);
                if (!up)
                {
                    part.neg(edi);
                }

                part.and(edi, aliases - 1);
                part.shl(edi, 12);
                part.add(edi, (int)firstAlias);
                part.mov(rax, r8);
                part.xor(ecx, ecx);
                part.call(rdi);
                part.cmp(rax, rcx);
                part.FailIfNotEqual();
            }));
        }

        // A loop that is linked to itself, and calls through pages; and one that is trapped all the time.
        m.Cpus[2].Write(c =>
        {
            c.xor(ebx, ebx);
            c.Repeat(int.MaxValue - 1, part =>
            {
                Label inner = part.CreateLabel();
                part.mov(ecx, 50);
                part.Label(ref inner);
                part.inc(rbx);
                part.dec(ecx);
                part.jne(inner);
                part.call(m.Cpus[3].Code + 0x1000);
                part.imul(rax, r8, 50);
                part.cmp(rax, rbx);
                part.FailIfNotEqual();
            });
        });
        m.Base.Write(m.Cpus[3].Code + 0x1000, c => c.ret());
        m.Cpus[3].Write(c => c.Repeat(int.MaxValue - 1, part =>
        {
            part.mov(rbp, r8);
            part.mov(rdx, cr3);
            part.mov(cr3, rdx);
            part.xor(eax, eax);
            part.cpuid();
            part.@lock.inc(__qword_ptr[Shared + 0xFFD]);
            part.call(m.Cpus[3].Code + 0x1000);
            part.cmp(rbp, r8);
            part.FailIfNotEqual();
        }));
        // A push or a pop takes more than 16 bytes: so many fill the cache.
        m.Run(Enough, enough: () => m.Cpus.Sum(cpu => cpu.Vcpu.Statistics.InstructionsTranslated) * 16 > capacity);
    }
}
