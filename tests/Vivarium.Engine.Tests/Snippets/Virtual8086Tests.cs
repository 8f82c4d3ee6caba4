using Vivarium.Engine.Software;
using static Vivarium.Engine.Tests.Snippets.SnippetMachine;

namespace Vivarium.Engine.Tests.Snippets;

/// <summary>Virtual-8086 mode as a monitor such as EMM386 uses it, with and without CR4.VME (SDM vol. 3A, 20.2 and 20.3).</summary>
public sealed class Virtual8086Tests
{
    private const ushort Segment = (ushort)(Code >> 4);
    private const ushort BitmapBase = 0x88;
    private const int RedirectionBytes = 32;
    private const uint If = 1 << 9, Vm = 1 << 17, Vif = 1 << 19, Vip = 1 << 20;

    /// <summary>What a program may not do below IOPL 3, the monitor is told of by #GP(0) at the instruction.</summary>
    [Theory]
    [InlineData("FA", true)]        // cli
    [InlineData("FB", true)]        // sti
    [InlineData("9C", true)]        // pushf
    [InlineData("9D", true)]        // popf
    [InlineData("CD21", true)]      // int 21h
    [InlineData("CF", true)]        // iret
    [InlineData("F4", false)]       // hlt
    [InlineData("0F20C0", false)]   // mov eax, cr0
    [InlineData("0F0008", false, 6)] // str [bx+si]
    [InlineData("E410", false)]     // in al, 10h
    [InlineData("EE", false)]       // out dx, al
    public void SensitiveInstructionsAreTheMonitors(string code, bool byIopl, int vector = 13)
    {
        foreach (int iopl in (int[])[0, 3])
        {
            using SnippetMachine m = Create(iopl, vme: false);
            m.Memory.Write(Tss + BitmapBase, ulong.MaxValue);
            m.WriteBytes(Code, [0x90, .. Convert.FromHexString(code), 0xCD, 0x30]);
            Stop stop = m.Run();
            bool allowed = byIopl && iopl == 3;
            if (allowed && code is "CD21" or "CF")
            {
                continue;
            }

            Assert.Equal(allowed ? 0x30 : vector, stop.Vector);
            Assert.Equal(allowed ? (ulong)(code.Length / 2) + 3 : 1, stop.Rip);
            Assert.Equal(Segment, stop.Cs);
        }
    }

    [Fact]
    public void TheMonitorsFrameHoldsTheSegmentsWhichAreNullThen()
    {
        using SnippetMachine m = Create(iopl: 3, vme: false);
        m.WriteBytes(Code, 0xCD, 0x30);
        Stop stop = m.RunToFault(0x30);
        Assert.NotEqual(0u, stop.Rflags & Vm);
        uint[] frame = [.. Enumerable.Range(0, 9).Select(i => m.Memory.Read<uint>(InnerStack - 36 + (ulong)(i * 4)))];
        Assert.Equal([2, Segment, (uint)stop.Rflags, 0x8000, Segment, Segment, Segment, Segment, Segment], frame);
        Assert.All([0, 3, 4, 5], segment => Assert.Equal(0, m.State.Segments[segment].Selector));
    }

    /// <summary>With VME the program has an interrupt flag of its own, VIF, which it sees as IF.</summary>
    [Fact]
    public void CliAndStiChangeTheVirtualInterruptFlag()
    {
        using SnippetMachine m = Create(iopl: 0, vme: true);
        m.State.Rflags |= If | Vif;
        // pushf; pop ax; cli; pushf; pop bx; sti; pushf; pop cx; cli; int 30h
        m.WriteBytes(Code, 0x9C, 0x58, 0xFA, 0x9C, 0x5B, 0xFB, 0x9C, 0x59, 0xFA, 0xCD, 0x30);
        Stop stop = m.RunToFault(13);
        Assert.Equal(9u, stop.Rip);
        Assert.Equal(If, stop.Rflags & (If | Vif));
        Assert.Equal((If | 0x3000u, 0x3000u, If | 0x3000u), ((uint)m.Rax & 0x3200, (uint)m.Rbx & 0x3200, (uint)m.Rcx & 0x3200));
    }

    [Theory]
    [InlineData("FB")]              // sti
    [InlineData("6800029D")]        // push 200h; popf
    public void LettingAWaitingInterruptInIsTheMonitors(string code)
    {
        using SnippetMachine m = Create(iopl: 0, vme: true);
        m.State.Rflags |= If | Vip;
        m.WriteBytes(Code, [.. Convert.FromHexString(code), 0xCD, 0x30]);
        Stop stop = m.RunToFault(13);
        Assert.Equal((0u, (ulong)(code.Length / 2) - 1), (stop.ErrorCode, stop.Rip));
        Assert.Equal(Vip, stop.Rflags & (Vif | Vip));
    }

    /// <summary>The bit map in front of the I/O map says which interrupts the program handles itself.</summary>
    [Fact]
    public void RedirectedInterruptsStayInTheProgram()
    {
        using SnippetMachine m = Create(iopl: 0, vme: true);
        m.State.Rflags |= If | Vif;
        m.Memory.Write((ulong)Tss + BitmapBase - RedirectionBytes, 0ul);
        m.Memory.Write(0x21ul * 4, (uint)Segment << 16 | 0x100);
        m.WriteBytes(Code, 0xCD, 0x21, 0x43, 0xCD, 0x50);           // int 21h; inc bx; int 50h
        m.WriteBytes(Code + 0x100, 0x9C, 0x58, 0x40, 0xCF);         // pushf; pop ax; inc ax; iret
        Stop stop = m.RunToFault(13);
        Assert.Equal((0u, 3ul), (stop.ErrorCode, stop.Rip));
        Assert.Equal(1u, m.Rbx);
        Assert.Equal(0u, m.Rax & If);
        Assert.NotEqual(0u, stop.Rflags & Vif);
    }

    /// <summary>The wide forms of PUSHF and POPF are the monitor's even with VME.</summary>
    [Theory]
    [InlineData("669C")]
    [InlineData("669D")]
    [InlineData("66CF")]
    public void WideFlagInstructionsAreTheMonitors(string code)
    {
        using SnippetMachine m = Create(iopl: 0, vme: true);
        m.WriteBytes(Code, Convert.FromHexString(code));
        Assert.Equal(0u, m.RunToFault(13).Rip);
    }

    [Fact]
    public void SingleStepsAndBreakpointsAreTheMonitors()
    {
        using SnippetMachine m = Create(iopl: 3, vme: false);
        m.State.Rflags |= 1 << 8;
        m.WriteBytes(Code, 0x40, 0x40, 0xF4);
        Stop stop = m.RunToFault(1);
        Assert.Equal((1ul, 1ul), (stop.Rip, m.Rax));
        Assert.Equal(1u << 14, m.State.Dr[6] & 0xE00F);

        using SnippetMachine watched = Create(iopl: 3, vme: false);
        watched.State.Dr[1] = Code + 0x4002;
        watched.State.Dr[7] = 0x0010_0408 | (1u << 22);
        watched.WriteBytes(Code, 0xA3, 0x01, 0x40, 0xF4);           // mov [4001h], ax
        stop = watched.RunToFault(1);
        Assert.Equal((3ul, 2ul), (stop.Rip, watched.State.Dr[6] & 0xF));
    }

    private static SnippetMachine Create(int iopl, bool vme)
    {
        SnippetMachine m = Protected(cpl: 3);
        for (int i = 0; i < 6; i++)
        {
            m.State.Segments[i] = new SegmentRegister { Base = Code, Selector = Segment, Limit = 0xFFFF, Attributes = 0xF3 };
        }

        m.State.Tr.Limit = 0x2000;
        m.Memory.Write(Tss + 0x66, BitmapBase);
        m.Fill(Tss + BitmapBase - RedirectionBytes, 0x800, 0xFF);
        m.State.Cr4 |= vme ? 1u : 0;
        m.State.Rflags = 2 | Vm | ((ulong)iopl << 12);
        m.State.Rip = 0;
        m.Rsp = 0x8000;
        return m;
    }
}
