using Vivarium.Engine.Software;
using static Iced.Intel.AssemblerRegisters;
using static Vivarium.Engine.Tests.Snippets.SnippetMachine;

namespace Vivarium.Engine.Tests.Snippets;

/// <summary>Hardware tasks (SDM vol. 3A, chapter 7), of 32-bit and 16-bit TSSs, as programs meet them.</summary>
public sealed class TaskSwitchTests
{
    private const ushort Task = Free;
    private const ushort TaskGate = Free + 8;
    private const ulong TaskTss = 0x4000;
    private const uint TaskStack = 0xB000;
    private const uint TaskEntry = 0x400;
    private const ulong Count = Data;
    private const uint Nt = 1 << 14, Vm = 1 << 17;

    [Theory]
    [InlineData(true, false)]
    [InlineData(true, true)]
    [InlineData(false, false)]
    [InlineData(false, true)]
    public void ACallRunsTheTaskAndIretComesBack(bool wide, bool throughGate)
    {
        using SnippetMachine m = Create(wide);
        WriteCounter(m, wide, 0xCF); // iret
        ushort selector = throughGate ? TaskGate : Task;
        m.Rax = 0x1111;
        m.Rcx = 0x2222;
        ulong back = WriteFar(m, m.State.Rip, 0x9A, selector, wide);
        back = WriteFar(m, back, 0x9A, selector, wide);
        WriteRaw(m, back, 0xF4);
        m.RunToEnd();
        Assert.Equal((0x1111ul, 0x2222ul, Stack), (m.Rax, m.Rcx, m.Rsp));
        Assert.Equal(2u, m.Memory.Read<uint>(Count));
        Assert.Equal(TssSelector, m.State.Tr.Selector);
        Assert.Equal(0u, m.State.Rflags & Nt);
        Assert.NotEqual(0u, m.State.Cr0 & Cr0Bits.Ts);
        Assert.Equal(TssSelector, m.Memory.Read<ushort>(TaskTss));
        Assert.Equal((wide ? 0x89 : 0x81, wide ? 0x8B : 0x83), (TypeOf(m, Task), TypeOf(m, TssSelector)));
        Assert.Equal(0x777, m.Memory.Read<ushort>(TaskTss + (wide ? 0x28u : 0x12)));
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void AJumpLeavesTheOldTaskAvailable(bool wide)
    {
        using SnippetMachine m = Create(wide);
        WriteCounter(m, wide, 0xF4);
        WriteFar(m, m.State.Rip, 0xEA, Task, wide);
        m.RunToEnd();
        Assert.Equal(Task, m.State.Tr.Selector);
        Assert.Equal(0u, m.State.Rflags & Nt);
        Assert.Equal((wide ? 0x8B : 0x83, wide ? 0x89 : 0x81), (TypeOf(m, Task), TypeOf(m, TssSelector)));
        Assert.Equal((0x777ul, TaskStack), (m.Rax, (uint)m.Rsp));
    }

    [Fact]
    public void AnInterruptRunsTheTaskOfItsGate()
    {
        using SnippetMachine m = Create(wide: true);
        WriteCounter(m, wide: true, 0xCF);
        m.SetGate(0x40, 0, type: 5, selector: Task);
        m.Rax = 0x1111;
        m.Write(c =>
        {
            c.@int(0x40);
            c.@int(0x40);
            c.hlt();
        });
        m.RunToEnd();
        Assert.Equal((0x1111ul, Stack, TssSelector), (m.Rax, m.Rsp, m.State.Tr.Selector));
        Assert.Equal(2u, m.Memory.Read<uint>(Count));
    }

    [Fact]
    public void AFaultGivesTheTaskItsErrorCode()
    {
        using SnippetMachine m = Create(wide: true);
        m.SetGate(13, 0, type: 5, selector: Task);
        m.Write(Code + TaskEntry, c =>
        {
            c.pop(ebx);
            c.hlt();
        });
        ulong fault = m.Write(c =>
        {
            c.mov(eax, 0x1F8);
            c.nop();
        });
        m.Write(fault, c => c.mov(ds, eax));
        m.RunToEnd();
        Assert.Equal((0x1F8ul, Task), (m.Rbx, m.State.Tr.Selector));
        Assert.Equal((uint)fault, m.Memory.Read<uint>(Tss + 0x20));
        Assert.NotEqual(0u, m.State.Rflags & Nt);
    }

    [Theory]
    [InlineData("busy", 13, (int)Task)]
    [InlineData("absent", 11, (int)Task)]
    [InlineData("short", 10, (int)Task)]
    [InlineData("data", 13, (int)Task)]
    [InlineData("beyond", 13, 0x1F8)]
    [InlineData("absent gate", 11, (int)TaskGate)]
    [InlineData("gate to nothing", 13, 0)]
    public void WhatIsNoTaskIsRefusedInTheOldOne(string what, int vector, int error)
    {
        using SnippetMachine m = Create(wide: true);
        ulong descriptor = m.Memory.Read<ulong>(Gdt + Task);
        ushort selector = what.Contains("gate", StringComparison.Ordinal) ? TaskGate : what == "beyond" ? (ushort)0x1F8 : Task;
        m.SetDescriptor(selector == TaskGate ? TaskGate : Task, what switch
        {
            "busy" => descriptor | (2ul << 40),
            "absent" => descriptor & ~(0x80ul << 40),
            "short" => descriptor - 1,
            "data" => 0x0000_9200_0000_FFFF,
            "absent gate" => 0x0500ul << 32 | ((ulong)Task << 16),
            "gate to nothing" => 0x8500ul << 32,
            _ => descriptor,
        });
        WriteFar(m, Code, 0x9A, selector, wide: true);
        Stop stop = m.RunToFault(vector);
        Assert.Equal(((uint)error, Code, TssSelector), (stop.ErrorCode, stop.Rip, m.State.Tr.Selector));
    }

    /// <summary>Faults of the new task's own state are its own: at its first instruction, on its stack.</summary>
    [Theory]
    [InlineData("data beyond", 10, 0x1F8)]
    [InlineData("code in ds", 10, 0x70)]
    [InlineData("absent data", 11, 0x70)]
    [InlineData("absent code", 11, 0x70)]
    [InlineData("data in cs", 10, (int)Data32)]
    [InlineData("local table", 10, (int)Data32)]
    public void ABadSelectorFaultsInTheNewTask(string what, int vector, int error)
    {
        using SnippetMachine m = Create(wide: true);
        m.SetDescriptor(0x70, what switch
        {
            "code in ds" => 0x00CF_9800_0000_FFFF,
            "absent data" => 0x00CF_1200_0000_FFFF,
            _ => 0x00CF_1A00_0000_FFFF,
        });
        (uint at, ushort selector) = what switch
        {
            "data beyond" => (0x48u + (3 * 4), (ushort)0x1F8),
            "code in ds" or "absent data" => (0x48u + (3 * 4), (ushort)0x70),
            "absent code" => (0x48u + 4, (ushort)0x70),
            "data in cs" => (0x48u + 4, Data32),
            _ => (0x60u, Data32),
        };
        m.Memory.Write(TaskTss + at, selector);
        WriteFar(m, Code, 0xEA, Task, wide: true);
        if (what == "local table")
        {
            // Its stack is not loaded yet: only another task can take the fault.
            Assert.Equal(ExitReason.Shutdown, m.Run().Reason);
            return;
        }

        Stop stop = m.RunToFault(vector);
        Assert.Equal(((uint)error, Code + TaskEntry, Task), (stop.ErrorCode, stop.Rip, m.State.Tr.Selector));
        Assert.Equal((ulong)TaskStack, stop.Rsp);
    }

    [Fact]
    public void TheTrapFlagOfATssTrapsBeforeTheFirstInstruction()
    {
        using SnippetMachine m = Create(wide: true);
        WriteCounter(m, wide: true, 0xF4);
        m.Memory.Write(TaskTss + 0x64, (ushort)1);
        WriteFar(m, Code, 0xEA, Task, wide: true);
        Stop stop = m.RunToFault(1);
        Assert.Equal((Code + TaskEntry, Task), (stop.Rip, m.State.Tr.Selector));
        Assert.Equal(1u << 15, m.State.Dr[6] & 0xE00F);
        Assert.Equal(0u, m.Memory.Read<uint>(Count));
    }

    [Fact]
    public void LocalBreakpointsStayWithTheOldTaskAndGlobalOnesDoNot()
    {
        using SnippetMachine m = Create(wide: true);
        WriteCounter(m, wide: true, 0xF4);
        m.State.Dr[7] = 0x400 | 0x300 | 0x5 | 0x8;
        m.State.Dr[0] = m.State.Dr[1] = Spare;
        WriteFar(m, Code, 0xEA, Task, wide: true);
        m.RunToEnd();
        Assert.Equal(0x400u | 0x200 | 0x8, m.State.Dr[7] & 0xFFFF);
    }

    [Fact]
    public void ATaskMayBeInVirtual8086Mode()
    {
        using SnippetMachine m = Create(wide: true);
        m.Memory.Write(TaskTss + 0x24, 2u | Vm | (3u << 12));
        m.Memory.Write(TaskTss + 0x20, TaskEntry);
        for (uint i = 0; i < 6; i++)
        {
            m.Memory.Write(TaskTss + 0x48 + (i * 4), (uint)(Code >> 4));
        }

        m.Memory.Write(TaskTss + 4, (uint)InnerStack);
        m.Memory.Write(TaskTss + 8, (uint)Data32);
        m.WriteBytes(Code + TaskEntry, 0xB8, 0x34, 0x12, 0xA3, 0x00, 0x08, 0xCD, 0x30); // mov ax, 1234h; mov [800h], ax; int 30h
        WriteFar(m, Code, 0xEA, Task, wide: true);
        Stop stop = m.RunToFault(0x30);
        Assert.Equal(((ulong)TaskEntry + 8, (ushort)(Code >> 4)), (stop.Rip, stop.Cs));
        Assert.NotEqual(0u, stop.Rflags & Vm);
        Assert.Equal(0x1234, m.Memory.Read<ushort>(Code + 0x800));
    }

    [Fact]
    public void EachTaskHasItsPageTables()
    {
        using SnippetMachine m = Create(wide: true, PagingMode.Bits32);
        var own = new PageTables(m.Memory, PagingMode.Bits32, 0x20_0000);
        for (ulong page = 0; page < IdentityEnd; page += 0x1000)
        {
            own.Map(page, page);
        }

        own.Map(Spare, Data + 0x1000);
        m.Pages.Map(Spare, Data + 0x2000);
        m.Memory.Write(Data + 0x1000, 1u);
        m.Memory.Write(Data + 0x2000, 2u);
        m.Memory.Write(TaskTss + 0x1C, (uint)own.Root);
        m.Memory.Write(Tss + 0x1C, (uint)m.Pages.Root);
        m.Write(Code + TaskEntry, c =>
        {
            c.mov(eax, __dword_ptr[Spare]);
            c.mov(__dword_ptr[Count], eax);
            c.iretd();
        });
        ulong at = m.Write(c => c.mov(ebx, __dword_ptr[Spare]));
        at = WriteFar(m, at, 0x9A, Task, wide: true);
        m.Write(at, c =>
        {
            c.mov(ecx, __dword_ptr[Spare]);
            c.hlt();
        });
        m.RunToEnd();
        Assert.Equal((2ul, 2ul, 1u), (m.Rbx, m.Rcx, m.Memory.Read<uint>(Count)));
    }

    /// <summary>The snippet's task is of the same kind as the other; 16-bit code stands in a segment that begins at <see cref="Code"/>.</summary>
    private static SnippetMachine Create(bool wide, PagingMode paging = PagingMode.None)
    {
        SnippetMachine m = Protected(paging: paging, bits: wide ? 32 : 16);
        m.SetDescriptor(Task, (wide ? 0x8900ul << 32 | 0x67 : 0x8100ul << 32 | 0x2B) | (TaskTss << 16));
        m.SetDescriptor(TaskGate, 0x8500ul << 32 | ((ulong)Task << 16));
        ushort code = wide ? Code32 : Code16;
        if (!wide)
        {
            m.State.Tr = new SegmentRegister { Base = Tss, Limit = 0x2B, Selector = TssSelector, Attributes = 0x83 };
            m.SetDescriptor(TssSelector, 0x8300ul << 32 | 0x2B | (Tss << 16));
            ushort[] narrow = [0, 0, 0, 0, 0, 0, 0, (ushort)TaskEntry, 2, 0, 0, 0, 0, (ushort)TaskStack, 0, 0, 0, Data32, code, Data32, Data32, 0];
            for (int i = 0; i < narrow.Length; i++)
            {
                m.Memory.Write(TaskTss + (ulong)(i * 2), narrow[i]);
            }

            return m;
        }

        m.Memory.Write(TaskTss + 0x20, (uint)Code + TaskEntry);
        m.Memory.Write(TaskTss + 0x24, 2u);
        m.Memory.Write(TaskTss + 0x38, TaskStack);
        for (uint i = 0; i < 6; i++)
        {
            m.Memory.Write(TaskTss + 0x48 + (i * 4), i == 1 ? code : (uint)Data32);
        }

        return m;
    }

    /// <summary>The task: counts, leaves 777H in AX, and ends with an instruction; returned to, it does so again.</summary>
    private static void WriteCounter(SnippetMachine m, bool wide, byte last)
    {
        m.Write(Code + TaskEntry, c =>
        {
            var again = c.CreateLabel();
            c.Label(ref again);
            c.mov(edi, (int)Count);
            c.inc(__dword_ptr[edi]);
            c.mov(ax, 0x777);
            c.db(last);
            c.jmp(again);
        }, bits: wide ? 32 : 16);
    }

    /// <summary>A far CALL or JMP with a direct target at a RIP of the snippet; returns the next RIP.</summary>
    private static ulong WriteFar(SnippetMachine m, ulong rip, byte opcode, ushort selector, bool wide)
    {
        byte[] code = wide ? [opcode, 0, 0, 0, 0, (byte)selector, (byte)(selector >> 8)] : [opcode, 0, 0, (byte)selector, (byte)(selector >> 8)];
        WriteRaw(m, rip, code);
        return rip + (ulong)code.Length;
    }

    private static void WriteRaw(SnippetMachine m, ulong rip, params byte[] code) => m.Memory.Write(m.State.Segments[1].Base + rip, code);

    private static int TypeOf(SnippetMachine m, ushort selector) => m.Memory.Read<byte>(Gdt + selector + 5);
}
