using Vivarium.Engine.Software;
using static Iced.Intel.AssemblerRegisters;
using static Vivarium.Engine.Tests.Snippets.SnippetMachine;

namespace Vivarium.Engine.Tests.Snippets;

/// <summary>Kicks, flushes and evictions out of the blue change nothing for the guest.</summary>
public sealed class ChaosTests
{
    private const int Rounds = 20_000;

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    public void ALoopOfAccessesPrivilegedInstructionsAndCallsEndsAsWithoutIt(int seed)
    {
        using SnippetMachine quiet = Loop(EngineOptions.Default);
        quiet.RunToEnd();
        using SnippetMachine m = Loop(EngineOptions.Default with { ChaosSeed = (uint)seed });
        m.RunToEnd();
        Assert.Equal(quiet.State.Gpr, m.State.Gpr);
        Assert.Equal(quiet.Memory.Read<ulong>(Data), m.Memory.Read<ulong>(Data));
        Assert.Equal(quiet.Bus.PortWrites, m.Bus.PortWrites);
        Assert.True(m.Cpu.Statistics.Exits(ExitCause.Kick) > 10, "nobody kicked");
        Assert.True(m.Cpu.Statistics.TlbFlushes > quiet.Cpu.Statistics.TlbFlushes + 10, "nothing was flushed");
        Assert.True(m.CodeCache.Evictions > 0, "nothing was evicted");
    }

    [Fact]
    public void TheSameSeedMakesTheSameTrouble()
    {
        using SnippetMachine one = Loop(EngineOptions.Default with { ChaosSeed = 5 }), two = Loop(EngineOptions.Default with { ChaosSeed = 5 });
        one.RunToEnd();
        two.RunToEnd();
        Assert.Equal(one.Cpu.Statistics.Exits(ExitCause.Kick), two.Cpu.Statistics.Exits(ExitCause.Kick));
        Assert.Equal(one.Cpu.Statistics.TlbFlushes, two.Cpu.Statistics.TlbFlushes);
    }

    private static SnippetMachine Loop(EngineOptions options)
    {
        SnippetMachine m = Long(options: options);
        m.Write(c =>
        {
            var again = c.CreateLabel();
            var work = c.CreateLabel();
            var end = c.CreateLabel();
            c.mov(rcx, (long)Rounds);
            c.xor(ebx, ebx);
            c.Label(ref again);
            c.call(work);
            c.@in(al, 0x80);
            c.dec(rcx);
            c.jnz(again);
            c.mov(eax, ebx);
            c.@out(0x80, eax);
            c.jmp(end);
            c.Label(ref work);
            c.add(__qword_ptr[Data], rcx);
            c.mov(rax, __qword_ptr[Data]);
            c.lea(rbx, __[rbx + rax * 2 + 1]);
            c.ret();
            c.Label(ref end);
            c.hlt();
        });
        return m;
    }
}
