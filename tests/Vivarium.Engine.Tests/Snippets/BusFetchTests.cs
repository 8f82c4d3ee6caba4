using Iced.Intel;
using static Iced.Intel.AssemblerRegisters;
using static Vivarium.Engine.Tests.Snippets.SnippetMachine;

namespace Vivarium.Engine.Tests.Snippets;

/// <summary>Code where there is no memory comes over the bus: from a device, or from nobody, whose answer is all ones.</summary>
public sealed class BusFetchTests
{
    [Theory]
    [InlineData(16)]
    [InlineData(32)]
    [InlineData(64)]
    public void AJumpToNothingExecutesAllOnes(int bits)
    {
        const ulong nothing = 0x10_0000 + 0xF_FF00;
        using SnippetMachine m = bits switch { 16 => Protected(bits: 16), 32 => Protected(), _ => Long() };
        ulong target = bits == 64 ? Spare : MmioGpa + nothing;
        if (bits == 64)
        {
            m.Pages.Map(Spare, MmioGpa);
        }

        for (ulong i = 0; i < 64; i++)
        {
            m.Bus.Mmio[(bits == 64 ? MmioGpa : MmioGpa + nothing) + i] = 0xFF;
        }

        if (bits == 16)
        {
            m.State.Segments[1].Base = (uint)(MmioGpa + nothing);
            m.State.Rip = 0;
            target = 0;
        }
        else
        {
            m.Write(c => c.jmp(target));
        }

        Assert.Equal(target, m.RunToFault(6).Rip);
    }

    [Fact]
    public void ADevicesBytesAreExecutedAsTheyAreEachTime()
    {
        using SnippetMachine m = Long();
        m.Pages.Map(Spare, MmioGpa);
        Put(m, 0, 0x81, 0xC3, 0x11, 0, 0, 0); // add ebx, 11H
        Put(m, 6, 0x89, 0x05, 0xF6, 0xFF, 0xFF, 0xFF); // mov [rip - 10], eax: the constant, 1
        Put(m, 12, 0xE2, 0xF2, 0xF4); // loop to the start; hlt
        m.Rcx = 3;
        m.Rax = 1;
        m.Write(c => c.jmp(Spare));
        m.RunToEnd();
        Assert.Equal(0x11u + 1 + 1, m.Rbx);
    }

    [Fact]
    public void AnInstructionMayBeginInMemoryAndEndInADevice()
    {
        using SnippetMachine m = Long();
        m.Pages.Map(Spare, Data);
        m.Pages.Map(Spare + 0x1000, MmioGpa);
        m.WriteBytes(Data + 0xFFF, 0xB8); // mov eax, imm32
        Put(m, 0, 0x44, 0x33, 0x22, 0x11);
        Put(m, 4, 0xFF, 0xE6); // jmp rsi
        m.Write(c =>
        {
            var back = c.CreateLabel();
            c.lea(rsi, __[back]);
            c.jmp(Spare + 0xFFF);
            c.Label(ref back);
            c.mov(edx, eax);
            c.mov(__dword_ptr[Spare + 0x1000], 7);
            c.cmp(eax, 7);
            var end = c.CreateLabel();
            c.je(end);
            c.lea(rsi, __[end]);
            c.jmp(Spare + 0xFFF);
            c.Label(ref end);
            c.hlt();
        });
        m.RunToEnd();
        Assert.Equal((0x1122_3344u, 7u), ((uint)m.Rdx, (uint)m.Rax));
    }

    [Fact]
    public void InterruptsComeBetweenInstructionsFromTheBus()
    {
        using SnippetMachine m = Long();
        m.Pages.Map(Spare, MmioGpa);
        Put(m, 0, 0xFF, 0xC3, 0xEB, 0xFC); // inc ebx; jmp to the start
        m.State.Rflags |= 1 << 9;
        m.Bus.Interrupts.Enqueue(EndVector);
        m.Cpu.RequestInterrupt();
        m.Write(c => c.jmp(Spare));
        Assert.Equal(EndVector, m.Run().Vector);
    }

    private static void Put(SnippetMachine m, int at, params byte[] code)
    {
        for (int i = 0; i < code.Length; i++)
        {
            m.Bus.Mmio[MmioGpa + (ulong)(at + i)] = code[i];
        }
    }
}
