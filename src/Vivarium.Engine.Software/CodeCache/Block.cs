using System.Runtime.CompilerServices;
using Vivarium.Engine.Software.Translate;
using Vivarium.Memory;

namespace Vivarium.Engine.Software.CodeCache;

/// <summary>
/// What identifies a translation: where the code stands in guest-physical memory, the RIP it was translated for (of a
/// <see cref="BlockMode.Floating"/> one: the offset in its page), the mode, and the code segment's limit (outside 64-bit mode; else 0).
/// </summary>
internal readonly record struct BlockKey(ulong Gpa, ulong Rip, BlockMode Mode, uint CodeLimit)
{
    private const ulong GoldenRatio = 0x9E37_79B9_7F4A_7C15;

    /// <summary>Most blocks are longer than a granule of so many bits, and so have places of their own.</summary>
    private const int GranuleShift = 3;
    private const int NeighboursShift = 3;

    public static BlockKey Of(in CodeSource source, BlockMode mode)
        => new(source.Gpa, (mode & BlockMode.Floating) != 0 ? source.Rip & GuestMemory.PageMask : source.Rip, mode, source.CodeLimit);

    // By hand, because blocks are looked up often.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public bool Equals(BlockKey other) => Gpa == other.Gpa && Rip == other.Rip && Mode == other.Mode && CodeLimit == other.CodeLimit;

    public override int GetHashCode() => Place;

    /// <summary>
    /// Where it is looked for in a table. Blocks whose code stands in one line of the host's caches do so there too: a block's
    /// jumps mostly lead to its neighbours, which are asked for next.
    /// </summary>
    public int Place
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        get => ((int)(Neighbourhood >> 32) << NeighboursShift) | (int)((Gpa >> GranuleShift) & ((1 << NeighboursShift) - 1));
    }

    /// <summary>In its low bits: other than that of any neighbour.</summary>
    public ulong Tag
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        get => Neighbourhood + Gpa;
    }

    /// <summary>The same for all keys whose code stands near each other, in one mode. The upper half is better mixed than the lower.</summary>
    private ulong Neighbourhood => (((Gpa >> (GranuleShift + NeighboursShift)) * GoldenRatio) + (Rip - Gpa) + ((ulong)Mode << 40)) * GoldenRatio;
}

/// <summary>
/// One translated basic block: a reference to what stands outside of the managed heap, where tens of thousands of them cost no
/// garbage collection anything. It holds until everything is thrown away (<see cref="TranslationCache.Generation"/>).
/// </summary>
internal readonly unsafe struct Block : IEquatable<Block>
{
    public const ulong NoPage = ulong.MaxValue;

    private readonly Data* _data;

    private Block(Data* data) => _data = data;

    private struct Data
    {
        public BlockKey Key;
        public byte* Code;
        public BlockRecord* Record;
        public Rarity* Rare;
        public int IncomingJumps;
        public bool ChecksItself;
        public bool Valid;
        public bool Loops;
    }

    /// <summary>What hardly any block has; null where it has nothing of that.</summary>
    private struct Rarity
    {
        public ulong SecondPage;
        public int RecipeCount;
        public (ushort Offset, FlagRecipe Recipe)* Recipes;
    }

    /// <param name="memory">Where it is to stand.</param>
    /// <param name="key">As <see cref="Key"/>.</param>
    /// <param name="code">As <see cref="Code"/>.</param>
    /// <param name="record">As <see cref="Record"/>.</param>
    /// <param name="secondPage">As <see cref="SecondPage"/>.</param>
    /// <param name="checksItself">As <see cref="ChecksItself"/>.</param>
    /// <param name="loops">As <see cref="Loops"/>.</param>
    /// <param name="recipes">As <see cref="Recipes"/>.</param>
    public static Block Create(BlockRecords memory, in BlockKey key, byte* code, BlockRecord* record, ulong secondPage = NoPage, bool checksItself = false, bool loops = false,
        ReadOnlySpan<(ushort Offset, FlagRecipe Recipe)> recipes = default)
    {
        var data = (Data*)memory.Allocate(sizeof(Data));
        *data = new Data { Key = key, Code = code, Record = record, ChecksItself = checksItself, Valid = true, Loops = loops };
        if (secondPage != NoPage || !recipes.IsEmpty)
        {
            data->Rare = (Rarity*)memory.Allocate(sizeof(Rarity));
            *data->Rare = new Rarity
            {
                SecondPage = secondPage,
                RecipeCount = recipes.Length,
                Recipes = ((ushort, FlagRecipe)*)memory.Allocate((recipes.Length * sizeof((ushort, FlagRecipe)) + 7) & -8),
            };
            recipes.CopyTo(new Span<(ushort, FlagRecipe)>(data->Rare->Recipes, recipes.Length));
        }

        return new Block(data);
    }

    /// <summary>False for the default value, which stands for no block; nothing else may be asked of that but <see cref="Valid"/>.</summary>
    public bool Exists => _data != null;

    public ref readonly BlockKey Key => ref _data->Key;

    /// <summary>Address of the translation: where those come in that have RIP in <see cref="NativeState.Rip"/>.</summary>
    public byte* Code => _data->Code;

    /// <summary>Where jumps of the same page come in.</summary>
    public byte* Body => _data->Code + (Floats ? Translator.LandingBytes : 0);

    /// <summary>It serves wherever its page is mapped.</summary>
    public bool Floats => (Key.Mode & BlockMode.Floating) != 0;

    /// <summary>What else is known of it; may be shared with blocks that are copies of each other.</summary>
    public BlockRecord* Record => _data->Record;

    /// <summary>Size of the translation in bytes, cold parts included.</summary>
    public int CodeLength => Record->CodeLength;

    /// <summary>Guest bytes covered.</summary>
    public int GuestLength => Record->GuestLength;

    /// <summary>For an instruction that crosses a page: GPA of the second page; else <see cref="NoPage"/>.</summary>
    public ulong SecondPage => _data->Rare == null ? NoPage : _data->Rare->SecondPage;

    /// <summary>In a <see cref="Map"/>'s guest offset: until the next entry the arithmetic flags are in <see cref="NativeState.SavedFlags"/>, not in RFLAGS.</summary>
    public const int FlagsSaved = 0x8000;

    /// <summary>Likewise: they are in neither, and made by what <see cref="Recipes"/> says.</summary>
    public const int FlagsByRecipe = 0x4000;

    /// <summary>In <see cref="JumpStubs"/>: the target is a block of <see cref="BlockMode.Apart"/>.</summary>
    public const int StubApart = 0x8000;

    /// <summary>It jumps back into itself, where nobody can unlink it; see <see cref="SharedCode"/>.</summary>
    public bool Loops => _data->Loops;

    /// <summary>From which offset of the code on the flags are made how, where the map says so; ascending.</summary>
    public ReadOnlySpan<(ushort Offset, FlagRecipe Recipe)> Recipes => _data->Rare == null ? default : new(_data->Rare->Recipes, _data->Rare->RecipeCount);

    /// <summary>Where each instruction's host code starts, and its offset in the guest code: pairs, ascending by host code (cold parts come last).</summary>
    public ReadOnlySpan<ushort> Map => new(BlockRecord.MapOf(Record), Record->MapCount);

    /// <summary>
    /// The direct jumps of this block to its own page, each by three numbers: offset of the displacement, of the stub it goes
    /// to while not linked, and of the target in the guest's page, with <see cref="StubApart"/>.
    /// </summary>
    public ReadOnlySpan<ushort> JumpStubs
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        get => new(BlockRecord.StubsOf(Record), Record->StubCount);
    }

    /// <summary>The jumps that were linked to this block, as a chain of <see cref="Chains{T}"/> by where their displacements stand in the code region.</summary>
    public ref int IncomingJumps => ref _data->IncomingJumps;

    /// <summary>By which <see cref="At"/> finds it again.</summary>
    public nuint Address => (nuint)_data;

    public static Block At(nuint address) => new((Data*)address);

    /// <summary>The one instruction of a careful translation is a locked one: the bounce buffer does not make it atomic.</summary>
    public bool Locked => Record->Flags.HasFlag(RecordFlags.Locked);

    /// <summary>
    /// Compares the bytes that it was made from whenever it is entered, and ends after an instruction that writes: nobody
    /// else watches them.
    /// </summary>
    public bool ChecksItself => _data->ChecksItself;

    /// <summary>False once the guest has changed the code, and of no block.</summary>
    public bool Valid => _data != null && Volatile.Read(ref _data->Valid);

    public void Invalidate() => Volatile.Write(ref _data->Valid, false);

    public bool Equals(Block other) => _data == other._data;

    public override bool Equals(object? obj) => obj is Block other && Equals(other);

    public override int GetHashCode() => ((nint)_data).GetHashCode();

    /// <summary>RIP of the instruction whose translation holds a host address.</summary>
    /// <param name="codePage">The page that the vCPU runs in, which a floating block does not know.</param>
    public ulong RipAt(byte* hostPc, ulong codePage)
        => PlaceIn(codePage) + Key.Rip + (ulong)(MapAt(hostPc) & ~(FlagsSaved | FlagsByRecipe));

    /// <summary>What is to be added to <see cref="BlockKey.Rip"/> for RIP.</summary>
    /// <param name="codePage">As in <see cref="RipAt"/>.</param>
    public ulong PlaceIn(ulong codePage) => Floats ? codePage : 0;

    /// <summary>Some instruction of it begins at RIP, or it might where a floating block is mapped so.</summary>
    public bool Covers(ulong rip) => (Floats ? rip & GuestMemory.PageMask : rip) - Key.Rip < (ulong)GuestLength;

    /// <summary>True if a host fault there finds the arithmetic flags in <see cref="NativeState.SavedFlags"/>.</summary>
    public bool FlagsAreSavedAt(byte* hostPc) => (MapAt(hostPc) & FlagsSaved) != 0;

    /// <summary>How the flags are made that a host fault there finds nowhere.</summary>
    public FlagRecipe RecipeAt(byte* hostPc)
    {
        FlagRecipe recipe = default;
        if ((MapAt(hostPc) & FlagsByRecipe) != 0)
        {
            for (int i = 0; i < Recipes.Length && Recipes[i].Offset <= hostPc - Code; i++)
            {
                recipe = Recipes[i].Recipe;
            }
        }

        return recipe;
    }

    /// <summary>The displacement of one of the <see cref="JumpStubs"/>, by its index.</summary>
    public byte* JumpOf(int stub) => Code + JumpStubs[stub];

    /// <summary>RIP, as in a <see cref="BlockKey"/>, of the target of one of the <see cref="JumpStubs"/>, by its index.</summary>
    public ulong TargetOf(int stub)
    {
        ulong target = Key.Rip + (JumpStubs[stub + 2] & GuestMemory.PageMask) - (Key.Gpa & GuestMemory.PageMask);
        return Key.Mode.CodeBits() == 64 ? target : (uint)target;
    }

    /// <summary>Which of the <see cref="JumpStubs"/> holds a host address: they come in the order of their addresses.</summary>
    public int StubAt(byte* hostPc)
    {
        int offset = (int)(hostPc - Code);
        ReadOnlySpan<ushort> stubs = JumpStubs;
        int i = 0;
        while (i + BlockRecord.StubNumbers < stubs.Length && stubs[i + BlockRecord.StubNumbers + 1] <= offset)
        {
            i += BlockRecord.StubNumbers;
        }

        return i;
    }

    /// <summary>The stub behind one of this block's jumps.</summary>
    public byte* StubOf(byte* displacement)
    {
        int offset = (int)(displacement - Code);
        ReadOnlySpan<ushort> stubs = JumpStubs;
        for (int i = 0; i < stubs.Length; i += BlockRecord.StubNumbers)
        {
            if (stubs[i] == offset)
            {
                return Code + stubs[i + 1];
            }
        }

        throw new InvalidOperationException("a linked jump without a stub");
    }

    private int MapAt(byte* hostPc)
    {
        int offset = (int)(hostPc - Code);
        int guest = 0;
        ReadOnlySpan<ushort> map = Map;
        for (int i = 0; i < map.Length && map[i] <= offset; i += 2)
        {
            guest = map[i + 1];
        }

        return guest;
    }
}
