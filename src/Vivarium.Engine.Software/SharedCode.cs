using System.Runtime.InteropServices;
using Vivarium.Engine.Software.CodeCache;
using Vivarium.Engine.Software.Decode;
using Vivarium.Engine.Software.Mmu;
using Vivarium.Engine.Software.Persisted;
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
/// <see cref="PageFlags.Code"/> and its granules (<see cref="CodeGranules"/>) after the bytes have changed, and reports them
/// if they are set. Who translates sets them, takes the write tags of the TLBs away, and waits for vCPUs that may be
/// between tag and write; then it reads the bytes under the lock. A report takes the lock: it comes before the bytes are
/// read, or finds the block.
/// Translated code needs not look after a write: by a plain write tag of its TLB it may write anything in the page, and by
/// a tag for writes beside code (<see cref="FirstLevelTlb.BesideTag"/>) what lies in no granule that is set. It may even
/// write where blocks were, once they are dropped: who would make new ones finds its tag, and waits.
/// </remarks>
internal sealed unsafe class SharedCode : ICodeWatch, IDisposable
{
    private readonly Lock _gate = new();
    private readonly GuestMemory _memory;
    private readonly Rendezvous _rendezvous;
    private readonly CodeGranules _granules;
    private readonly TranslationCache _cache;
    private readonly BlockRecords _records = new();
    private readonly ChangeCounts _changes = new();

    /// <summary>The blocks that check themselves, also those that were dropped since <see cref="_reconsidered"/>.</summary>
    private readonly List<Block> _checking = [];
    private long _reconsidered;
    private ulong _addressMask = Mmu.AddressMask.All;
    private readonly Translator _translator;
    private readonly Templates _templates = new();
    private readonly Relocator _relocator;
    private readonly TranslationStore? _store;
    private readonly RelocationCheck? _check;

    /// <summary>The blocks that were copied before the guest came to them, of those made last.</summary>
    private readonly List<Block> _ahead = [];

    public SharedCode(GuestMemory memory, CpuModel model, Rendezvous rendezvous, EngineOptions options, Action<string> warn)
    {
        Options = options;
        _memory = memory;
        _rendezvous = rendezvous;
        _granules = new CodeGranules(memory);
        _cache = new TranslationCache(memory, _granules, options.CodeCacheBytes, options.Has(Optimizations.HugePages));
        var emitter = new Emitter();
        emitter.Start(_cache.ToWritable(_cache.Next), _cache.Next);
        Thunks = new Thunks(emitter, CpuModel.HostHas(CpuFeature.Avx), SoftwareVcpu.ResolveEntry, SoftwareVcpu.ResolveRunEntry, SoftwareVcpu.ResolveCarefulEntry, SoftwareVcpu.CommitEntry, SoftwareVcpu.Spaces, options, alone: model.ProcessorCount == 1);
        _cache.Seal(emitter.Here);
        var forms = new InstructionForms(new CpuFeatures(model));
        _translator = new Translator(emitter, _cache, Thunks, _records, forms, options) { Model = model, AlignJumps = model.ProcessorCount > 1 };
        _relocator = new Relocator(_cache, _translator.Traps, _records, forms) { KeepsTemplates = options.CheckRelocation };
        if (options.TranslationFolder is { } folder && options.Has(Optimizations.Relocation | Optimizations.Persisted))
        {
            Identity identity = Identity.Of(model, options.Optimizations, _translator.AlignJumps, emitter.Here - _cache.Region.Executable);
            _store = new TranslationStore(folder, identity, TranslationStore.DefaultLimit, warn);
        }

        _check = options.CheckRelocation ? new RelocationCheck(_cache, _translator, _relocator) : null;
        memory.CodeWritten += OnWritten;
        memory.Remapped += OnRemapped;
        memory.DirtyTaken += ForgetWrites;
    }

    public Thunks Thunks { get; }

    public EngineOptions Options { get; }

    /// <summary>As <see cref="CodeGranules.Bias"/>.</summary>
    public ulong GranuleBias => _granules.Bias;

    /// <summary>Where translations begin.</summary>
    public byte* Start => _cache.Region.Executable;

    /// <summary>The instructions of <see cref="ExitCode.Trap"/> exits.</summary>
    public TrapTable Traps => _translator.Traps;

    /// <summary>What is left of a physical address (see <see cref="Mmu.AddressMask"/>).</summary>
    public ulong AddressMask => Volatile.Read(ref _addressMask);

    public void SetAddressMask(ulong mask)
    {
        if (Interlocked.Exchange(ref _addressMask, mask) == mask)
        {
            return;
        }

        foreach (SoftwareVcpu vcpu in _rendezvous.Vcpus)
        {
            vcpu.RequestTlbFlush();
        }
    }

    /// <summary>Counts how often everything was thrown away. Constant while the caller runs.</summary>
    public int Generation => _cache.Generation;

    /// <summary>Tells of translations from now on.</summary>
    public void Observe(ITranslationObserver? observer)
    {
        lock (_gate)
        {
            _cache.Observer = observer;
            observer?.Made((ulong)_cache.Region.Executable, _cache.ThunkBytes, "vivarium_thunks");
        }
    }

    /// <summary>From any thread, approximately.</summary>
    public CodeCacheUse Use => _cache.Use;

    public Block Find(in BlockKey key)
    {
        lock (_gate)
        {
            return _cache.Find(key);
        }
    }

    /// <summary>The block whose translation holds a host address, whether still valid or not.</summary>
    public Block FindByAddress(byte* hostPc)
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
            bool tagged;
            lock (_gate)
            {
                page = _cache.Pages.Open(gpa, out first, out bool beside);
                tagged = first | beside;
                if (tagged)
                {
                    page.Unsettle();
                }
            }

            if (first)
            {
                vcpu.ForgetWrites(gpa);
            }

            int generation = Generation;
            if (!WaitForWriters(vcpu, page, gpa, tagged) || generation == Generation)
            {
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
    /// The block that another vCPU has made meanwhile, or a new one; none if the first instruction needs bytes beyond the
    /// source's.
    /// </summary>
    /// <param name="pages">The source's, between <see cref="BeginTranslation"/> and <see cref="EndTranslation"/>; none if it checks itself.</param>
    /// <param name="moved">There is none because the map has changed: RIP is to be looked up again.</param>
    public Block Translate(in CodeSource source, BlockMode mode, ReadOnlySpan<CodePage> pages, VcpuStatistics statistics, out bool moved)
    {
        lock (_gate)
        {
            return Translate(source, mode, statistics, out moved, AnyGone(pages));
        }
    }

    /// <summary>
    /// As the other, with <see cref="BeginTranslation"/> and <see cref="EndTranslation"/>, where nobody is to be waited for:
    /// the page is watched already, as nearly always. Else, and if it cannot be, none.
    /// </summary>
    public Block TranslateAtOnce(in CodeSource source, BlockMode mode, VcpuStatistics statistics)
    {
        lock (_gate)
        {
            if (_cache.Pages.OpenAtOnce(source.Gpa) is not { } page)
            {
                return default;
            }

            try
            {
                return Translate(source, mode, statistics, out _);
            }
            finally
            {
                _cache.Pages.Close(page);
            }
        }
    }

    /// <summary>Lock held.</summary>
    /// <param name="gone">A page was thrown away since it was watched for the caller.</param>
    private Block Translate(in CodeSource source, BlockMode mode, VcpuStatistics statistics, out bool moved, bool gone = false)
    {
        // Who changes the map takes the lock after that: the change is seen here, or the block is seen there. The same memory may
        // stand there again, or still, when the pages were thrown away in between.
        moved = gone || !Stands(source);
        if (moved)
        {
            return default;
        }

        Block present = _cache.Find(BlockKey.Of(source, mode));
        if (present.Exists && present.SecondPage == source.SecondPage)
        {
            return present;
        }

        source.Refresh();
        long before = _translator.InstructionCount;
        if (Make(source, mode, out bool copied) is not { Exists: true } block)
        {
            return default;
        }

        _cache.Add(block, source.Rip, replaces: present.Exists);
        if (_check is not null)
        {
            if (block.Record->Flags.HasFlag(RecordFlags.Movable) && MayCopy(source, mode))
            {
                _check.Check(block, source, mode);
            }
        }
        else if (Options.Has(Optimizations.Linking | Optimizations.EarlyLinking))
        {
            CompleteLinks(block, source, copied ? mode : _translator.LastMode, statistics);
        }

        if (copied)
        {
            statistics.BlocksCopied++;
        }

        if (block.ChecksItself)
        {
            _checking.Add(block);
        }

        statistics.BlocksTranslated++;
        statistics.InstructionsTranslated += _translator.InstructionCount - before;
        statistics.GuestBytesTranslated += block.GuestLength;
        return block;
    }

    /// <summary>
    /// Translates a loop that runs long again, as one block, which takes the place of its head's present one. Nothing happens
    /// where that cannot be.
    /// </summary>
    /// <param name="page">The source's, between <see cref="BeginTranslation"/> and <see cref="EndTranslation"/>.</param>
    public void TranslateLoop(in CodeSource source, BlockMode mode, CodePage page, VcpuStatistics statistics)
    {
        lock (_gate)
        {
            if (_cache.Find(BlockKey.Of(source, mode)) is not { Exists: true, SecondPage: Block.NoPage, ChecksItself: false, Loops: false } present || !Stands(source) || page.Gone
                || _translator.Translate(source, mode) is not { Exists: true } block)
            {
                return;
            }

            _cache.Add(block, source.Rip, replaces: true);
            Drop([present]);
            if (Options.Has(Optimizations.Linking | Optimizations.EarlyLinking))
            {
                CompleteLinks(block, source, mode, statistics);
            }

            statistics.BlocksTranslated++;
        }
    }

    private static bool AnyGone(ReadOnlySpan<CodePage> pages)
    {
        foreach (CodePage page in pages)
        {
            if (page.Gone)
            {
                return true;
            }
        }

        return false;
    }

    private bool Stands(in CodeSource source) => source.SecondPage == Block.NoPage
        ? Stands(source.Gpa, source.Bytes)
        : Stands(source.Gpa, source.FirstPart) && Stands(source.SecondPage, source.SecondPart);

    private bool Stands(ulong gpa, byte* host) => _memory.Find(gpa) is { } slot ? slot.Host + (gpa - slot.Start) == host : host == null;

    /// <summary>A translation that nobody else will find, from a copy of the bytes; none if the first instruction needs bytes beyond the source's.</summary>
    public Block TranslateOnce(in CodeSource source, BlockMode mode, VcpuStatistics statistics)
    {
        lock (_gate)
        {
            if (_translator.Translate(source, mode) is not { Exists: true } block)
            {
                return default;
            }

            _cache.Add(block, source.Rip, replaces: true);
            _cache.Remove(block);
            statistics.BlocksTranslated++;
            return block;
        }
    }

    /// <param name="copied">It is a copy of the first translation of the same bytes.</param>
    private Block Make(in CodeSource source, BlockMode mode, out bool copied)
    {
        copied = false;
        if (Options.LoopsAtOnce && _translator.Stops.Count == 0 && !source.ChecksItself && source.SecondPage == Block.NoPage
            && (mode & (BlockMode.Code64 | BlockMode.Careful | BlockMode.Apart)) == BlockMode.Code64
            && _translator.Translate(source with { IsLoop = true }, mode) is { Exists: true } loop)
        {
            return loop;
        }

        if (MayCopy(source, mode) && FindTemplate(source, mode) is { Exists: true } template)
        {
            copied = true;
            return _relocator.Copy(template, source, mode);
        }

        Block block = _translator.Translate(source, mode);
        if (block.Exists && block.Record->Flags.HasFlag(RecordFlags.Movable) && MayCopy(source, mode))
        {
            _templates.Add(block);
        }

        return block;
    }

    /// <summary>Blocks with a debugger's stops in them, or with their own bytes' address, are for their place only.</summary>
    private bool MayCopy(in CodeSource source, BlockMode mode)
        => _translator.Stops.Count == 0 && !source.ChecksItself && source.SecondPage == Block.NoPage
            && (mode & (BlockMode.Code64 | BlockMode.Apart)) == BlockMode.Code64 && Options.Has(Optimizations.Relocation);

    private Template FindTemplate(in CodeSource source, BlockMode mode)
    {
        TemplateKeys keys = TemplateKey.AllOf(mode, source.Rip, source.Bytes, source.Length);
        return MayHaveTemplate(keys) ? FindTemplate(keys, source, mode) : default;
    }

    /// <summary>Mostly there is none, which takes little to find out.</summary>
    private bool MayHaveTemplate(in TemplateKeys keys) => _templates.MayHave(keys) || _store is { HasAny: true };

    private Template FindTemplate(in TemplateKeys keys, in CodeSource source, BlockMode mode)
        => _templates.Find(keys, source, mode) is { Exists: true } made ? made : _store?.Find(keys, source, mode) ?? default;

    /// <summary>
    /// Code there was changed so often of late that it is not to be watched: its translation is to check itself. It needs
    /// no <see cref="BeginTranslation"/>.
    /// </summary>
    public bool ChangesOften(ulong gpa) => Options.Has(Optimizations.SelfChecks) && _changes.Often(gpa);

    /// <summary>The block whose translation holds a host address has found its code changed: it is thrown away.</summary>
    public Block DropChanged(byte* hostPc)
    {
        lock (_gate)
        {
            Block block = _cache.FindByAddress(hostPc);
            if (block.Valid)
            {
                _cache.Remove(block);
                Drop([block]);
            }

            return block;
        }
    }

    /// <summary>
    /// From time to time all blocks that check themselves are thrown away: where the code does not change any more, the next
    /// ones need not. What was read of the file of translations is given back too.
    /// </summary>
    /// <param name="now">In milliseconds, from any beginning.</param>
    public void Reconsider(long now)
    {
        const int period = 1000;
        if (now - Volatile.Read(ref _reconsidered) < period)
        {
            return;
        }

        lock (_gate)
        {
            _reconsidered = now;
            _changes.Clear();
            foreach (Block block in _checking)
            {
                if (block.Valid)
                {
                    _cache.Remove(block);
                    _changes.Suspect(block.Key.Gpa);
                    Drop([block]);
                }
            }

            _checking.Clear();
            _store?.Release();
            _cache.ForgetWritable();
        }
    }

    /// <summary>Links a jump of a block to its target, if both blocks are in one page.</summary>
    /// <param name="source">The block.</param>
    /// <param name="stub">Which of its jumps, as <see cref="Block.StubAt"/> says.</param>
    /// <param name="target">As the source, of the present <see cref="Generation"/>.</param>
    /// <param name="statistics">Counts it.</param>
    public void Link(Block source, int stub, Block target, VcpuStatistics statistics)
    {
        if (target.SecondPage != Block.NoPage || !Options.Has(Optimizations.Linking) || ((source.Key.Gpa ^ target.Key.Gpa) & ~GuestMemory.PageMask) != 0)
        {
            return;
        }

        lock (_gate)
        {
            if (target.Valid && source.Valid)
            {
                _cache.Link(source.JumpOf(stub), target);
                statistics.Links++;
            }
        }
    }

    /// <summary>
    /// Links the jumps of a new block whose targets are known already, or of which there is a template: what ran after it in
    /// another place or on another day will run here soon, and costs less now than when the guest comes to it.
    /// </summary>
    /// <param name="mode">In which it goes to them.</param>
    private void CompleteLinks(Block block, in CodeSource source, BlockMode mode, VcpuStatistics statistics)
    {
        bool ahead = Options.Has(Optimizations.CopyAhead | Optimizations.Relocation) && MayCopy(source, mode);
        _ahead.Clear();
        LinkKnown(block, source, mode, ahead, statistics);
        for (int i = 0; i < _ahead.Count; i++)
        {
            LinkKnown(_ahead[i], source, mode, ahead, statistics);
        }
    }

    /// <param name="source">Of any block in its page.</param>
    private void LinkKnown(Block block, in CodeSource source, BlockMode mode, bool ahead, VcpuStatistics statistics)
    {
        ReadOnlySpan<ushort> stubs = block.JumpStubs;
        for (int i = 0; i < stubs.Length; i += BlockRecord.StubNumbers)
        {
            bool apart = (stubs[i + 2] & Block.StubApart) != 0;
            ulong gpa = (block.Key.Gpa & ~GuestMemory.PageMask) | (stubs[i + 2] & GuestMemory.PageMask);
            var key = new BlockKey(gpa, block.TargetOf(i), apart ? mode | BlockMode.Apart : mode, block.Key.CodeLimit);
            Block known = _cache.Find(key);
            if (!known.Exists && ahead && !apart)
            {
                known = CopyAhead(key, source, statistics);
            }

            if (known is { Exists: true, SecondPage: Block.NoPage })
            {
                _cache.Link(block.Code + stubs[i], known);
            }
        }
    }

    /// <summary>The block of a key, if it can be copied and not too many were already. Its page is watched.</summary>
    private Block CopyAhead(in BlockKey key, in CodeSource source, VcpuStatistics statistics)
    {
        const int most = 24;
        long offset = (long)(key.Gpa - source.Gpa);
        int length = (int)(source.Length - offset);
        if (_ahead.Count == most || _translator.NeedsRoom || length <= 0 || ChangesOften(key.Gpa))
        {
            return default;
        }

        ulong rip = source.Rip + (ulong)offset;
        TemplateKeys keys = TemplateKey.AllOf(key.Mode, rip, source.Bytes + offset, length);
        if (!MayHaveTemplate(keys))
        {
            return default;
        }

        CodeSource target = source with { Rip = rip, Linear = source.Linear + (ulong)offset, Gpa = key.Gpa, Bytes = source.Bytes + offset, Length = length };
        if (FindTemplate(keys, target, key.Mode) is not { Exists: true } template)
        {
            return default;
        }

        Block block = _relocator.Copy(template, target, key.Mode);
        _cache.Add(block, target.Rip, replaces: false);
        _ahead.Add(block);
        statistics.BlocksCopied++;
        statistics.BlocksTranslated++;
        statistics.GuestBytesTranslated += block.GuestLength;
        return block;
    }

    /// <summary>Throws everything away if there may be no room for another block. The caller is parked in between.</summary>
    public void MakeRoom(SoftwareVcpu vcpu)
    {
        if (_translator.NeedsRoom)
        {
            Evict(vcpu, onlyIfNeeded: true);
        }
    }

    /// <summary>Throws everything away. The caller is parked in between.</summary>
    /// <param name="onlyIfNeeded">Not if another vCPU has done it meanwhile.</param>
    public void Evict(SoftwareVcpu vcpu, bool onlyIfNeeded)
    {
        _rendezvous.BeginExclusive(vcpu);
        try
        {
            if (!onlyIfNeeded || _translator.NeedsRoom)
            {
                lock (_gate)
                {
                    _cache.Clear();
                    _checking.Clear();
                    _translator.Traps.Clear();
                    _templates.Clear();
                    _records.Clear();
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

    public int GiveWay(ulong gpa, int size, byte* running)
    {
        if (!_granules.Touch(gpa, size))
        {
            return 0;
        }

        lock (_gate)
        {
            bool wholePages = _rendezvous.Alone;
            return _cache.Pages.IsOpen(gpa) || _cache.Pages.WouldRemove(running, gpa, size, wholePages)
                ? -1
                : Lose(_cache.Invalidate(gpa, size, wholePages));
        }
    }

    public int Invalidate(ulong gpa, int size)
    {
        if (!_granules.Touch(gpa, size))
        {
            return 0;
        }

        lock (_gate)
        {
            return Lose(_cache.Invalidate(gpa, size, wholePages: false));
        }
    }

    /// <summary>From now on, translations leave at an address for the run loop. Who runs there may pass it once more.</summary>
    public void AddStop(ulong rip)
    {
        lock (_gate)
        {
            if (_translator.Stops.Add(rip))
            {
                DropBlocksAt(rip);
            }
        }
    }

    /// <summary>Translations run on at an address, unless some vCPU's debugger has a breakpoint there.</summary>
    public void ForgetStop(ulong rip)
    {
        lock (_gate)
        {
            foreach (SoftwareVcpu vcpu in _rendezvous.Vcpus)
            {
                if (vcpu.HasBreakpointAt(rip))
                {
                    return;
                }
            }

            if (_translator.Stops.Remove(rip))
            {
                DropBlocksAt(rip);
            }
        }
    }

    /// <summary>Forgets all stops that no vCPU's debugger wants.</summary>
    public void ForgetStops()
    {
        lock (_gate)
        {
            foreach (ulong rip in _translator.Stops.ToArray())
            {
                ForgetStop(rip);
            }
        }
    }

    public void Dispose()
    {
        _memory.CodeWritten -= OnWritten;
        _memory.Remapped -= OnRemapped;
        _memory.DirtyTaken -= ForgetWrites;
        _store?.Save(_templates);
        _store?.Dispose();
        _templates.Dispose();
        _cache.Dispose();
        _granules.Dispose();
        _records.Dispose();
    }

    /// <summary>The guest has changed the code of blocks, which are not valid any more. Returns how many they were.</summary>
    private int Lose(List<Block>? blocks)
    {
        if (blocks is null)
        {
            return 0;
        }

        ReadOnlySpan<Block> lost = CollectionsMarshal.AsSpan(blocks);
        for (int i = 0; i < lost.Length; i++)
        {
            // One change of code that several translations have is one change.
            if (i == 0 || !ChangeCounts.AreOne(lost[i - 1].Key.Gpa, lost[i].Key.Gpa))
            {
                _changes.Add(lost[i].Key.Gpa);
            }
        }

        Drop(lost);
        return blocks.Count;
    }

    /// <summary>Jump caches forget blocks that are not valid any more.</summary>
    private void Drop(ReadOnlySpan<Block> blocks)
    {
        // A vCPU enters a block into its jump cache and then looks whether it is valid; here it is the other way round.
        Interlocked.MemoryBarrier();
        foreach (SoftwareVcpu vcpu in _rendezvous.Vcpus)
        {
            vcpu.DropJumps(blocks);
        }
    }

    /// <summary>Lock held.</summary>
    private void DropBlocksAt(ulong rip)
    {
        foreach (Block block in _cache.FindAll(rip))
        {
            if (block.ChecksItself)
            {
                _cache.Remove(block);
                Drop([block]);
            }
            else
            {
                // Not as if the guest had changed the code: nothing is to be learnt from it.
                ulong offset = (rip - block.Key.Rip) & (block.Floats ? GuestMemory.PageMask : ulong.MaxValue);
                Drop(CollectionsMarshal.AsSpan(_cache.Invalidate(block.Key.Gpa + offset, 1, wholePages: false)));
            }
        }

        foreach (Block block in _checking)
        {
            if (block.Valid && block.Covers(rip))
            {
                _cache.Remove(block);
                Drop([block]);
            }
        }
    }

    private void OnWritten(ulong gpa, int length) => Invalidate(gpa, length);

    /// <summary>
    /// Other memory stands in a range now, or none. The vCPU that has caused it sees that with its next instruction, others
    /// soon; until then they may use what was there, which nobody else sees.
    /// </summary>
    private void OnRemapped(ulong start, ulong length)
    {
        lock (_gate)
        {
            Drop(CollectionsMarshal.AsSpan(_cache.ForgetRange(start, length)));
            foreach (Block block in _checking)
            {
                if (block.Valid && block.Key.Gpa - start < length)
                {
                    _cache.Remove(block);
                    Drop([block]);
                }
            }
        }

        foreach (SoftwareVcpu vcpu in _rendezvous.Vcpus)
        {
            vcpu.RequestTlbFlush();
        }
    }

    /// <summary>The dirty log begins anew.</summary>
    private void ForgetWrites()
    {
        foreach (SoftwareVcpu vcpu in _rendezvous.Vcpus)
        {
            vcpu.ForgetWrites();
        }
    }

    /// <summary>
    /// Waits until no other vCPU can write to the page without telling. Returns true if it had to wait: the caller was
    /// parked meanwhile.
    /// </summary>
    /// <param name="tagged">Others may have write tags for the page.</param>
    private bool WaitForWriters(SoftwareVcpu vcpu, CodePage page, ulong gpa, bool tagged)
    {
        bool parked = false;
        if (tagged)
        {
            foreach (SoftwareVcpu other in _rendezvous.Vcpus)
            {
                if (other != vcpu && other.ForgetWrites(gpa))
                {
                    Park();
                    Rendezvous.WaitFor(other);
                }
            }

            page.Settle();
        }

        // The tags that another vCPU has taken away are its to wait for.
        var spin = new SpinWait();
        while (page.Unsettled)
        {
            Park();
            spin.SpinOnce(sleep1Threshold: -1);
        }

        if (parked)
        {
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
