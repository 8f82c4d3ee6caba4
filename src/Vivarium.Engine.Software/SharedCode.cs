using System.Runtime.InteropServices;
using Vivarium.Engine.Software.CodeCache;
using Vivarium.Engine.Software.Mmu;
using Vivarium.Engine.Software.Privileged;
using Vivarium.Engine.Software.Translate;
using Vivarium.Memory;

namespace Vivarium.Engine.Software;

/// <summary>
/// The translations of a machine, which all its vCPUs share: found, made, linked and thrown away under one lock.
/// Translations run, and jump caches are read, without it.
/// </summary>
/// <remarks>
/// Translated code is exact towards writes from everywhere by three rules. Who writes to a page looks at its
/// <see cref="PageFlags.Code"/> after the bytes have changed, and reports them if it is set (translated code may write
/// without looking as long as its TLB has a write tag for the page). Who translates sets the flag, takes the write tags
/// away, and waits for vCPUs that may be between tag and write; then it reads the bytes under the lock. A report takes
/// the lock: it comes before the bytes are read, or finds the block.
/// </remarks>
internal sealed unsafe class SharedCode : ICodeWatch, IDisposable
{
    private readonly Lock _gate = new();
    private readonly GuestMemory _memory;
    private readonly Rendezvous _rendezvous;
    private readonly TranslationCache _cache;
    private readonly Translator _translator;

    public SharedCode(GuestMemory memory, CpuModel model, Rendezvous rendezvous, EngineOptions options)
    {
        Options = options;
        _memory = memory;
        _rendezvous = rendezvous;
        _cache = new TranslationCache(memory, options.CodeCacheBytes);
        var emitter = new Emitter();
        emitter.Start(_cache.ToWritable(_cache.Next), _cache.Next);
        Thunks = new Thunks(emitter, CpuModel.HostHas(CpuFeature.Avx), SoftwareVcpu.ResolveEntry, SoftwareVcpu.ResolveCarefulEntry, SoftwareVcpu.CommitEntry, options.Has(Optimizations.JumpsByPage), SoftwareVcpu.Spaces);
        _cache.Seal(emitter.Here);
        _translator = new Translator(emitter, _cache, Thunks) { Features = new CpuFeatures(model), AlignJumps = model.ProcessorCount > 1, Options = options };
        memory.CodeWritten += OnWritten;
    }

    public Thunks Thunks { get; }

    public EngineOptions Options { get; }

    /// <summary>The instructions of <see cref="ExitCode.Trap"/> exits.</summary>
    public TrapTable Traps => _translator.Traps;

    /// <summary>Counts how often everything was thrown away. Constant while the caller runs.</summary>
    public int Generation => _cache.Generation;

    public Block? Find(in BlockKey key)
    {
        lock (_gate)
        {
            return _cache.Find(key);
        }
    }

    /// <summary>The block whose translation holds a host address, whether still valid or not.</summary>
    public Block? FindByAddress(byte* hostPc)
    {
        lock (_gate)
        {
            return _cache.FindByAddress(hostPc);
        }
    }

    /// <summary>
    /// To be called before bytes of a page are translated: from now on all writes to it are seen. Waits for other vCPUs,
    /// and is parked then; <see cref="EndTranslation"/> must follow.
    /// </summary>
    public CodePage BeginTranslation(SoftwareVcpu vcpu, ulong gpa)
    {
        while (true)
        {
            CodePage page;
            bool first;
            lock (_gate)
            {
                page = _cache.Pages.Open(gpa, out first);
            }

            if (first)
            {
                vcpu.ForgetWrites(gpa);
            }

            int generation = Generation;
            if (_rendezvous.Alone || !WaitForWriters(vcpu, page, gpa, first) || generation == Generation)
            {
                page.Settled = true;
                return page;
            }
        }
    }

    public void EndTranslation(CodePage page)
    {
        lock (_gate)
        {
            _cache.Pages.Close(page);
        }
    }

    /// <summary>
    /// The block that another vCPU has made meanwhile, or a new one; null if the first instruction needs bytes beyond the
    /// source's. Its pages are between <see cref="BeginTranslation"/> and <see cref="EndTranslation"/>.
    /// </summary>
    public Block? Translate(in CodeSource source, BlockMode mode, VcpuStatistics statistics)
    {
        lock (_gate)
        {
            if (_cache.Find(new BlockKey(source.Gpa, source.Rip, mode, source.CodeLimit)) is { } present && present.SecondPage == source.SecondPage)
            {
                return present;
            }

            source.Refresh();
            long before = _translator.InstructionCount;
            if (_translator.Translate(source, mode) is not { } block)
            {
                return null;
            }

            _cache.Add(block);
            if (Options.Has(Optimizations.Linking | Optimizations.EarlyLinking))
            {
                LinkKnown(block);
            }

            statistics.BlocksTranslated++;
            statistics.InstructionsTranslated += _translator.InstructionCount - before;
            statistics.CodeBytes = _cache.UsedBytes;
            return block;
        }
    }

    /// <summary>Links the jump whose stub holds a host address, if its block and the target are in one page.</summary>
    public void Link(byte* stub, Block target)
    {
        if (target.SecondPage != Block.NoPage || !Options.Has(Optimizations.Linking))
        {
            return;
        }

        lock (_gate)
        {
            if (target.Valid && _cache.FindByAddress(stub) is { Valid: true } source
                && ((source.Key.Gpa ^ target.Key.Gpa) & ~GuestMemory.PageMask) == 0)
            {
                _cache.Link(source.JumpOf(stub), target);
            }
        }
    }

    /// <summary>Links the jumps of a new block whose targets are known already.</summary>
    private void LinkKnown(Block block)
    {
        foreach ((nint displacement, ulong target) in _translator.Links)
        {
            ulong gpa = (block.Key.Gpa & ~GuestMemory.PageMask) | ((block.Key.Gpa + (target - block.Key.Rip)) & GuestMemory.PageMask);
            if (_cache.Find(block.Key with { Gpa = gpa, Rip = target }) is { SecondPage: Block.NoPage } known)
            {
                _cache.Link((byte*)displacement, known);
            }
        }
    }

    /// <summary>Throws everything away if there may be no room for another block. The caller is parked in between.</summary>
    public void MakeRoom(SoftwareVcpu vcpu)
    {
        if (!_translator.NeedsRoom)
        {
            return;
        }

        _rendezvous.BeginExclusive(vcpu);
        try
        {
            if (_translator.NeedsRoom)
            {
                lock (_gate)
                {
                    _cache.Clear();
                    _translator.Traps.Clear();
                }

                foreach (SoftwareVcpu other in _rendezvous.Vcpus)
                {
                    other.ForgetBlocks();
                }
            }
        }
        finally
        {
            _rendezvous.EndExclusive(vcpu);
        }
    }

    public bool Overlaps(ulong gpa, int size)
    {
        lock (_gate)
        {
            return _cache.Pages.Overlaps(gpa, size);
        }
    }

    public int Invalidate(ulong gpa, int size)
    {
        lock (_gate)
        {
            List<Block>? hit = _cache.Invalidate(gpa, size);

            // A vCPU enters a block into its jump cache and then looks whether it is valid; here it is the other way round.
            Interlocked.MemoryBarrier();
            foreach (Block block in CollectionsMarshal.AsSpan(hit))
            {
                foreach (SoftwareVcpu vcpu in _rendezvous.Vcpus)
                {
                    vcpu.DropJumps(block);
                }
            }

            return hit?.Count ?? 0;
        }
    }

    public void Dispose()
    {
        _memory.CodeWritten -= OnWritten;
        _cache.Dispose();
    }

    private void OnWritten(ulong gpa, int length) => Invalidate(gpa, length);

    /// <summary>
    /// Waits until no other vCPU can write to the page without telling. Returns true if it had to wait: the caller was
    /// parked meanwhile.
    /// </summary>
    private bool WaitForWriters(SoftwareVcpu vcpu, CodePage page, ulong gpa, bool first)
    {
        Interlocked.MemoryBarrier();
        bool parked = false;
        foreach (SoftwareVcpu other in _rendezvous.Vcpus)
        {
            if (other != vcpu && (other.MayBeWritingBesideCode(gpa) | (first && other.ForgetWrites(gpa))))
            {
                Park();
                Rendezvous.WaitFor(other);
            }
        }

        var spin = new SpinWait();
        while (!first && !page.Settled)
        {
            Park();
            spin.SpinOnce(sleep1Threshold: -1);
        }

        if (parked)
        {
            // Others may go on as soon as we wait for nobody any more.
            page.Settled = true;
            _rendezvous.Enter(vcpu);
        }

        return parked;

        void Park()
        {
            if (!parked)
            {
                parked = true;
                _rendezvous.Leave(vcpu);
            }
        }
    }
}
