using Vivarium.Engine;
using Vivarium.Engine.Software;
using Vivarium.Engine.Software.CodeCache;
using Vivarium.Engine.Software.Decode;
using Vivarium.Engine.Software.Privileged;
using Vivarium.Engine.Software.Translate;
using Vivarium.Memory;

namespace Vivarium.Translate;

/// <summary>
/// A kernel's text, translated block after block as it stands: the translator itself, and what enters a block in the tables.
/// Nothing runs, and nothing is linked.
/// </summary>
internal sealed unsafe class Row : IDisposable
{
    private const BlockMode Kernel = BlockMode.Code64 | BlockMode.Ring0 | BlockMode.Sse | BlockMode.Rdtsc | BlockMode.Protected;
    private const ulong Rip = 0xFFFF_FFFF_8100_0000;

    private readonly GuestMemory _memory;
    private readonly int _length;
    private readonly CodeGranules _granules;
    private readonly TranslationCache _cache;
    private readonly BlockRecords _records = new();
    private readonly Translator _translator;

    public Row(ReadOnlySpan<byte> text)
    {
        _length = text.Length & ~(int)GuestMemory.PageMask;
        _memory = new GuestMemory((ulong)_length);
        _memory.AddSlot(0, (ulong)_length);
        _memory.Write(0, text[.._length]);
        _granules = new CodeGranules(_memory);
        _cache = new TranslationCache(_memory, _granules, 128 << 20, hugePages: true);
        var emitter = new Emitter();
        emitter.Start(_cache.ToWritable(_cache.Next), _cache.Next);
        var thunks = new Thunks(emitter, CpuModel.HostHas(CpuFeature.Avx), null, null, null, null, SoftwareVcpu.Spaces, EngineOptions.Default, alone: true);
        _cache.Seal(emitter.Here);
        CpuModel model = CpuModel.Create("host", processors: 1);
        _translator = new Translator(emitter, _cache, thunks, _records, new InstructionForms(new CpuFeatures(model)), EngineOptions.Default) { Model = model };
    }

    /// <summary>All of it, into an empty cache.</summary>
    public (long Blocks, long Instructions) Translate()
    {
        _cache.Clear();
        _translator.Traps.Clear();
        _records.Clear();
        long blocks = 0, before = _translator.InstructionCount;
        byte* host = _memory.Host;
        for (int page = 0; page < _length; page += (int)GuestMemory.PageSize)
        {
            CodePage open = _cache.Pages.Open((ulong)page, out _, out _);
            for (int offset = 0; offset < (int)GuestMemory.PageSize;)
            {
                var source = new CodeSource
                {
                    Rip = Rip + (ulong)(page + offset),
                    Linear = Rip + (ulong)(page + offset),
                    Gpa = (ulong)(page + offset),
                    Bytes = host + page + offset,
                    Length = (int)GuestMemory.PageSize - offset,
                    CodeLimit = 0,
                    SecondPage = Block.NoPage,
                };
                if (_translator.NeedsRoom || _translator.Translate(source, Kernel) is not { Exists: true } block)
                {
                    // The page's last instruction goes on in the next one.
                    break;
                }

                _cache.Add(block, source.Rip, replaces: false);
                blocks++;
                offset += Math.Max(1, (int)block.GuestLength);
            }

            _cache.Pages.Close(open);
        }

        return (blocks, _translator.InstructionCount - before);
    }

    public void Dispose()
    {
        _cache.Dispose();
        _granules.Dispose();
        _records.Dispose();
        _memory.Dispose();
    }
}
