using Vivarium.Engine.Software.CodeCache;
using Vivarium.Engine.Software.Mmu;
using Vivarium.Memory;
using Xunit;

namespace Vivarium.Engine.Tests.CodeCache;

public sealed unsafe class CodePagesTests : IDisposable
{
    private const ulong Gpa = 0x3456;

    private readonly GuestMemory _memory = new(1 << 20);
    private readonly CodeGranules _granules;
    private readonly CodePages _pages;

    public CodePagesTests()
    {
        _memory.AddSlot(0, 1 << 20);
        _granules = new CodeGranules(_memory);
        _pages = new CodePages(_memory, _granules);
    }

    public void Dispose()
    {
        _pages.Dispose();
        _granules.Dispose();
        _memory.Dispose();
    }

    [Fact]
    public void OnlyAWatchedPageIsOpenedAtOnce()
    {
        Assert.Null(_pages.OpenAtOnce(Gpa));
        CodePage page = _pages.Open(Gpa, out bool first, out _);
        Assert.True(first);
        Assert.Same(page, _pages.OpenAtOnce(Gpa));
        _pages.Close(page);
        Assert.Equal(CodeGranules.Everything, *_granules.Find(Gpa));
        _pages.Close(page);
        Assert.Null(_pages.OpenAtOnce(Gpa));
        Assert.Equal(0ul, *_granules.Find(Gpa));
    }

    /// <summary>Somebody may be writing beside its code, or waits for those who may: the caller has to wait too.</summary>
    [Fact]
    public void APageThatIsWrittenToIsNotOpenedAtOnce()
    {
        CodePage page = _pages.Open(Gpa, out _, out _);
        page.Unsettle();
        Assert.Null(_pages.OpenAtOnce(Gpa));
        page.Settle();
        SlotFlags.Set(page.Flags, PageFlags.WrittenBesideCode);
        Assert.Null(_pages.OpenAtOnce(Gpa));
        Assert.Equal(1, page.Translators);

        Assert.Same(page, _pages.Open(Gpa, out _, out bool beside));
        Assert.True(beside);
        Assert.Same(page, _pages.OpenAtOnce(Gpa));
    }

    [Fact]
    public void APageThatIsGoneIsNotFoundAgain()
    {
        CodePage gone = _pages.Open(Gpa, out _, out _);
        _pages.ForgetRange(0, 1 << 20);
        Assert.Null(_pages.OpenAtOnce(Gpa));
        Assert.NotSame(gone, _pages.Open(Gpa, out bool first, out _));
        Assert.True(first);
    }
}
