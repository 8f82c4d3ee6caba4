using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Vivarium.Engine.Software.Host;
using Vivarium.Memory;

namespace Vivarium.Engine.Software.CodeCache;

/// <summary>
/// The translations themselves, for one thread at a time: finds them by key and by host address, links jumps between them, and throws them
/// away when the guest changes the code they were made from. When the region is full everything is thrown away:
/// simple, and rare.
/// </summary>
internal sealed unsafe class TranslationCache : IDisposable
{
    private const int BucketShift = 8;
    private const int InitialCapacity = 1 << 12;

    /// <summary>Nearly all translations are shorter.</summary>
    private const int PreparedAhead = 4096;

    private readonly BlockTable _blocks = new();
    private readonly Chains<int> _links = new();
    private readonly HostList<Block> _byAddress = new(InitialCapacity);

    /// <summary>For each 256 bytes of the region: the first block that reaches into them or begins behind them, as an index into <see cref="_byAddress"/>.</summary>
    private readonly HostList<int> _firstInBucket = new(InitialCapacity);
    private readonly CodePages _pages;
    private byte* _start;
    private readonly long _capacity;
    private byte* _next;

    /// <param name="capacity">Bytes of translations at most, thunks included; not more than a region has.</param>
    /// <param name="hugePages">As for <see cref="CodeRegion"/>.</param>
    public TranslationCache(GuestMemory memory, CodeGranules granules, long capacity, bool hugePages)
    {
        _capacity = capacity;
        Region = new CodeRegion(hugePages);
        _pages = new CodePages(memory, granules);
        _start = _next = Region.Executable;
        Region.Prepare(_next + PreparedAhead);
    }

    public CodeRegion Region { get; }

    /// <summary>Counts how often everything was thrown away: who holds a code address across that must look again.</summary>
    public int Generation { get; private set; }

    /// <summary>How full it is; thunks do not count as used.</summary>
    public CodeCacheUse Use => new(_capacity, _next - _start, _blocks.Count, Generation);

    /// <summary>The next free executable address, 16-byte aligned.</summary>
    public byte* Next => _next;

    /// <summary>Bytes left.</summary>
    public long Free => Region.Executable + _capacity - _next;

    public CodePages Pages => _pages;

    /// <summary>Sees blocks come and go; null: nobody wants to.</summary>
    public ITranslationObserver? Observer { get; set; }

    /// <summary>Bytes before the first translation.</summary>
    public int ThunkBytes => (int)(_start - Region.Executable);

    /// <summary>Keeps what was emitted so far (the thunks) for good.</summary>
    public void Seal(byte* end) => _start = _next = Place(end);

    public byte* ToWritable(byte* executable) => executable + (Region.Writable - Region.Executable);

    public Block Find(in BlockKey key) => _blocks.Find(key);

    /// <summary>The block whose translation holds a host address, whether still valid or not.</summary>
    public Block FindByAddress(byte* hostPc)
    {
        long bucket = (hostPc - Region.Executable) >> BucketShift;
        if (bucket < 0 || bucket >= _firstInBucket.Count)
        {
            return default;
        }

        for (int i = _firstInBucket[(int)bucket]; i < _byAddress.Count && _byAddress[i].Code <= hostPc; i++)
        {
            Block block = _byAddress[i];
            if (hostPc < block.Code + block.CodeLength)
            {
                return block;
            }
        }

        return default;
    }

    /// <summary>Publishes a block.</summary>
    /// <param name="block">The block.</param>
    /// <param name="rip">For which it was made.</param>
    /// <param name="replaces">There may be one of the same key.</param>
    public void Add(Block block, ulong rip, bool replaces)
    {
        *HeaderOf(block) = BlockHeader.Of(block.Key);
        _next = Place(block.Code + block.CodeLength);
        Region.Prepare(_next + PreparedAhead);
        if (replaces && _blocks.Find(block.Key) is { Exists: true } old)
        {
            _blocks.Remove(old);
            Retire(old);
        }

        _blocks.Add(block);
        while (_firstInBucket.Count <= (block.Code + block.CodeLength - 1 - Region.Executable) >> BucketShift)
        {
            _firstInBucket.Add(_byAddress.Count);
        }

        _byAddress.Add(block);
        Observer?.Translated((ulong)block.Code, block.CodeLength, rip);
        if (!block.ChecksItself)
        {
            _pages.Add(block);
        }
    }

    /// <summary>To be called from time to time: as <see cref="CodeRegion.ForgetWritable"/>.</summary>
    public void ForgetWritable() => Region.ForgetWritable(_next);

    /// <summary>Throws away a block that checks itself; jump caches must forget it too.</summary>
    public void Remove(Block block)
    {
        _blocks.Remove(block);
        Retire(block);
    }

    private void Remove(ReadOnlySpan<Block> blocks)
    {
        foreach (Block block in blocks)
        {
            Remove(block);
        }
    }

    /// <summary>Makes the jump whose displacement stands at an executable address go to a block.</summary>
    public void Link(byte* displacement, Block target)
    {
        Patch(displacement, target.Body);
        _links.Add(ref target.IncomingJumps, (int)(displacement - Region.Executable));
    }

    /// <summary>Throws away the blocks made from any of the bytes, and returns them: jump caches must forget them too.</summary>
    /// <param name="wholePages">As for <see cref="CodePages.Remove"/>.</param>
    public List<Block>? Invalidate(ulong gpa, int size, bool wholePages)
    {
        List<Block>? hit = _pages.Remove(gpa, size, wholePages);
        Remove(CollectionsMarshal.AsSpan(hit));
        return hit;
    }

    /// <summary>As <see cref="Invalidate"/> for a range in which other memory stands now, or none: see <see cref="CodePages.ForgetRange"/>.</summary>
    public List<Block> ForgetRange(ulong start, ulong length)
    {
        List<Block> hit = _pages.ForgetRange(start, length);
        Remove(CollectionsMarshal.AsSpan(hit));
        return hit;
    }

    /// <summary>The translations of code at a RIP, which may stand in several places.</summary>
    public List<Block> FindAll(ulong rip)
    {
        List<Block> found = [];
        foreach (Block block in _byAddress.Items)
        {
            if (block.Valid && block.Covers(rip))
            {
                found.Add(block);
            }
        }

        return found;
    }

    /// <summary>Throws everything away. Not while translated code is active.</summary>
    public void Clear()
    {
        foreach (Block block in _byAddress.Items)
        {
            block.Invalidate();
        }

        _blocks.Clear();
        _byAddress.Clear();
        _firstInBucket.Clear();
        _links.Clear();
        _pages.Clear();
        _next = _start;
        Generation++;
        Observer?.ThrownAway();
    }

    public void Dispose()
    {
        _blocks.Dispose();
        _links.Dispose();
        _pages.Dispose();
        _byAddress.Dispose();
        _firstInBucket.Dispose();
        Region.Dispose();
    }

    /// <summary>Where the next code may begin.</summary>
    private static byte* Place(byte* end) => (byte*)(((nuint)end + 15) & ~(nuint)15) + BlockHeader.Size;

    /// <summary>To be written.</summary>
    private BlockHeader* HeaderOf(Block block) => (BlockHeader*)ToWritable(BlockHeader.Before(block.Code));

    /// <summary>
    /// Jumps into the block go to the run loop again: no jump finds it by its header, and those that were linked go to their
    /// own stubs once more.
    /// </summary>
    private void Retire(Block block)
    {
        block.Invalidate();
        *HeaderOf(block) = default;
        for (int chain = block.IncomingJumps; chain != Chain.None;)
        {
            // Also those of blocks that are not valid any more: a vCPU may still be in one.
            byte* jump = Region.Executable + _links.Take(ref chain);
            if (FindByAddress(jump) is { Exists: true } from)
            {
                Patch(jump, from.StubOf(jump));
            }
        }

        block.IncomingJumps = Chain.None;
    }

    /// <summary>Where several vCPUs run, displacements are aligned: whoever executes the jump meanwhile goes to the old target or to the new.</summary>
    private void Patch(byte* displacement, byte* target)
        => Unsafe.WriteUnaligned(ToWritable(displacement), checked((int)(target - (displacement + 4))));
}
