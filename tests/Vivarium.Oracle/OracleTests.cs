using System.Diagnostics;
using Iced.Intel;
using Vivarium.Engine;
using Vivarium.Oracle.Generate;
using Vivarium.Oracle.Guest;
using Vivarium.Oracle.Native;
using Xunit;

namespace Vivarium.Oracle;

/// <summary>The host CPU as oracle, and proof that it can tell right from wrong.</summary>
public sealed unsafe class OracleTests(ITestOutputHelper output)
{
    private const ulong Code = CaseWindow.CodeBase + 0x100;

    private static readonly Lazy<NativeRunner> s_native = new(() => new NativeRunner());

    [Theory]
    [InlineData(64)]
    [InlineData(32)]
    [InlineData(16)]
    public void EngineAgreesWithHost(int bitness)
    {
        SkipUnlessHostRuns(bitness);
        FormCatalog catalog = Catalog(bitness);
        using EngineRunner engine = Runners.Software(model: null);
        var run = new OracleRun(s_native.Value, engine, seed: 1, catalog, bitness);
        var clock = Stopwatch.StartNew();
        run.CompareForms(0, 6, clock, TimeSpan.FromSeconds(10));
        run.CompareSequences(0, 4000, clock, TimeSpan.FromSeconds(14));
        output.WriteLine(run.Summary());
        Console.WriteLine(run.Summary());
        Console.WriteLine($"{catalog.LeftOut.Sum(pair => pair.Value.Count)} forms left out: {string.Join("; ", catalog.LeftOut.Select(pair => $"{pair.Key} ({pair.Value.Count})"))}");
        Assert.True(run.FormCount > 1000, "too few forms were compared");
        Assert.True(run.MismatchCount == 0, $"{run.Summary()}\n{string.Join('\n', run.Mismatches.Take(10).Select(mismatch => mismatch.Text))}");
    }

    [Fact]
    public void LoopsAgreeWithHost()
    {
        using EngineRunner engine = Runners.Software(model: null, "loops-at-once");
        var run = new OracleRun(s_native.Value, engine, seed: 3, Catalog(64), bitness: 64);
        run.CompareSequences(0, 4000, Stopwatch.StartNew(), TimeSpan.FromSeconds(8));
        Assert.True(run.MismatchCount == 0, $"{run.Summary()}\n{string.Join('\n', run.Mismatches.Take(10).Select(mismatch => mismatch.Text))}");
    }

    [Theory]
    [InlineData(64)]
    [InlineData(32)]
    [InlineData(16)]
    public void HostAgreesWithItself(int bitness)
    {
        SkipUnlessHostRuns(bitness);
        var run = new OracleRun(s_native.Value, s_native.Value, seed: 2, Catalog(bitness), bitness);
        var clock = Stopwatch.StartNew();
        run.CompareForms(0, 2, clock, TimeSpan.FromSeconds(10));
        run.CompareSequences(0, 1000, clock, TimeSpan.FromSeconds(15));
        output.WriteLine(run.Summary());
        Assert.Empty(run.NotMade);
        Assert.Equal(0, run.MismatchCount);
        Assert.InRange(run.Wavered, 0, (run.Cases + run.Sequences) / 100);
    }

    private static void Spoil(Outcome outcome, ulong component, int at)
    {
        *(ulong*)(outcome.State->Xsave + XsaveArea.XstateBv) |= component;
        outcome.State->Xsave[at] ^= 1;
    }

    public static TheoryData<string> Defects => ["register", "flags", "memory", "vector", "x87", "opmask", "zmm", "zmm16", "rip", "exception"];

    [Theory]
    [MemberData(nameof(Defects))]
    public void WrongRunnerIsNoticed(string defect)
    {
        Assert.SkipWhen(defect is "opmask" or "zmm" or "zmm16" && (XsaveArea.Mask & XsaveArea.Avx512) == 0, "this host has no AVX-512");
        Action<TestCase, Outcome> spoil = defect switch
        {
            "register" => (_, outcome) => outcome.State->Gpr[12] ^= 1,
            "flags" => (_, outcome) => outcome.State->Rflags ^= 1,
            "memory" => (_, outcome) => outcome.Memory[CaseWindow.DataSize - 1] ^= 0x80,
            "vector" => (_, outcome) => outcome.State->Xsave[XsaveArea.Xmm0 + 15] ^= 1,
            "x87" => (_, outcome) => outcome.State->Xsave[XsaveArea.St0 + 9] ^= 1,
            "opmask" => (_, outcome) => Spoil(outcome, XsaveArea.Opmask, XsaveArea.OpmaskOffset + 63),
            "zmm" => (_, outcome) => Spoil(outcome, XsaveArea.ZmmHi256, XsaveArea.ZmmHi256Offset + 511),
            "zmm16" => (_, outcome) => Spoil(outcome, XsaveArea.Hi16Zmm, XsaveArea.Hi16ZmmOffset + 1023),
            "rip" => (_, outcome) => outcome.State->Rip++,
            _ => (_, outcome) => outcome.Vector = outcome.Vector == 6 ? 13 : 6,
        };
        var run = new OracleRun(s_native.Value, new BrokenRunner(s_native.Value, spoil), seed: 3, FormCatalog.For(64));
        run.CompareCase(Iced.Intel.Code.Mov_r64_rm64, 0);
        run.CompareCase(Iced.Intel.Code.Add_r64_rm64, 0);
        Assert.Equal(2, run.MismatchCount);
    }

    /// <summary>A translator that forgets a register or lets a flag die too early: seen in programs, not only in single instructions.</summary>
    [Fact]
    public void WrongFlagsInSequencesAreNoticed()
    {
        var broken = new BrokenRunner(s_native.Value, (test, outcome) =>
        {
            if (test.Instructions.Any(instruction => instruction.Mnemonic == Mnemonic.Adc))
            {
                outcome.State->Rflags ^= 0x8D5 & ~test.UndefinedFlags & ~test.UndefinedFlagsAtFault;
            }
        });
        var run = new OracleRun(s_native.Value, broken, seed: 4, FormCatalog.For(64));
        run.CompareSequences(0, 300, Stopwatch.StartNew(), TimeSpan.FromSeconds(20));
        Assert.InRange(run.MismatchCount, 1, 299);
    }

    [Fact]
    public void AdditionHasItsFlags()
    {
        Outcome outcome = Run([0x48, 0x01, 0xD8], state => // add rax, rbx
        {
            state->Gpr[0] = 0x7FFF_FFFF_FFFF_FFFF;
            state->Gpr[3] = 1;
        });
        Assert.Equal(Outcome.NoException, outcome.Vector);
        Assert.Equal(0x8000_0000_0000_0000, outcome.State->Gpr[0]);
        Assert.Equal(0x894ul, outcome.State->Rflags & 0x8D5); // OF, SF, AF, PF
        Assert.Equal(Code + 3, outcome.State->Rip);
    }

    [Fact]
    public void DivisionByZeroFaultsWithStateUnchanged()
    {
        Outcome outcome = Run([0x48, 0xF7, 0xF1], state => // div rcx
        {
            state->Gpr[0] = 5;
            state->Gpr[1] = 0;
            state->Gpr[2] = 7;
            state->Gpr[4] = 0xDEAD_BEEF_0000_0001;
        });
        Assert.Equal(0, outcome.Vector);
        Assert.Equal(Code, outcome.State->Rip);
        Assert.Equal(7ul, outcome.State->Gpr[2]);
        Assert.Equal(0xDEAD_BEEF_0000_0001, outcome.State->Gpr[4]);
    }

    [Fact]
    public void MisalignedVectorLoadIsProtectionFault()
    {
        Outcome outcome = Run([0x0F, 0x28, 0x00], state => state->Gpr[0] = CaseWindow.DataBase + 1); // movaps xmm0, [rax]
        Assert.Equal(13, outcome.Vector);
        Assert.Equal(0ul, outcome.Error);
    }

    [Fact]
    public void StoreAcrossTheEndOfTheWindowFaultsAtTheReadOnlyPage()
    {
        Outcome outcome = Run([0x48, 0x89, 0x18], state => state->Gpr[0] = CaseWindow.ReadOnlyBase - 3); // mov [rax], rbx
        Assert.Equal(14, outcome.Vector);
        Assert.Equal(7ul, outcome.Error); // present, write, user
        Assert.Equal(CaseWindow.ReadOnlyBase, outcome.FaultAddress);
    }

    [Fact]
    public void UnmaskedSimdExceptionIsReported()
    {
        Outcome outcome = Run([0xF2, 0x0F, 0x5E, 0xC1], state => // divsd xmm0, xmm1
        {
            *(double*)(state->Xsave + XsaveArea.Xmm0) = 1;
            *(uint*)(state->Xsave + XsaveArea.Mxcsr) = 0x1F80 & ~(1u << 9);
        });
        Assert.Equal(19, outcome.Vector);
        Assert.Equal(4u, *(uint*)(outcome.State->Xsave + XsaveArea.Mxcsr) & 0x3F); // ZE
    }

    /// <summary>SDM vol. 2B, RCL: a count that is 0 once masked changes nothing, one that is a whole turn leaves OF undefined.</summary>
    [Theory]
    [InlineData(new byte[] { 0xC0, 0xD0, 18 }, true)] // rcl al, 18
    [InlineData(new byte[] { 0xC0, 0xD8, 0xE9 }, true)] // rcr al, 9 once masked
    [InlineData(new byte[] { 0x66, 0xC1, 0xD0, 17 }, true)] // rcl ax, 17
    [InlineData(new byte[] { 0xC0, 0xD0, 0xE0 }, false)] // rcl al, 0 once masked
    [InlineData(new byte[] { 0xD0, 0xD0 }, false)] // rcl al, 1
    public void RotationsThroughCarryByWholeTurnsLeaveOverflowUndefined(byte[] rotation, bool undefined)
    {
        var decoder = Decoder.Create(64, [.. rotation, 0x0F, 0x90, 0xC1]); // seto cl
        List<Instruction> instructions = [decoder.Decode()];
        Assert.True(FlagFlow.Check(instructions, out ulong atEnd, out _));
        Assert.Equal(undefined ? 0x800ul : 0, atEnd);
        instructions.Add(decoder.Decode());
        Assert.Equal(!undefined, FlagFlow.Check(instructions, out _, out _));
    }

    [Fact]
    public void CasesDependOnTheSeedOnly()
    {
        var first = new TestCase();
        var second = new TestCase();
        Assert.True(new CaseGenerator(7).TryMake(Iced.Intel.Code.Adc_rm32_imm8, 3, first));
        Assert.True(new CaseGenerator(7).TryMake(Iced.Intel.Code.Adc_rm32_imm8, 3, second));
        Assert.Equal(first.Code.ToArray(), second.Code.ToArray());
        Assert.Equal(first.Memory, second.Memory);
        Assert.True(new ReadOnlySpan<byte>(first.Input, sizeof(CaseState)).SequenceEqual(new ReadOnlySpan<byte>(second.Input, sizeof(CaseState))));
    }

    /// <summary>AVX-512 has been compared with AMD's processors in 64-bit mode only: what others do where the SDM leaves them a choice is not known yet.</summary>
    private static FormCatalog Catalog(int bitness) => FormCatalog.For(bitness, evex: bitness == 64 && !CpuModel.HostIsIntel);

    private static void SkipUnlessHostRuns(int bitness)
        => Assert.SkipUnless(s_native.Value.Runs(bitness), $"this host runs no {bitness}-bit code");

    private static Outcome Run(byte[] code, Setup setup)
    {
        TestCase test = TestCase.Of(code);
        setup(test.Input);
        var outcome = new Outcome();
        s_native.Value.Run(test, outcome);
        return outcome;
    }

    private delegate void Setup(CaseState* state);
}
