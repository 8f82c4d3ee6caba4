using Iced.Intel;
using Vivarium.Engine.Software;
using Vivarium.Engine.Software.CodeCache;
using Vivarium.Engine.Software.Persisted;
using Vivarium.Engine.Software.Translate;
using Vivarium.Engine.Tests.Snippets;
using Xunit;
using static Iced.Intel.AssemblerRegisters;

namespace Vivarium.Engine.Tests.Persisted;

public unsafe class RelocationTests
{
    private const BlockMode User = BlockMode.Code64 | BlockMode.User | BlockMode.Sse | BlockMode.Protected;

    private static ReadOnlySpan<byte> Cpuid => [0x0F, 0xA2];

    /// <summary>So they do in displacements, wherever the code uses one.</summary>
    [Theory]
    [InlineData("488B04C5", "", true)]
    [InlineData("488B80", "", true)]
    [InlineData("48898424", "", true)]
    [InlineData("803C25", "07", true)]
    [InlineData("48C704C5", "78563412", true)]
    [InlineData("48C704C5", "60452381", true)]
    [InlineData("488D0485", "", true)]
    [InlineData("8D80", "", true)]
    [InlineData("FF24C5", "", true)]
    [InlineData("65488B80", "", true)]
    [InlineData("488B91", "488B91080000004889510C", true)]
    [InlineData("678B80", "", false)]
    [InlineData("C5F810 80", "", false)]
    public void DisplacementsThatMayBeAddressesMayBeAny(string opcode, string rest, bool serves)
    {
        const ulong rip = 0xFFFF_FFFF_8100_0F00;
        using var bench = new TranslatorBench();
        byte[] Code(uint displacement) => [0x90, .. Convert.FromHexString(opcode.Replace(" ", "", StringComparison.Ordinal)), .. BitConverter.GetBytes(displacement), .. Convert.FromHexString(rest), 0xC3];
        foreach ((uint first, uint second) in ((uint, uint)[])[(0x8123_4560, 0x9923_4567), (0xC123_4560, 0x8000_0001), (0xC123_4560, 0x7000_0000)])
        {
            _ = bench.Translate(Code(first), rip)!;
            Template found = bench.Made.Find(bench.Source(Code(second), rip), TranslatorBench.Kernel);
            Assert.Equal(serves, found.Exists);
            if (serves && second > int.MaxValue)
            {
                Assert.True(bench.IsExact(found, bench.Source(Code(second), rip)));
            }
        }
    }

    /// <summary>A variable of the processor's, by GS and relative to RIP: its displacement is another wherever the kernel is, and leads to the same offset.</summary>
    [Theory]
    [InlineData("65FF05", "", 0xFFFF_FFFF_9100_0F00, 0x1_FB40, true)]
    [InlineData("65FF0D", "", 0xFFFF_FFFF_A100_0F00, 0x1_FB48, true)]
    [InlineData("65488305", "08", 0xFFFF_FFFF_9100_0F00, 0x1_FB40, true)]
    [InlineData("65C705", "78563412", 0xFFFF_FFFF_9100_0F00, 0x1_FB40, true)]
    [InlineData("65FF05", "", 0xFFFF_FFFF_9100_0F00, 0xFFFF_FFFF_9100_0000, false)]
    [InlineData("65FF05", "", 0x40_0F00, 0x1_FB40, false)]
    [InlineData("65FF05", "", 0xFFFF_8880_0000_0F00, 0x1_FB40, false)]
    public void OperandsFarFromTheKernelMove(string opcode, string rest, ulong rip, ulong target, bool serves)
    {
        const ulong first = 0xFFFF_FFFF_8100_0F00;
        using var bench = new TranslatorBench();
        byte[] Code(ulong rip, ulong target)
        {
            byte[] before = [0x90, .. Convert.FromHexString(opcode)];
            byte[] behind = Convert.FromHexString(rest);
            return [.. before, .. BitConverter.GetBytes((int)(target - (rip + (ulong)before.Length + sizeof(int) + (ulong)behind.Length))), .. behind, 0xC3];
        }

        Block block = bench.Translate(Code(first, 0x1_FB40), first)!;
        Assert.True(block.Record->Flags.HasFlag(RecordFlags.Movable));
        Template found = bench.Made.Find(bench.Source(Code(rip, target), rip), TranslatorBench.Kernel);
        Assert.Equal(serves, found.Exists);
        if (serves)
        {
            Assert.True(bench.IsExact(found, bench.Source(Code(rip, target), rip)));
        }

        Assert.False(bench.Made.Find(bench.Source([.. Code(first, 0x1_FB40)[..^1], 0xC2], first), TranslatorBench.Kernel).Exists);
    }

    [Fact]
    public void CodeAtTwoAddressesIsTranslatedOnceAndDoesTheSame()
    {
        using SnippetMachine m = SnippetMachine.Long(options: EngineOptions.Default);
        ulong alias = SnippetMachine.Spare;
        m.Pages.Map(alias, SnippetMachine.Data);
        WriteProgram(m, SnippetMachine.Code);
        m.Memory.Write(SnippetMachine.Data, Bytes(m, SnippetMachine.Code, 0x1000));

        m.RunToEnd();
        (ulong rax, ulong rbx) = (m.Rax, m.Rbx);
        long made = m.Cpu.Statistics.BlocksTranslated;
        Assert.Equal(0, m.Cpu.Statistics.BlocksCopied);
        Assert.InRange(rbx, SnippetMachine.Code, SnippetMachine.Code + 0xFFF);

        m.Rax = 0;
        m.Restart(alias);
        m.RunToEnd();
        Assert.Equal(rax, m.Rax);
        Assert.Equal(rbx - SnippetMachine.Code + alias, m.Rbx);
        Assert.Equal(made, m.Cpu.Statistics.BlocksCopied);
    }

    [Fact]
    public void NothingIsCopiedWhenSwitchedOff()
    {
        using SnippetMachine m = SnippetMachine.Long(options: EngineOptions.Parse("no-relocation"));
        m.Pages.Map(SnippetMachine.Spare, SnippetMachine.Data);
        WriteProgram(m, SnippetMachine.Code);
        m.Memory.Write(SnippetMachine.Data, Bytes(m, SnippetMachine.Code, 0x1000));
        m.RunToEnd();
        m.Restart(SnippetMachine.Spare);
        m.RunToEnd();
        Assert.Equal(0, m.Cpu.Statistics.BlocksCopied);
    }

    [Theory]
    [InlineData("no-long-blocks", 1, 3)]
    [InlineData("no-long-blocks,no-copy-ahead", 2, 2)]
    public void WhereAJumpGoesIsCopiedAlong(string options, long exits, long copies)
    {
        using SnippetMachine m = SnippetMachine.Long(options: EngineOptions.Parse(options));
        m.Pages.Map(SnippetMachine.Spare, SnippetMachine.Data);
        ulong end = m.Write(SnippetMachine.Code, a =>
        {
            Label other = a.CreateLabel();
            a.test(ecx, ecx);
            a.jnz(other);
            a.mov(eax, 1);
            a.hlt();
            a.Label(ref other);
            a.mov(eax, 2);
            a.hlt();
        });
        m.Memory.Write(SnippetMachine.Data, Bytes(m, SnippetMachine.Code, (int)(end - SnippetMachine.Code)));
        foreach (ulong way in (ReadOnlySpan<ulong>)[0, 1])
        {
            m.Rcx = way;
            m.Restart(SnippetMachine.Code);
            m.RunToEnd();
        }

        long before = m.Cpu.Statistics.Exits(ExitCause.Translation);
        m.Rcx = 1;
        m.Restart(SnippetMachine.Spare);
        m.RunToEnd();
        Assert.Equal(2ul, m.Rax);
        Assert.Equal(exits, m.Cpu.Statistics.Exits(ExitCause.Translation) - before);
        Assert.Equal(copies, m.Cpu.Statistics.BlocksCopied);

        m.Rcx = 0;
        m.Restart(SnippetMachine.Spare);
        m.RunToEnd();
        Assert.Equal(1ul, m.Rax);
        Assert.Equal(3, m.Cpu.Statistics.BlocksCopied);
    }

    [Fact]
    public void OtherBytesAreTranslated()
    {
        using SnippetMachine m = SnippetMachine.Long(options: EngineOptions.Default);
        m.Pages.Map(SnippetMachine.Spare, SnippetMachine.Data);
        m.Write(SnippetMachine.Code, a => { a.mov(eax, 1); a.hlt(); });
        m.Write(SnippetMachine.Spare, a => { a.mov(eax, 2); a.hlt(); }, physical: SnippetMachine.Data);
        m.RunToEnd();
        m.Restart(SnippetMachine.Spare);
        m.RunToEnd();
        Assert.Equal(2ul, m.Rax);
        Assert.Equal(0, m.Cpu.Statistics.BlocksCopied);
    }

    [Fact]
    public void ACopyIsDroppedWhenItsOwnBytesChange()
    {
        using SnippetMachine m = SnippetMachine.Long(options: EngineOptions.Default);
        m.Pages.Map(SnippetMachine.Spare, SnippetMachine.Data);
        ulong end = m.Write(SnippetMachine.Code, a => { a.mov(eax, 1); a.hlt(); });
        m.Memory.Write(SnippetMachine.Data, Bytes(m, SnippetMachine.Code, (int)(end - SnippetMachine.Code)));
        m.RunToEnd();
        m.Restart(SnippetMachine.Spare);
        m.RunToEnd();
        Assert.NotEqual(0, m.Cpu.Statistics.BlocksCopied);

        m.Memory.Write(SnippetMachine.Data + 1, (byte)3);
        m.Restart(SnippetMachine.Spare);
        m.RunToEnd();
        Assert.Equal(3ul, m.Rax);
        m.Restart(SnippetMachine.Code);
        m.RunToEnd();
        Assert.Equal(1ul, m.Rax);
    }

    /// <summary>Whatever the bytes, a copy moved elsewhere is what the translator makes there.</summary>
    [Theory]
    [InlineData(0x40_0000)]
    [InlineData(0xFFFF_FFFF_8100_0000)]
    [InlineData(0x7FFF_F7C0_0000)]
    [InlineData(0xFFFF_8880_0000_0000)]
    public void RandomCodeMovesExactly(ulong @base)
    {
        using var bench = new TranslatorBench();
        var chance = new Random(5);
        var code = new byte[48];
        int movable = 0;
        for (int i = 0; i < 4000; i++)
        {
            chance.NextBytes(code);
            code[0] = (i & 3) switch { 0 => 0x48, 1 => 0x0F, 2 => 0xE8, _ => code[0] };
            ulong rip = @base + (ulong)chance.Next(0x1000);
            BlockMode mode = (i & 1) == 0 ? TranslatorBench.Kernel : User | ((i & 8) != 0 ? BlockMode.Careful : 0);
            if (bench.Translate(code, rip, mode) is { Exists: true } block && block.Record->Flags.HasFlag(RecordFlags.Movable))
            {
                movable++;
                bench.Check.Check(block, bench.Source(code, rip), mode);
            }
        }

        Assert.InRange(movable, 3000, 4000);
    }

    [Fact]
    public void TheCheckFindsWhatIsNotNoted()
    {
        using var bench = new TranslatorBench();
        Block block = bench.Translate(Cpuid, 0x40_0000);
        Relocation* relocations = BlockRecord.RelocationsOf(block.Record);
        Assert.NotEqual(0, block.Record->RelocationCount);
        for (int i = 0; i < block.Record->RelocationCount; i++)
        {
            Relocation kept = relocations[i];
            if (kept.Kind != RelocationKind.Trap)
            {
                relocations[i] = kept with { Addend = kept.Addend + 1 };
                Assert.Throws<InvalidOperationException>(() => bench.Check.Check(block, bench.Source(Cpuid, 0x40_0000), TranslatorBench.Kernel));
                relocations[i] = kept;
            }
        }

        bench.Check.Check(block, bench.Source(Cpuid, 0x40_0000), TranslatorBench.Kernel);
    }

    /// <summary>A call whose return address is not canonical is translated in another way.</summary>
    [Fact]
    public void TemplatesDoNotServeAtTheEndOfCanonicalAddresses()
    {
        using var bench = new TranslatorBench();
        byte[] call = [0xE8, 0xFB, 0xEF, 0xFF, 0xFF];
        _ = bench.Translate(call, 0x7F00_0000_0FFB)!;
        Assert.True(bench.Made.Find(bench.Source(call, 0x7FFF_FFFF_EFFB), TranslatorBench.Kernel).Exists);
        Assert.False(bench.Made.Find(bench.Source(call, 0x7FFF_FFFF_FFFB), TranslatorBench.Kernel).Exists);
    }

    /// <summary>E9 rel32: where the target wraps or needs a longer form, the template does not serve.</summary>
    [Theory]
    [InlineData(0x40_0000, 0x10_0000, true)]
    [InlineData(0x7FE0_0000, 0x10_0000, true)]
    [InlineData(0x7FF0_0000, 0x20_0000, false)]
    [InlineData(0x40_0000, -0x50_0000, false)]
    [InlineData(0xFFFF_FFFF_8000_0000, -0x1000, false)]
    [InlineData(0xFFFF_FFFF_FFF0_0000, 0x20_0000, false)]
    [InlineData(0x7F00_0000_0000, 0x10_0000, false)]
    public void TemplatesServeWhereTheyReach(ulong rip, int distance, bool serves)
    {
        using var bench = new TranslatorBench();
        byte[] jump = [0xE9, .. BitConverter.GetBytes(distance)];
        _ = bench.Translate(jump, 0x1000_0000)!;
        Template found = bench.Made.Find(bench.Source(jump, rip), TranslatorBench.Kernel);
        Assert.Equal(serves, found.Exists);
        if (serves)
        {
            Assert.True(bench.IsExact(found, bench.Source(jump, rip)));
        }
    }

    /// <summary>Kernels that move themselves at each boot differ in such immediates; others are part of the code.</summary>
    [Theory]
    [InlineData("48C7C7", 0x8123_4560, 0x9923_4567, true)]
    [InlineData("49C7C0", 0xC123_4560, 0xC000_0001, true)]
    [InlineData("483D", 0x8123_4560, 0xA923_4567, true)]
    [InlineData("4881FB", 0x8123_4560, 0xA923_4567, true)]
    [InlineData("48C70424", 0x8123_4560, 0xA923_4567, true)]
    [InlineData("48C7C7", 0x8123_4560, 0x1234, true)]
    [InlineData("48C7C7", 0x0123_4560, 0x9923_4567, false)]
    [InlineData("4881E4", 0xFFFF_F000, 0xFFFF_E000, false)]
    [InlineData("B8", 0x8123_4560, 0x9923_4567, false)]
    [InlineData("C7C0", 0x8123_4560, 0x9923_4567, false)]
    public void ImmediatesThatMayBeAddressesMayBeAny(string opcode, uint first, uint second, bool serves)
    {
        const ulong rip = 0xFFFF_FFFF_8100_0FE0;
        using var bench = new TranslatorBench();
        byte[] Code(uint immediate) => [.. Convert.FromHexString(opcode), .. BitConverter.GetBytes(immediate), 0xC3];
        _ = bench.Translate(Code(first), rip)!;
        Template found = bench.Made.Find(bench.Source(Code(second), rip), TranslatorBench.Kernel);
        Assert.Equal(serves, found.Exists);
        if (serves)
        {
            Assert.True(bench.IsExact(found, bench.Source(Code(second), rip)));
        }

        Assert.False(bench.Made.Find(bench.Source([.. Code(second)[..^1], 0xC2], rip), TranslatorBench.Kernel).Exists);
    }

    [Fact]
    public void AnotherModeOrPlaceInThePageIsAnotherTemplate()
    {
        using var bench = new TranslatorBench();
        _ = bench.Translate([0x90, 0xC3], 0x40_0010)!;
        Assert.True(bench.Made.Find(bench.Source([0x90, 0xC3], 0x50_0010), TranslatorBench.Kernel).Exists);
        Assert.False(bench.Made.Find(bench.Source([0x90, 0xC3], 0x50_0018), TranslatorBench.Kernel).Exists);
        Assert.False(bench.Made.Find(bench.Source([0x90, 0xC3], 0x50_0010), User).Exists);
        Assert.False(bench.Made.Find(bench.Source([0x90, 0xC2], 0x50_0010), TranslatorBench.Kernel).Exists);
    }

    /// <summary>In-page jumps both ways, a call, a trap, a RIP-relative access, REP STOS, and the address where it runs in RBX.</summary>
    private static void WriteProgram(SnippetMachine m, ulong at) => m.Write(at, a =>
    {
        Label loop = a.CreateLabel(), function = a.CreateLabel(), over = a.CreateLabel(), data = a.CreateLabel();
        a.mov(ecx, 10);
        a.xor(eax, eax);
        a.Label(ref loop);
        a.add(rax, __qword_ptr[data]);
        a.dec(ecx);
        a.jne(loop);
        a.call(function);
        a.jmp(over);
        a.Label(ref function);
        a.lea(rbx, __qword_ptr[function]);
        a.mov(rsi, cr0);
        a.ret();
        a.Label(ref over);
        a.add(rax, rsi);
        a.hlt();
        a.Label(ref data);
        a.dq(0x1234);
    });

    private static byte[] Bytes(SnippetMachine m, ulong gpa, int length)
    {
        var bytes = new byte[length];
        m.Memory.Read(gpa, bytes);
        return bytes;
    }
}
