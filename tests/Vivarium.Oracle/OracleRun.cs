using System.Diagnostics;
using Iced.Intel;
using Vivarium.Oracle.Compare;
using Vivarium.Oracle.Generate;

namespace Vivarium.Oracle;

/// <summary>Runs generated cases on two runners and collects where they differ.</summary>
internal sealed class OracleRun(ICaseRunner expected, ICaseRunner actual, ulong seed, FormCatalog catalog, int bitness = 64)
{
    private const int MismatchesPerForm = 2;
    private const int MaxMismatchedSequences = 40;
    private const byte Nop = 0x90;

    private readonly TestCase _test = new();
    private readonly Outcome _expected = new();
    private readonly Outcome _actual = new();
    private readonly Outcome _again = new();
    private readonly CaseGenerator _cases = new(seed, bitness);
    private readonly SequenceGenerator _sequences = new(seed, catalog.Forms, bitness);
    private readonly HashSet<Code> _formsCompared = [];
    private readonly SortedDictionary<int, long> _vectors = [];

    /// <summary>Told of every case before it runs: shows which one takes an engine down with it.</summary>
    public Action<TestCase>? Trace { get; init; }

    public List<Mismatch> Mismatches { get; } = [];

    public long Cases { get; private set; }

    public long Sequences { get; private set; }

    public long SequenceInstructions { get; private set; }

    public long MismatchCount { get; private set; }

    /// <summary>Cases that the expected runner, asked once more, ended as the other one had: a host that is a virtual machine itself may answer an interrupt wrongly.</summary>
    public long Wavered { get; private set; }

    public int FormCount => _formsCompared.Count;

    public HashSet<Code> FormsWithMismatch { get; } = [];

    /// <summary>Forms of which no case could be made.</summary>
    public List<Code> NotMade { get; } = [];

    /// <summary>Compares cases first to first + count - 1 of every form, until the time is up.</summary>
    public void CompareForms(int first, int count, Stopwatch clock, TimeSpan limit, Func<Code, bool>? only = null)
    {
        foreach (Code form in catalog.Forms)
        {
            if (only is not null && !only(form))
            {
                continue;
            }

            bool made = false;
            for (int index = first; index < first + count && clock.Elapsed < limit; index++)
            {
                made |= CompareCase(form, index);
            }

            if (!made && clock.Elapsed < limit && first == 0)
            {
                NotMade.Add(form);
            }
        }
    }

    public bool CompareCase(Code form, int index)
    {
        if (!_cases.TryMake(form, index, _test))
        {
            return false;
        }

        _formsCompared.Add(form);
        Cases++;
        if (RunBoth() is { } difference && !Wavers())
        {
            MismatchCount++;
            bool known = !FormsWithMismatch.Add(form);
            if (!known || Mismatches.Count(mismatch => mismatch.Form == form) < MismatchesPerForm)
            {
                Mismatches.Add(Mismatch.From(_test, RunBoth() is null ? difference + "  run again, it agrees: the difference depends on what ran before\n" : difference));
            }
        }

        return true;
    }

    public void CompareSequences(int first, int count, Stopwatch clock, TimeSpan limit)
    {
        for (int index = first; index < first + count && clock.Elapsed < limit; index++)
        {
            CompareSequence(index);
        }
    }

    public void CompareSequence(int index)
    {
        if (!_sequences.TryMake(index, _test))
        {
            return;
        }

        Sequences++;
        SequenceInstructions += _test.Instructions.Count;
        if (RunBoth() is { } difference && !Wavers())
        {
            MismatchCount++;
            if (Mismatches.Count(mismatch => mismatch.Form == Code.INVALID) < MaxMismatchedSequences)
            {
                Mismatches.Add(Mismatch.From(_test, Shrink(difference)));
            }
        }
    }

    /// <summary>One line: what was compared.</summary>
    public string Summary()
    {
        string vectors = string.Join(", ", _vectors.Select(pair => $"{(pair.Key < 0 ? "completed" : $"vector {pair.Key}")} {pair.Value}"));
        return $"{actual.Name} against {expected.Name}, seed {seed}, {bitness}-bit code: {FormCount} forms in {Cases} cases, {Sequences} sequences of {SequenceInstructions} instructions ({vectors}); {MismatchCount} mismatches in {FormsWithMismatch.Count} forms and {Mismatches.Count(mismatch => mismatch.Form == Code.INVALID)} sequences{(Wavered == 0 ? "" : $"; {expected.Name} gave another answer when asked again: {Wavered}")}";
    }

    /// <summary>After a difference: whether it is the expected runner's, which gives another answer now, the same as the actual one's.</summary>
    private bool Wavers()
    {
        expected.Run(_test, _again);
        if (Comparison.Difference(_test, _again, _actual) is not null
            && !(ReferenceEquals(expected, actual) && Comparison.Difference(_test, _expected, _again) is null))
        {
            return false;
        }

        Wavered++;
        return true;
    }

    private string? RunBoth()
    {
        Trace?.Invoke(_test);
        expected.Run(_test, _expected);
        actual.Run(_test, _actual);
        _vectors[_expected.Vector] = _vectors.GetValueOrDefault(_expected.Vector) + 1;
        return Comparison.Difference(_test, _expected, _actual);
    }

    /// <summary>Sets or steps the counter of a loop: without it the loop would not end in our time.</summary>
    private bool CountsLoop(in Instruction instruction)
    {
        for (int at = 1; at < _test.Instructions.Count; at++)
        {
            Instruction jump = _test.Instructions[at];
            if (jump.FlowControl == FlowControl.ConditionalBranch && _test.ToRip(jump.NearBranchTarget) < _test.ToRip(jump.IP)
                && instruction.Op0Register == _test.Instructions[at - 1].Op0Register
                && (instruction.Code == Code.Mov_r32_imm32 || instruction.IP == _test.Instructions[at - 1].IP))
            {
                return true;
            }
        }

        return false;
    }

    /// <summary>Replaces instructions by NOPs as long as the outcomes still differ.</summary>
    private string Shrink(string difference)
    {
        if (RunBoth() is null)
        {
            return difference + "  run again, it agrees: the difference depends on what ran before\n";
        }

        string original = Convert.ToHexStringLower(_test.Code);
        var saved = new byte[TestCase.MaxCode];
        for (int at = 0; at < _test.Instructions.Count; at++)
        {
            Instruction instruction = _test.Instructions[at];
            if (instruction.Mnemonic == Mnemonic.Nop || CountsLoop(instruction))
            {
                continue;
            }

            _test.Code.CopyTo(saved);
            _test.CodeBuffer.AsSpan((int)(instruction.IP - _test.CodeAddress), instruction.Length).Fill(Nop);
            string? still = SequenceGenerator.Finish(_test) ? RunBoth() : null;
            if (still is not null)
            {
                difference = still;
                at += instruction.Length - 1;
                continue;
            }

            saved.AsSpan(0, _test.CodeLength).CopyTo(_test.CodeBuffer);
            _ = SequenceGenerator.Finish(_test);
        }

        return $"{difference}  before shrinking: {original}\n";
    }
}
