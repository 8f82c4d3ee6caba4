using static Iced.Intel.AssemblerRegisters;
using static Vivarium.Engine.Tests.Snippets.SnippetMachine;

namespace Vivarium.Engine.Tests.Snippets;

/// <summary>Where time goes, and where in the guest exits happen, while somebody wants to know.</summary>
public sealed class MeasurementTests
{
    [Fact]
    public void TimesAreBookedOnWhatWentOn()
    {
        var times = new VcpuTimes();
        times.Resume(VcpuActivity.Monitor);
        Thread.Sleep(2);
        Assert.True(times.Of(VcpuActivity.Monitor) >= TimeSpan.FromMilliseconds(1), "what goes on does not count");
        times.Enter(VcpuActivity.Idle);
        times.Pause();
        TimeSpan idle = times.Of(VcpuActivity.Idle), monitor = times.Of(VcpuActivity.Monitor);
        Thread.Sleep(2);
        Assert.Equal((idle, monitor), (times.Of(VcpuActivity.Idle), times.Of(VcpuActivity.Monitor)));
        Assert.Equal(TimeSpan.Zero, times.Of(VcpuActivity.Guest));

        // A last call of the vCPU's thread that came too late.
        times.Enter(VcpuActivity.Guest);
        Thread.Sleep(2);
        Assert.Equal(TimeSpan.Zero, times.Of(VcpuActivity.Guest));
    }

    [Fact]
    public void AnExitsTimeRunsUntilTheGuestGoesOnOrTheNextExit()
    {
        var times = new VcpuTimes();
        times.Resume(VcpuActivity.Guest);
        times.Enter(VcpuActivity.Monitor);
        Thread.Sleep(2);
        times.Begin(ExitCause.Mmio);
        times.Enter(VcpuActivity.Devices);
        Thread.Sleep(2);
        times.Enter(VcpuActivity.Monitor);
        times.Begin(ExitCause.Exception);
        TimeSpan mmio = times.Of(ExitCause.Mmio);
        Assert.True(mmio >= TimeSpan.FromMilliseconds(3), "what comes before the first count, and in devices, does not count");
        times.Enter(VcpuActivity.Guest);
        Assert.Equal(mmio, times.Of(ExitCause.Mmio));
        Assert.True(times.Of(ExitCause.Exception) > TimeSpan.Zero);
        TimeSpan waited = times.Of(VcpuActivity.Monitor) + times.Of(VcpuActivity.Devices);
        Assert.InRange((waited - mmio - times.Of(ExitCause.Exception)).Ticks, -2, 2);
    }

    [Fact]
    public void FrequentSitesStayAmongAnyNumberOfRareOnes()
    {
        const ulong often = 0xFFFF_FFFF_8100_0000, less = 0x40_1000;
        var sites = new ExitSites();
        for (ulong i = 0; i < 100_000; i++)
        {
            sites.Add(ExitCause.TlbMiss, i * 3);
            if (i % 10 == 0)
            {
                sites.Add(ExitCause.TlbMiss, often, 2);
            }

            if (i % 20 == 0)
            {
                sites.Add(ExitCause.TlbMiss, less, 2);
            }
        }

        IReadOnlyList<ExitSite> top = ExitSites.Top([sites], ExitCause.TlbMiss, 3);
        Assert.Equal([often, less], top.Take(2).Select(site => site.Rip));
        Assert.InRange(top[0].Count, 15_000, 20_000);
        Assert.True(top[2].Count < 2_000, $"a rare site claims {top[2].Count}");
        Assert.Empty(ExitSites.Top([sites], ExitCause.Mmio, 3));
        Assert.Equal(2 * top[0].Count, ExitSites.Top([sites, sites], ExitCause.TlbMiss, 1)[0].Count);
    }

    [Fact]
    public void SitesAreTheInstructionsThatLeft()
    {
        using SnippetMachine m = Long();
        m.Write(c =>
        {
            c.xor(eax, eax);
            c.cpuid();
            c.mov(rbx, __[Data]);
            c.@out(0x80, al);
            c.hlt();
        });
        m.RunToEnd();
        Assert.Null(m.Cpu.Statistics.Times);

        m.Cpu.Measure(true);
        m.Cpu.Measure(true);
        m.Restart(Code);
        m.RunToEnd();
        Assert.Equal([new ExitSite(Code + 2, 1)], Sites(m, ExitCause.Cpuid));
        Assert.Equal(2, m.Cpu.Statistics.Exits(ExitCause.Cpuid));
        Assert.Equal([new ExitSite(Code + 12, 1)], Sites(m, ExitCause.PortIo));
        Assert.True(m.Cpu.Statistics.Times!.Of(ExitCause.Cpuid) > TimeSpan.Zero);
        Assert.True(m.Cpu.Statistics.Times.Of(VcpuActivity.Devices) > TimeSpan.Zero);

        m.Cpu.Measure(false);
        TimeSpan guest = m.Cpu.Statistics.Times.Of(VcpuActivity.Guest);
        m.Restart(Code);
        m.RunToEnd();
        Assert.Equal([new ExitSite(Code + 2, 1)], Sites(m, ExitCause.Cpuid));
        Assert.Equal(guest, m.Cpu.Statistics.Times.Of(VcpuActivity.Guest));
        Assert.Equal(3, m.Cpu.Statistics.Exits(ExitCause.Cpuid));
    }

    [Fact]
    public void TlbMissesAndWalksLinksAndTranslatedBytesAreCounted()
    {
        using SnippetMachine m = Long();
        m.Cpu.Measure(true);
        m.Write(c =>
        {
            c.mov(rbx, __[Data]);
            c.mov(rbx, __[Data + 8]);
            c.hlt();
        });
        m.RunToEnd();
        VcpuStatistics statistics = m.Cpu.Statistics;
        Assert.Equal(1, statistics.TlbMisses);
        Assert.Equal([new ExitSite(Code, 13)], Sites(m, ExitCause.TlbMiss));
        Assert.True(statistics.PageWalks >= 2, "neither the data nor the code was walked for");
        Assert.Equal(1, statistics.Exits(ExitCause.Translation));
        Assert.InRange(statistics.GuestBytesTranslated, 17, 64);
    }

    private static IReadOnlyList<ExitSite> Sites(SnippetMachine m, ExitCause cause) => ExitSites.Top([m.Cpu.Statistics.Sites!], cause, 10);
}
