using Vivarium.Board;
using Vivarium.Debugging;
using Vivarium.Engine;
using Vivarium.Engine.Software;
using Xunit;

namespace Vivarium.Guests.Tests;

/// <summary>Guest time while a debugger has the machine.</summary>
public sealed class CycleDebuggerTests : IDisposable
{
    private readonly Scratch _scratch = new();

    public void Dispose() => _scratch.Dispose();

    [Fact]
    public void Time_runs_only_while_a_step_is_taken()
    {
        var spec = new MachineSpec { Virtualization = Virtualization.Full, Firmware = new FirmwareSpec { Path = _scratch.Write("bios", new byte[256 << 10]) }, Memory = 16 * ByteSize.MiB };
        var layout = VirtualMachine.LayOut(spec);
        using var parts = MachineParts.Open(spec, _ => { });
        using var boot = BootSource.Open(spec, layout);
        using var pc = new Pc(layout, parts, boot, new MachineConsole(), _ => { }, _ => { });
        var model = CpuModel.Create("host");
        using var engine = new SoftwareEngine(pc.Memory, model);
        using IVcpu processor = engine.CreateVcpu(0, pc.Buses[0]);
        var debugger = new CycleDebugger(pc, model, new CycleStop(), waits: true);
        debugger.Bind([processor], []);
        Assert.False(debugger.BeginStep());

        ulong last = 0;
        for (int i = 0; i < 3; i++)
        {
            debugger.Resume([true], stepping: true);
            Assert.True(pc.Clock.IsPaused);
            Assert.True(debugger.BeginStep());
            Assert.False(pc.Clock.IsPaused);
            ulong tsc = processor.Tsc;
            Assert.True(tsc > last);
            last = tsc;
            debugger.EndStep();
            Assert.True(pc.Clock.IsPaused);
            Assert.True(debugger.IsStopped);
        }

        debugger.Resume([true], stepping: false);
        Assert.False(pc.Clock.IsPaused);
        Assert.False(debugger.BeginStep());
        Assert.True(processor.Tsc > last);
    }
}
