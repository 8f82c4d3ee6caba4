using static Iced.Intel.AssemblerRegisters;
using static Vivarium.Engine.Tests.Snippets.SnippetMachine;

namespace Vivarium.Engine.Tests.Snippets;

/// <summary>The same fault again and again in 64-bit mode: what changes in the tables meanwhile counts at once.</summary>
public sealed class QuickDeliveryTests
{
    private const ulong Handler = 0x1_8000;
    private const int Rounds = 10;

    /// <summary>
    /// UD2 in a loop, which counts down RBX; its handler counts in RBP, does <paramref name="then"/> in the round in which
    /// RBX is 3, and returns behind it.
    /// </summary>
    private static SnippetMachine Faulting(int cpl, Action<Iced.Intel.Assembler> then)
    {
        SnippetMachine m = Long(cpl);
        if (cpl == 3)
        {
            m.Pages.Map(Handler, Handler, PageTables.P | PageTables.Rw);
        }

        m.SetGate(6, Handler);
        m.Rbx = Rounds;
        m.Write(c =>
        {
            var loop = c.CreateLabel();
            c.Label(ref loop);
            c.push(rax);
            c.pop(rax);
            c.ud2();
            c.dec(rbx);
            c.jnz(loop);
            c.@int(EndVector);
        });
        m.Write(Handler, c =>
        {
            var plain = c.CreateLabel();
            c.inc(rbp);
            c.add(__qword_ptr[rsp], 2);
            c.mov(rsi, rsp);
            c.cmp(rbx, 3);
            c.jne(plain);
            then(c);
            c.Label(ref plain);
            c.iretq();
        });
        return m;
    }

    [Theory]
    [InlineData(0)]
    [InlineData(3)]
    public void EveryFaultIsDelivered(int cpl)
    {
        using SnippetMachine m = Faulting(cpl, c => c.nop());
        ulong stack = cpl == 3 ? InnerStack : m.Rsp;
        m.RunToEnd();
        Assert.Equal((ulong)Rounds, m.Rbp);
        Assert.Equal(stack - 40, m.Rsi);
    }

    [Theory]
    [InlineData(0)]
    [InlineData(3)]
    public void AGateThatIsNotPresentAnyMoreIsRefused(int cpl)
    {
        using SnippetMachine m = Faulting(cpl, c =>
        {
            c.mov(eax, (int)Idt + (6 * 16) + 5);
            c.and(__byte_ptr[rax], 0x7F);
        });
        Stop stop = m.RunToFault(11);
        Assert.Equal((6u * 8) | 3, stop.ErrorCode);
        Assert.Equal(2ul, m.Rbx);
    }

    [Fact]
    public void AnotherGateIsTaken()
    {
        using SnippetMachine m = Faulting(3, c =>
        {
            c.mov(eax, (int)Idt + (6 * 16));
            c.mov(__word_ptr[rax], (short)(Handlers + (0x33 * 16)));
            c.mov(__word_ptr[rax + 6], (short)0);
        });
        m.RunToFault(0x33);
        Assert.Equal(2ul, m.Rbx);
    }

    [Fact]
    public void ACodeSegmentThatIsNotPresentAnyMoreIsRefused()
    {
        // The fault in its place cannot be delivered either.
        using SnippetMachine m = Faulting(3, c =>
        {
            c.mov(eax, (int)(Gdt + Code64 + 5));
            c.and(__byte_ptr[rax], 0x7F);
        });
        Stop stop = m.Run();
        Assert.Equal(ExitReason.Shutdown, stop.Reason);
        Assert.Equal(2ul, m.Rbx);
    }

    [Fact]
    public void AnotherInnerStackIsUsed()
    {
        using SnippetMachine m = Faulting(3, c =>
        {
            c.mov(eax, (int)Tss + 4);
            c.sub(__qword_ptr[rax], 0x108);
        });
        m.RunToEnd();
        Assert.Equal(InnerStack - 0x110 - 40, m.Rsi);
    }

    [Fact]
    public void AnInterruptStackIsUsedWhereTheGateNamesOne()
    {
        using SnippetMachine m = Faulting(3, c =>
        {
            c.mov(eax, (int)Idt + (6 * 16) + 4);
            c.mov(__byte_ptr[rax], (sbyte)1);
        });
        m.RunToEnd();
        Assert.Equal(IstStack - 40, m.Rsi);
    }
}
