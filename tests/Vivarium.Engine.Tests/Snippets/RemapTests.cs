using Vivarium.Engine.Software;
using Vivarium.Engine.Software.CodeCache;
using Vivarium.Engine.Software.Translate;
using Vivarium.Memory;
using static Iced.Intel.AssemblerRegisters;
using static Vivarium.Engine.Tests.Snippets.SnippetMachine;

namespace Vivarium.Engine.Tests.Snippets;

/// <summary>Memory that a device maps, moves and takes away while the guest runs: what the next instruction sees.</summary>
public sealed class RemapTests
{
    private const ulong Window = Code + 0x4000;
    private const byte MovEaxImmediate = 0xB8;
    private const byte Ret = 0xC3;

    [Fact]
    public void TheInstructionAfterTheChangeRunsWhatStandsThereNow()
    {
        using SnippetMachine m = Long();
        MemoryRegion first = Function(m, 1);
        MemoryRegion second = Function(m, 2);
        m.Memory.Map(Window, first, 0, first.Length);
        m.Bus.OnPortWrite = _ => m.Memory.Map(Window, second, 0, second.Length);
        m.Write(c =>
        {
            c.call(Window);
            c.mov(ebx, eax);
            c.@out(0x80, al);
            c.call(Window);
            c.hlt();
        });
        m.RunToEnd();
        Assert.Equal((1ul, 2ul), (m.Rbx, m.Rax));
    }

    [Fact]
    public void CodeThatTakesItselfAwayGoesOnInWhatReplacesIt()
    {
        using SnippetMachine m = Long();
        MemoryRegion after = m.Memory.Allocate(GuestMemory.PageSize);
        m.Bus.OnPortWrite = _ => m.Memory.Map(Code, after, 0, after.Length);
        m.Write(c =>
        {
            c.mov(ebx, 1);
            c.@out(0x80, al);
            c.mov(ebx, 2);
            c.hlt();
        });
        Span<byte> present = stackalloc byte[64];
        m.Memory.Read(Code, present);
        present.CopyTo(after.Bytes);
        int immediate = present.LastIndexOf((byte)2);
        after.Bytes[immediate] = 3;
        m.RunToEnd();
        Assert.Equal(3ul, m.Rbx);
    }

    [Fact]
    public void MemoryThatIsTakenAwayLeavesTheBus()
    {
        using SnippetMachine m = Long();
        m.Memory.Write(Window, 0x1122_3344u);
        m.Bus.OnPortWrite = _ => m.Memory.Unmap(Window, GuestMemory.PageSize);
        m.Rdi = Window;
        m.Write(c =>
        {
            c.mov(ebx, __dword_ptr[rdi]);
            c.mov(__dword_ptr[rdi + 4], ebx);
            c.@out(0x80, al);
            c.mov(__dword_ptr[rdi + 8], ebx);
            c.mov(ecx, __dword_ptr[rdi]);
            c.hlt();
        });
        m.RunToEnd();
        Assert.Equal(0x1122_3344ul, m.Rbx);
        Assert.Equal((Window + 8, 4, 0x1122_3344ul), Assert.Single(m.Bus.MmioWrites));
        Assert.Equal((Window, 4), Assert.Single(m.Bus.MmioReads));
    }

    [Fact]
    public void WritesToRomGoToTheBus()
    {
        using SnippetMachine m = Long();
        MemoryRegion rom = Function(m, 5);
        m.Memory.Map(Window, rom, 0, rom.Length, readOnly: true);
        m.Rdi = Window;
        m.Write(c =>
        {
            c.mov(__dword_ptr[rdi], 6);
            c.mov(ebx, __dword_ptr[rdi + 1]);
            c.call(Window);
            c.hlt();
        });
        m.RunToEnd();
        Assert.Equal((5ul, 5ul), (m.Rbx, m.Rax));
        Assert.Equal((Window, 4, 6ul), Assert.Single(m.Bus.MmioWrites));
    }

    [Fact]
    public void CodeOfARegionThatMovesIsFoundAtItsNewPlace()
    {
        using SnippetMachine m = Long();
        MemoryRegion region = Function(m, 1);
        m.Memory.Map(Window, region, 0, region.Length);
        m.Bus.OnPortWrite = _ =>
        {
            m.Memory.Unmap(Window, region.Length);
            m.Memory.Map(Window + 0x2000, region, 0, region.Length);
        };
        m.Rdi = Window + 0x2000;
        m.Write(c =>
        {
            c.call(Window);
            c.@out(0x80, al);
            c.call(Window + 0x2000);
            c.mov(ebx, eax);
            c.mov(__dword_ptr[rdi + 1], 9);
            c.call(Window + 0x2000);
            c.hlt();
        });
        m.RunToEnd();
        Assert.Equal((1ul, 9ul), (m.Rbx, m.Rax));
    }

    [Fact]
    public void DirtyPagesAreToldOnceAndAgainAfterTheNextWrite()
    {
        using SnippetMachine m = Long();
        MemoryRegion frame = m.Memory.Allocate(4 * GuestMemory.PageSize);
        m.Memory.Map(Window, frame, 0, frame.Length);
        List<string> seen = [];
        m.Bus.OnPortWrite = _ =>
        {
            bool[] dirty = new bool[4];
            m.Memory.TakeDirty(frame, 0, dirty);
            seen.Add(string.Concat(dirty.Select(page => page ? '*' : '.')));
        };
        m.Rdi = Window;
        m.Write(c =>
        {
            c.mov(__dword_ptr[rdi], eax);
            c.mov(__dword_ptr[rdi + 0x2000], eax);
            c.@out(0x80, al);
            c.@out(0x80, al);
            c.mov(__dword_ptr[rdi + 0x2004], eax);
            c.@out(0x80, al);
            c.hlt();
        });
        m.RunToEnd();
        Assert.Equal(["*.*.", "....", "..*."], seen);
    }

    /// <summary>A processor calls a function again and again while a device on another thread puts one or another in its place.</summary>
    [Fact]
    public void AnotherThreadThatRemapsIsNeverMissedForLong()
    {
        const int rounds = 200;
        using SnippetMachine m = Long();
        MemoryRegion[] functions = [Function(m, 1), Function(m, 2), Function(m, 3)];
        m.Memory.Map(Window, functions[0], 0, GuestMemory.PageSize);
        m.Rdi = Data;
        m.Write(c =>
        {
            Iced.Intel.Label again = c.CreateLabel();
            c.Label(ref again);
            c.call(Window);
            c.mov(__dword_ptr[rdi], eax);
            c.cmp(__dword_ptr[rdi + 4], 0);
            c.je(again);
            c.hlt();
        });
        string? failure = null;
        var device = new Thread(() =>
        {
            for (int round = 0; round < rounds && failure is null; round++)
            {
                int which = round % functions.Length;
                m.Memory.Map(Window, functions[which], 0, GuestMemory.PageSize);
                if (!SpinWait.SpinUntil(() => m.Memory.Read<uint>(Data) == which + 1, TimeSpan.FromSeconds(20)))
                {
                    failure = $"round {round}: {m.Memory.Read<uint>(Data)} is still run";
                }
            }

            m.Memory.Write(Data + 4, 1);
        });
        device.Start();
        m.RunToEnd();
        device.Join();
        Assert.Null(failure);
    }

    /// <summary>The map changes between the look at it and the translation, and the same memory stands there: its page is not watched any more.</summary>
    [Fact]
    public unsafe void APageThatWasMappedAgainMeanwhileIsNotTranslated()
    {
        using SnippetMachine m = Long();
        MemoryRegion function = Function(m, 7);
        m.Memory.Map(Window, function, 0, GuestMemory.PageSize);
        var model = CpuModel.Create("host");
        var rendezvous = new Rendezvous();
        using var code = new SharedCode(m.Memory, model, rendezvous, EngineOptions.Default, _ => { });
        using var vcpu = new SoftwareVcpu(0, m.Memory, model, m.Bus, code, rendezvous, tscOffset: 0);
        fixed (byte* bytes = function.Bytes)
        {
            var source = new CodeSource
            {
                Rip = Window,
                Linear = Window,
                Gpa = Window,
                CodeLimit = 0,
                Bytes = bytes,
                Length = (int)GuestMemory.PageSize,
                SecondPage = Block.NoPage,
            };
            for (int attempt = 0; attempt < 2; attempt++)
            {
                bool again = attempt == 0;
                CodePage page = code.BeginTranslation(vcpu, Window);
                if (again)
                {
                    m.Memory.Map(Window, function, 0, GuestMemory.PageSize);
                }

                Block block = code.Translate(source, BlockMode.Code64, [page], vcpu.Statistics, out bool moved);
                code.EndTranslation(page);
                Assert.Equal((again, !again), (moved, block.Exists));
            }
        }
    }

    private static MemoryRegion Function(SnippetMachine m, byte answer)
    {
        MemoryRegion region = m.Memory.Allocate(GuestMemory.PageSize);
        new byte[] { MovEaxImmediate, answer, 0, 0, 0, Ret }.CopyTo(region.Bytes);
        return region;
    }
}
