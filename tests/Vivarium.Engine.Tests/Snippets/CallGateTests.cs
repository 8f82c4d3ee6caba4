using static Iced.Intel.AssemblerRegisters;
using static Vivarium.Engine.Tests.Snippets.SnippetMachine;

namespace Vivarium.Engine.Tests.Snippets;

/// <summary>Calls through gates to an inner level (SDM vol. 3A, 5.8.3 to 5.8.6), of 16, 32 and 64 bits.</summary>
public sealed class CallGateTests
{
    private const ushort Gate = Free;
    private const uint InnerEntry = 0x600;
    private const uint Type16 = 4, Type32 = 12;

    [Fact]
    public void A32BitGateCopiesParametersAndRetfReleasesThemOnBothStacks()
    {
        using SnippetMachine m = Protected(cpl: 3);
        SetGate(m, Type32, Code32, (uint)Code + InnerEntry, parameters: 3);
        m.Write(Code + InnerEntry, c =>
        {
            c.mov(ebp, esp);
            c.mov(eax, __dword_ptr[ebp + 8]);
            c.mov(ebx, __dword_ptr[ebp + 12]);
            c.mov(ecx, __dword_ptr[ebp + 16]);
            c.mov(esi, __dword_ptr[ebp + 20]);
            c.mov(edi, __dword_ptr[ebp + 24]);
            c.mov(edx, cs);
            c.retf(12);
        });
        ulong at = m.Write(c =>
        {
            c.push(0x333);
            c.push(0x222);
            c.push(0x111);
        });
        at = m.WriteBytes(at, 0x9A, 0, 0, 0, 0, (byte)(Gate | 3), 0);
        m.Write(at, c => c.@int(EndVector));
        m.RunToEnd();
        Assert.Equal((0x111ul, 0x222ul, 0x333ul), (m.Rax, m.Rbx, m.Rcx));
        Assert.Equal((UserStack - 12, (ulong)UserData32, (ulong)Code32), (m.Rsi, m.Rdi, m.Rdx));
        Assert.Equal(InnerStack - 28, m.Rbp);
        Assert.Equal(UserStack, (ulong)m.Memory.Read<uint>(InnerStack - 8));
    }

    /// <summary>A 16-bit gate pushes and copies words.</summary>
    [Fact]
    public void A16BitGateCopiesWords()
    {
        using SnippetMachine m = Protected(cpl: 3);
        SetGate(m, Type16, Code16, InnerEntry, parameters: 2);
        m.Write(Code + InnerEntry, c => c.hlt(), bits: 16);
        ulong at = m.Write(c => c.push(0x2222_1111));
        m.WriteBytes(at, 0x9A, 0, 0, 0, 0, (byte)(Gate | 3), 0);
        m.RunToEnd();
        Assert.Equal(InnerStack - 12, m.Rsp);
        ushort[] frame = [.. Enumerable.Range(0, 6).Select(i => m.Memory.Read<ushort>(InnerStack - 12 + (ulong)(i * 2)))];
        Assert.Equal([(ushort)(at + 7), UserCode32, 0x1111, 0x2222, unchecked((ushort)(UserStack - 4)), UserData32], frame);
    }

    [Fact]
    public void A64BitGateSwitchesStacksAndRetfqComesBack()
    {
        using SnippetMachine m = Long(cpl: 3);
        SetGate(m, Type32, Code64, (uint)Code + InnerEntry, parameters: 0);
        m.Memory.Write(Gdt + Gate + 8, 0ul);
        m.Memory.Write(Data, (ulong)(Gate | 3) << 32);
        m.Write(Code + InnerEntry, c =>
        {
            c.mov(rax, rsp);
            c.mov(rbx, __qword_ptr[rsp + 16]);
            c.mov(rcx, __qword_ptr[rsp + 24]);
            c.mov(edx, ss);
            c.db(0x48, 0xCB); // retfq
        });
        m.Write(c =>
        {
            c.call(__fword_ptr[Data]);
            c.@int(EndVector);
        });
        m.RunToEnd();
        Assert.Equal((InnerStack - 32, UserStack, (ulong)UserData32, 0ul), (m.Rax, m.Rbx, m.Rcx, m.Rdx));
        Assert.Equal(UserStack, m.Memory.Read<ulong>(InnerStack - 16));
    }

    [Fact]
    public void AGateToAConformingSegmentKeepsLevelAndStack()
    {
        using SnippetMachine m = Protected(cpl: 3);
        m.SetDescriptor(0x70, 0x00CF_9E00_0000_FFFF);
        SetGate(m, Type32, 0x70, (uint)Code + InnerEntry, parameters: 3);
        m.Write(Code + InnerEntry, c =>
        {
            c.mov(eax, cs);
            c.mov(ebx, esp);
            c.@int(EndVector);
        });
        m.WriteBytes(Code, 0x9A, 0, 0, 0, 0, (byte)(Gate | 3), 0);
        m.RunToEnd();
        Assert.Equal((0x73ul, UserStack - 8), (m.Rax, m.Rbx));
    }

    [Theory]
    [InlineData("dpl", 13, (int)Gate)]
    [InlineData("absent", 11, (int)Gate)]
    [InlineData("null target", 13, 0)]
    [InlineData("data target", 13, (int)Data32)]
    [InlineData("absent target", 11, 0x70)]
    [InlineData("null stack", 10, 0)]
    [InlineData("user stack", 10, (int)(UserData32 & ~3))]
    [InlineData("absent stack", 12, 0x70)]
    [InlineData("stack without room", 12, 0x70)]
    [InlineData("offset beyond", 13, 0)]
    public void WhatCannotBeCalledIsRefusedWithItsSelector(string what, int vector, int error)
    {
        using SnippetMachine m = Protected(cpl: 3);
        SetGate(m, Type32, what switch
        {
            "null target" => 0,
            "data target" => Data32,
            "absent target" or "offset beyond" => 0x70,
            _ => Code32,
        }, (uint)Code + InnerEntry, parameters: 2, dpl: what == "dpl" ? 0 : 3, present: what != "absent");
        m.SetDescriptor(0x70, what switch
        {
            "absent target" => 0x00CF_1A00_0000_FFFF,
            "offset beyond" => Descriptor(0, 0xFFF, 11),
            "absent stack" => 0x00CF_1200_0000_FFFF,
            _ => Descriptor(0, (uint)InnerStack - 0x800, 3),
        });
        if (what.Contains("stack", StringComparison.Ordinal))
        {
            m.Memory.Write(Tss + 8, (uint)(what switch { "null stack" => 0, "user stack" => UserData32 & ~3, _ => 0x70 }));

            // The fault itself needs another stack: that of a task.
            m.SetDescriptor(0x78, 0x8900ul << 32 | 0x67 | (0x4000ul << 16));
            m.Memory.Write(0x4020ul, (uint)(Handlers + ((ulong)vector * 16)));
            m.Memory.Write(0x4024ul, 2u);
            m.Memory.Write(0x4038ul, 0xB000u);
            for (uint i = 0; i < 6; i++)
            {
                m.Memory.Write(0x4048ul + (i * 4), i == 1 ? Code32 : (uint)Data32);
            }

            m.SetGate(vector, 0, type: 5, selector: 0x78);
            m.WriteBytes(Code, 0x9A, 0, 0, 0, 0, (byte)(Gate | 3), 0);
            Assert.Equal(vector, m.Run().Vector);
            Assert.Equal((uint)error, m.Memory.Read<uint>(0xAFFC));
            Assert.Equal(((uint)Code, (uint)UserStack), (m.Memory.Read<uint>(Tss + 0x20), m.Memory.Read<uint>(Tss + 0x38)));
            return;
        }

        m.WriteBytes(Code, 0x9A, 0, 0, 0, 0, (byte)(Gate | 3), 0);
        Stop stop = m.RunToFault(vector);
        Assert.Equal(((uint)error, Code, UserStack), (stop.ErrorCode, stop.Rip, stop.Rsp));
    }

    private static void SetGate(SnippetMachine m, uint type, ushort selector, uint offset, int parameters, int dpl = 3, bool present = true)
        => m.SetDescriptor(Gate, (offset & 0xFFFF) | ((ulong)selector << 16) | ((ulong)parameters << 32) | ((ulong)type << 40)
            | ((ulong)dpl << 45) | (present ? 1ul << 47 : 0) | ((ulong)(offset >> 16) << 48));
}
