using System.Runtime.InteropServices;
using Vivarium.Engine.Software;
using Vivarium.Engine.Software.CodeCache;
using Vivarium.Engine.Software.Decode;
using Vivarium.Engine.Software.Persisted;
using Vivarium.Engine.Software.Privileged;
using Vivarium.Engine.Software.Translate;
using Vivarium.Memory;

namespace Vivarium.Engine.Tests.Persisted;

/// <summary>A translator without a machine: it translates bytes that stand at any RIP.</summary>
internal sealed unsafe class TranslatorBench : IDisposable
{
    public const BlockMode Kernel = BlockMode.Code64 | BlockMode.Ring0 | BlockMode.Sse | BlockMode.Rdtsc | BlockMode.Protected;

    private readonly GuestMemory _memory = new(1 << 20);
    private readonly CodeGranules _granules;
    private readonly TranslationCache _cache;
    private readonly BlockRecords _records = new();
    private readonly Translator _translator;
    private readonly CpuModel _model = CpuModel.Create("host", processors: 1);
    private readonly byte* _page = (byte*)NativeMemory.AlignedAlloc(4096, 4096);

    public TranslatorBench()
    {
        _memory.AddSlot(0, 1 << 20);
        _granules = new CodeGranules(_memory);
        _cache = new TranslationCache(_memory, _granules, 64 << 20, hugePages: true);
        var emitter = new Emitter();
        emitter.Start(_cache.ToWritable(_cache.Next), _cache.Next);
        var thunks = new Thunks(emitter, CpuModel.HostHas(CpuFeature.Avx), null, null, null, null, SoftwareVcpu.Spaces, EngineOptions.Default, alone: true);
        _cache.Seal(emitter.Here);
        var forms = new InstructionForms(new CpuFeatures(_model));
        _translator = new Translator(emitter, _cache, thunks, _records, forms, EngineOptions.Default) { Model = _model };
        Relocator = new Relocator(_cache, _translator.Traps, _records, forms);
        Check = new RelocationCheck(_cache, _translator, Relocator);
        Identity = Identity.Of(_model, Optimizations.All, false, emitter.Here - _cache.Region.Executable);
    }

    public Relocator Relocator { get; }

    public RelocationCheck Check { get; }

    public Identity Identity { get; }

    public Templates Made { get; } = new();

    /// <summary>Puts code into a page; valid until the next call.</summary>
    public CodeSource Source(ReadOnlySpan<byte> code, ulong rip)
    {
        var page = new Span<byte>(_page, 4096);
        page.Fill(0xF4);
        int offset = (int)(rip & 0xFFF);
        code[..Math.Min(code.Length, 4096 - offset)].CopyTo(page[offset..]);
        return new CodeSource
        {
            Rip = rip,
            Linear = rip,
            Gpa = 0x1000 + (ulong)offset,
            Bytes = _page + offset,
            Length = 4096 - offset,
            CodeLimit = 0,
            SecondPage = Block.NoPage,
        };
    }

    /// <summary>Translates code, keeps its place, and makes a template of it if it can be one.</summary>
    public Block Translate(ReadOnlySpan<byte> code, ulong rip, BlockMode mode = Kernel)
    {
        if (_translator.NeedsRoom)
        {
            _cache.Clear();
            _translator.Traps.Clear();
            _records.Clear();
            Made.Clear();
        }

        CodeSource source = Source(code, rip);
        if (_translator.Translate(source, mode) is not { Exists: true } block)
        {
            return default;
        }

        CodePage page = _cache.Pages.Open(source.Gpa, out _, out _);
        _cache.Add(block, rip, replaces: true);
        _cache.Pages.Close(page);
        if (block.Record->Flags.HasFlag(RecordFlags.Movable))
        {
            Made.Add(block);
        }

        return block;
    }

    /// <summary>Whether the template, moved to where the source stands, is what the translator makes there.</summary>
    public bool IsExact(in Template template, in CodeSource source, BlockMode mode = Kernel)
    {
        Block anew = _translator.Translate(source, mode);
        byte[] wanted = [.. new ReadOnlySpan<byte>(anew.Code, anew.CodeLength)];
        Block copy = Relocator.Copy(template, source, mode);
        return copy.CodeLength == wanted.Length && new ReadOnlySpan<byte>(copy.Code, wanted.Length).SequenceEqual(wanted);
    }

    public void Dispose()
    {
        _cache.Dispose();
        _granules.Dispose();
        _records.Dispose();
        Made.Dispose();
        _memory.Dispose();
        NativeMemory.AlignedFree(_page);
    }
}

/// <summary>Looks templates up under all their numbers.</summary>
internal static class TemplateLookups
{
    public static unsafe Template Find(this Templates templates, in CodeSource source, BlockMode mode) => templates.Find(TemplateKey.AllOf(mode, source.Rip, source.Bytes, source.Length), source, mode);

    public static unsafe Template Find(this TranslationStore store, in CodeSource source, BlockMode mode) => store.Find(TemplateKey.AllOf(mode, source.Rip, source.Bytes, source.Length), source, mode);
}
