using Iced.Intel;
using Vivarium.Engine.Tests.Snippets;
using static Iced.Intel.AssemblerRegisters;
using static Vivarium.Engine.Tests.Smp.SmpMachine;

namespace Vivarium.Engine.Tests.Smp;

/// <summary>Locked read-modify-write instructions lose nothing, wherever their operand stands (SDM vol. 3A, 9.1.2).</summary>
[Collection(SmpCollection.Name)]
public sealed class LockedOperationTests
{
    private const ulong Page = Shared + 0x4000;

    /// <summary>What a lock protects: changed by plain instructions.</summary>
    private const ulong Guarded = Shared + 0x1000;

    private static readonly string[] Operations =
    [
        "inc", "dec", "add", "sub", "adc", "sbb", "inc16", "inc8", "xadd", "cmpxchg", "cmpxchg8b", "cmpxchg16b",
        "or-and", "xor", "bts-btr", "btc", "bts-btr-register", "lock by bts", "lock by xchg", "lock by cmpxchg",
    ];

    private static readonly string[] AnywhereOperations = ["inc", "xadd", "cmpxchg8b", "or-and", "bts-btr", "lock by xchg"];

    private static readonly string[] Places =
    [
        "inside a line", "across lines", "across pages", "beside code", "in a line with code", "across pages with code",
        "across pages in lines with code", "accessed and dirty flags cleared", "across pages, flags cleared",
    ];

    public static TheoryData<string, string, int> Cases()
    {
        var cases = new TheoryData<string, string, int>();
        foreach (string operation in Operations)
        {
            cases.Add(operation, "aligned", 2);
        }

        foreach (string operation in AnywhereOperations)
        {
            cases.Add(operation, "aligned", 4);
            foreach (string place in Places)
            {
                cases.Add(operation, place, 2);
            }
        }

        cases.Add("cmpxchg16b", "in a line with code", 2);
        cases.Add("inc", "in a line with code", 4);
        cases.Add("inc", "across pages", 4);
        return cases;
    }

    [Theory]
    [MemberData(nameof(Cases))]
    public void NothingIsLost(string operation, string place, int cpus)
    {
        using var m = new SmpMachine(cpus);
        ulong at = Place(place);
        bool code = place.Contains("code", StringComparison.Ordinal);
        bool flags = place.Contains("flags", StringComparison.Ordinal);
        bool slow = place.StartsWith("across", StringComparison.Ordinal) || place.StartsWith("in a line", StringComparison.Ordinal);
        int count = slow || flags ? 4_000 : 40_000;
        foreach (ulong function in Functions(place))
        {
            m.Base.WriteBytes(function, 0xC3);
        }

        foreach (SmpCpu cpu in m.Cpus)
        {
            cpu.Rsi = at;
            cpu.Write(c =>
            {
                Label end = c.CreateLabel();
                c.xor(ebp, ebp);
                c.Repeat(count, part =>
                {
                    if (code)
                    {
                        foreach (ulong function in Functions(place))
                        {
                            part.call(function);
                        }
                    }

                    if (flags)
                    {
                        ClearFlags(part, m, at);
                        ClearFlags(part, m, at + 7);
                    }

                    Operate(part, operation, cpu.Index, end);
                });
                c.Label(ref end);
                c.End();
            });
        }

        m.Run();
        Verify(m, operation, at, (ulong)(count * cpus));
    }

    /// <summary>
    /// One vCPU's locked operations cross from one page to another that is not its neighbour in memory; another vCPU's stand in
    /// the second page alone, through a mapping of its own, and never take the careful path.
    /// </summary>
    [Fact]
    public void AnOperandAcrossPagesIsLockedForThoseThatAreNot()
    {
        const int count = 4_000;
        using SmpMachine m = CrossingPages(out ulong crossing, out ulong second);
        m.Cpus[0].Write(c => c.Repeat(count, part => part.@lock.inc(__qword_ptr[crossing])));
        m.Cpus[1].Write(c => c.Repeat(count, part =>
        {
            // The operand's byte 7 counts its own.
            part.@lock.add(__byte_ptr[second + 4], 1);
            part.@lock.sub(__byte_ptr[second + 4], 1);
            part.@lock.add(__dword_ptr[second + 1], 0x0100_0000);
        }));
        m.Run();
        ulong value = m.Memory.Read<uint>(Page + 0xFFD) & 0xFF_FFFF | ((ulong)m.Memory.Read<uint>(Page + 0x5000) << 24) | ((ulong)m.Memory.Read<byte>(Page + 0x5004) << 56);
        Assert.Equal(count + ((ulong)count << 56), value);
    }

    /// <summary>A locked operation that changes nothing does not take back what another vCPU stored meanwhile.</summary>
    [Fact]
    public void AnOperandAcrossPagesKeepsPlainStoresOfOthers()
    {
        const int count = 4_000;
        using SmpMachine m = CrossingPages(out ulong crossing, out ulong second);
        m.Cpus[0].Write(c => c.Until(Guarded, count, part => part.@lock.or(__qword_ptr[crossing], 0)));
        m.Cpus[1].Write(c => c.Repeat(count, part =>
        {
            part.mov(__word_ptr[second], r8w);
            for (int i = 0; i < 20; i++)
            {
                part.mov(ax, __word_ptr[second]);
                part.cmp(ax, r8w);
                part.FailIfNotEqual();
            }

            part.mov(__qword_ptr[Guarded], r8);
        }));
        m.Run();
    }

    /// <summary>An operand of 8 bytes, three in one page and five in another that stands elsewhere, and another address of the five.</summary>
    private static SmpMachine CrossingPages(out ulong crossing, out ulong second)
    {
        var m = new SmpMachine(2);
        const ulong linear = 0x20_0000;
        m.Pages.Map(linear, Page);
        m.Pages.Map(linear + 0x1000, Page + 0x5000);
        m.Pages.Map(linear + 0x8000, Page + 0x5000);
        crossing = linear + 0xFFD;
        second = linear + 0x8000;
        return m;
    }

    private static ulong Place(string place) => place switch
    {
        "aligned" => Page + 0x40,
        "inside a line" => Page + 0x43,
        "across lines" => Page + 0x7C,
        "beside code" => Page + 0x840,
        "in a line with code" => Page + 0x60,
        "accessed and dirty flags cleared" => Page + 0x40,
        _ => Page + 0xFFD,
    };

    /// <summary>Functions of one RET in the pages of the operand.</summary>
    private static ulong[] Functions(string place) => place switch
    {
        "beside code" => [Page],
        "in a line with code" => [Page + 0x40],
        "across pages with code" => [Page, Page + 0x1800],
        "across pages in lines with code" => [Page + 0xFC0, Page + 0x1020],
        _ => [],
    };

    /// <summary>Clears A and D of a page's entry by a locked AND, and forgets the translation.</summary>
    private static void ClearFlags(Assembler c, SmpMachine m, ulong linear)
    {
        c.@lock.and(__byte_ptr[m.Pages.Entry(linear, 12)], unchecked((sbyte)~0x60));
        c.invlpg(__byte_ptr[linear]);
    }

    /// <summary>One locked operation on [RSI]. RBP collects what XADD returned.</summary>
    private static void Operate(Assembler c, string operation, int me, Label end)
    {
        Label retry = c.CreateLabel();
        Label taken = c.CreateLabel();
        switch (operation)
        {
            case "inc":
                c.@lock.inc(__qword_ptr[rsi]);
                break;
            case "inc16":
                c.@lock.inc(__word_ptr[rsi]);
                break;
            case "inc8":
                c.@lock.inc(__byte_ptr[rsi]);
                break;
            case "dec":
                c.@lock.dec(__qword_ptr[rsi]);
                break;
            case "add":
                c.@lock.add(__dword_ptr[rsi], 1);
                break;
            case "sub":
                c.@lock.sub(__qword_ptr[rsi], 1);
                break;
            case "adc":
                c.stc();
                c.@lock.adc(__qword_ptr[rsi], 0);
                break;
            case "sbb":
                c.stc();
                c.@lock.sbb(__qword_ptr[rsi], 0);
                break;
            case "xadd":
                c.mov(eax, 1);
                c.@lock.xadd(__qword_ptr[rsi], rax);
                c.add(rbp, rax);
                break;
            case "cmpxchg":
                c.mov(rax, __qword_ptr[rsi]);
                c.Label(ref retry);
                c.lea(rcx, __qword_ptr[rax + 1]);
                c.@lock.cmpxchg(__qword_ptr[rsi], rcx);
                c.jne(retry);
                break;
            case "cmpxchg8b":
                c.mov(eax, __dword_ptr[rsi]);
                c.mov(edx, __dword_ptr[rsi + 4]);
                c.Label(ref retry);
                c.mov(ebx, eax);
                c.mov(ecx, edx);
                c.add(ebx, 1);
                c.add(ecx, 1);
                c.@lock.cmpxchg8b(__qword_ptr[rsi]);
                c.jne(retry);
                break;
            case "cmpxchg16b":
                c.mov(rax, __qword_ptr[rsi]);
                c.mov(rdx, __qword_ptr[rsi + 8]);
                c.Label(ref retry);
                c.mov(rbx, rax);
                c.mov(rcx, rdx);
                c.add(rbx, 1);
                c.add(rcx, 1);
                c.@lock.cmpxchg16b(__xmmword_ptr[rsi]);
                c.jne(retry);
                break;
            default:
                OperateOnOwnBit(c, operation, me, end, retry, taken);
                break;
        }
    }

    /// <summary>Operations on a bit of this vCPU's own beside those of others, each of which must find what the last left; and locks.</summary>
    private static void OperateOnOwnBit(Assembler c, string operation, int me, Label end, Label retry, Label taken)
    {
        int bit = (me * 13) + 1;
        switch (operation)
        {
            case "or-and":
                c.@lock.or(__dword_ptr[rsi + 1], 1 << (bit % 24));
                c.mov(eax, __dword_ptr[rsi + 1]);
                c.test(eax, 1 << (bit % 24));
                FailIf(c, zero: true);
                c.@lock.and(__dword_ptr[rsi + 1], ~(1 << (bit % 24)));
                c.mov(eax, __dword_ptr[rsi + 1]);
                c.test(eax, 1 << (bit % 24));
                FailIf(c, zero: false);
                break;
            case "xor":
                c.@lock.xor(__dword_ptr[rsi], 1 << (bit % 24));
                c.mov(eax, __dword_ptr[rsi]);
                c.test(eax, 1 << (bit % 24));
                FailIf(c, zero: true);
                c.@lock.xor(__dword_ptr[rsi], 1 << (bit % 24));
                break;
            case "bts-btr":
                c.@lock.bts(__qword_ptr[rsi], (byte)bit);
                FailIfCarryIs(c, true);
                c.@lock.btr(__qword_ptr[rsi], (byte)bit);
                FailIfCarryIs(c, false);
                break;
            case "btc":
                c.@lock.btc(__qword_ptr[rsi], (byte)bit);
                FailIfCarryIs(c, true);
                c.@lock.btc(__qword_ptr[rsi], (byte)bit);
                FailIfCarryIs(c, false);
                break;
            case "bts-btr-register":
                c.mov(eax, -64 + bit);
                c.cdqe();
                c.lea(rdi, __qword_ptr[rsi + 8]);
                c.@lock.bts(__qword_ptr[rdi], rax);
                FailIfCarryIs(c, true);
                c.@lock.btr(__qword_ptr[rdi], rax);
                FailIfCarryIs(c, false);
                break;
            default:
                c.xor(r9d, r9d);
                c.Label(ref retry);
                switch (operation)
                {
                    case "lock by bts":
                        c.@lock.bts(__dword_ptr[rsi], 7);
                        c.jae(taken);
                        break;
                    case "lock by xchg":
                        c.mov(eax, 1);
                        c.xchg(__dword_ptr[rsi], eax);
                        c.test(eax, eax);
                        c.je(taken);
                        break;
                    default:
                        c.xor(eax, eax);
                        c.mov(ecx, 1);
                        c.@lock.cmpxchg(__dword_ptr[rsi], ecx);
                        c.je(taken);
                        break;
                }

                c.Spin(end);
                c.jmp(retry);
                c.Label(ref taken);
                c.mov(rax, __qword_ptr[Guarded]);
                c.inc(rax);
                c.mov(__qword_ptr[Guarded], rax);

                // The lock's word may lie across pages: then only a locked write gives it back as a whole.
                c.xor(eax, eax);
                c.xchg(__dword_ptr[rsi], eax);
                break;
        }
    }

    private static void FailIf(Assembler c, bool zero)
    {
        Label good = c.CreateLabel();
        if (zero)
        {
            c.jne(good);
        }
        else
        {
            c.je(good);
        }

        c.ud2();
        c.Label(ref good);
    }

    private static void FailIfCarryIs(Assembler c, bool set)
    {
        Label good = c.CreateLabel();
        if (set)
        {
            c.jae(good);
        }
        else
        {
            c.jb(good);
        }

        c.ud2();
        c.Label(ref good);
    }

    private static void Verify(SmpMachine m, string operation, ulong at, ulong total)
    {
        ulong left = m.Memory.Read<ulong>(at);
        switch (operation)
        {
            case "inc" or "adc" or "add" or "cmpxchg":
                Assert.Equal(total, left);
                break;
            case "xadd":
                Assert.Equal(total, left);

                // Each number below the total was returned once.
                Assert.Equal(total * (total - 1) / 2, m.Cpus.Aggregate(0ul, (sum, cpu) => sum + cpu.Rbp));
                break;
            case "inc16":
                Assert.Equal((ushort)total, left);
                break;
            case "inc8":
                Assert.Equal((byte)total, left);
                break;
            case "dec" or "sub" or "sbb":
                Assert.Equal(0 - total, left);
                break;
            case "cmpxchg8b":
                Assert.Equal(total | (total << 32), left);
                break;
            case "cmpxchg16b":
                Assert.Equal((total, total), (left, m.Memory.Read<ulong>(at + 8)));
                break;
            case "lock by bts" or "lock by xchg" or "lock by cmpxchg":
                Assert.Equal(total, m.Memory.Read<ulong>(Guarded));
                break;
            default:
                Assert.Equal(0ul, left);
                break;
        }
    }
}
