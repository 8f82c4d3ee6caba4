using System.Diagnostics.Metrics;
using System.Text.RegularExpressions;
using Vivarium.Cli.Guests;
using Vivarium.Engine.Software;
using Vivarium.Engine.Tracing;
using Vivarium.Guests.Tests.Debian;
using Vivarium.Tracing;
using Xunit;

namespace Vivarium.Guests.Tests;

/// <summary>What a machine tells of itself while it runs: trace files, metrics.</summary>
public sealed class TracingTests
{
    [Fact]
    public async Task A_trace_has_a_line_for_each_thing_with_time_and_place()
    {
        using var scratch = new Scratch();
        string path = Path.Combine(scratch.Folder, "trace");
        _ = await Run(scratch, new TraceSpec { Kinds = TraceKinds.Pio | TraceKinds.Exits, Path = path });
        string[] lines = File.ReadAllLines(path);
        Assert.StartsWith("# seconds vcpu rip what", lines[0]);
        string[] writes = [.. lines.Where(line => line.Contains(" pio write 3f8 ", StringComparison.Ordinal))];
        Assert.Equal(3, writes.Length);
        Assert.Matches(@"^\d+\.\d{9} 0 00000000001000[0-9a-f]{2} pio write 3f8 size 1 value 61$", writes[0]);
        Assert.Equal(4, lines.Count(line => line.EndsWith(" exit portIo", StringComparison.Ordinal)));
        double[] times = [.. lines.Skip(1).Select(line => double.Parse(line.Split(' ')[0], System.Globalization.CultureInfo.InvariantCulture))];
        Assert.Equal(times.Order(), times);
    }

    [Fact]
    public async Task A_full_disk_ends_the_trace_and_not_the_machine()
    {
        using var scratch = new Scratch();
        List<string> warnings = await Run(scratch, new TraceSpec { Kinds = TraceKinds.Exits, Path = "/dev/full" });
        Assert.Contains("tracing has ended, and the machine runs on: No space left on device", Assert.Single(warnings));
    }

    [Fact]
    public void A_trace_that_cannot_be_written_is_explained()
    {
        using var scratch = new Scratch();
        MachineSpec spec = new() { Kernel = scratch.Write("kernel", TinyKernel.Halt) };
        string missing = Path.Combine(scratch.Folder, "no", "trace");
        Explains("cannot write the trace to '", () => VirtualMachine.Create(spec with { Trace = new TraceSpec { Kinds = TraceKinds.Pio, Path = missing } }));
        Explains("is too small", () => VirtualMachine.Create(spec with { Trace = new TraceSpec { Kinds = TraceKinds.Pio, Path = "x", Size = 100 } }));
    }

    [Fact]
    public void A_trace_file_keeps_the_end_in_two_halves()
    {
        using var scratch = new Scratch();
        string path = Path.Combine(scratch.Folder, "trace");
        byte[] line = new byte[1000];
        using (var file = new TraceFile(path, 10_000))
        {
            for (byte i = 0; i < 33; i++)
            {
                line.AsSpan().Fill(i);
                file.Write(line);
            }
        }

        byte[] kept = [.. File.ReadAllBytes(path + ".old"), .. File.ReadAllBytes(path)];
        Assert.InRange(kept.Length, 5_000, 10_000);
        Assert.Equal(32, kept[^1]);
        Assert.Equal(33 - (kept.Length / 1000), kept[0]);
        Assert.Equal(2, Directory.GetFiles(scratch.Folder).Length);
    }

    [Fact]
    public async Task Listeners_get_measurements_tagged_by_machine_and_vcpu()
    {
        using var scratch = new Scratch();
        var seen = new Dictionary<string, long>();
        using var listener = new MeterListener { InstrumentPublished = (instrument, self) => Enable(instrument, self) };
        listener.SetMeasurementEventCallback<long>((instrument, value, tags, _) => Note(instrument, value, tags));
        listener.SetMeasurementEventCallback<double>((instrument, value, tags, _) => Note(instrument, (long)Math.Ceiling(value * 1e6), tags));
        listener.Start();
        var spec = new MachineSpec { Kernel = scratch.Write("kernel", TinyKernel.Print("abc")), Name = "metered", MeasureTimes = true };
        await using (VirtualMachine machine = VirtualMachine.Create(spec))
        {
            machine.Start();
            _ = await machine.WaitAsync(TestContext.Current.CancellationToken);
            listener.RecordObservableInstruments();
        }

        Assert.Equal(1, seen["vivarium.vcpu.count machine=metered"]);
        Assert.Equal(4, seen["vivarium.exits machine=metered vcpu=0 cause=portIo"]);
        Assert.True(seen["vivarium.blocks.translated machine=metered vcpu=0"] > 0);
        Assert.True(seen["vivarium.code_cache.used machine=metered"] > 0);
        Assert.True(seen["vivarium.tlb.misses machine=metered vcpu=0 level=2"] > 0);
        Assert.True(seen["vivarium.time machine=metered vcpu=0 activity=guest"] > 0);
        Assert.True(seen["vivarium.exit.time machine=metered vcpu=0 cause=portIo"] > 0);
        seen.Clear();
        listener.RecordObservableInstruments();
        Assert.DoesNotContain(seen.Keys, key => key.Contains("metered", StringComparison.Ordinal));

        static void Enable(Instrument instrument, MeterListener self)
        {
            if (instrument.Meter.Name == "Vivarium")
            {
                self.EnableMeasurementEvents(instrument);
            }
        }

        void Note(Instrument instrument, long value, ReadOnlySpan<KeyValuePair<string, object?>> tags)
            => seen[$"{instrument.Name} {string.Join(' ', tags.ToArray().Select(tag => $"{tag.Key}={tag.Value}"))}"] = value;
    }

    [Fact]
    public async Task Linux_boots_and_works_amid_kicks_flushes_and_evictions()
    {
        BootSet boot = TestGuests.Cloud61;
        var spec = new MachineSpec
        {
            Kernel = boot.Kernel,
            Initrd = boot.Initrd,
            CommandLine = boot.CommandLine,
            Cpus = 2,
            EngineOptions = EngineOptions.Parse("chaos=1"),
            Timeout = TimeSpan.FromMinutes(10),
        };
        TimeSpan patience = TimeSpan.FromMinutes(5);
        await using var machine = new LibraryMachine(spec);
        _ = machine.Expect("# ", patience);
        machine.Send("seq 1 20000 | md5sum; echo do''ne\n");
        Match answer = machine.Expect(@"([0-9a-f]{32})[\s\S]*^done\r?$", patience);
        Assert.Equal("e071f707df7bbeee2a6a1eb48011ddd0", answer.Groups[1].Value);
        Assert.True(machine.Machine.Statistics.CodeCache.Evictions > 0, "nothing was evicted");
    }

    private static async Task<List<string>> Run(Scratch scratch, TraceSpec trace)
    {
        var warnings = new List<string>();
        var spec = new MachineSpec { Kernel = scratch.Write("kernel", TinyKernel.Print("abc")), Trace = trace };
        await using VirtualMachine machine = VirtualMachine.Create(spec);
        machine.Warned = warnings.Add;
        machine.Start();
        Assert.Equal(ExitKind.DebugExit, (await machine.WaitAsync(TestContext.Current.CancellationToken)).Kind);
        return warnings;
    }

    private static void Explains(string explanation, Action action) =>
        Assert.Contains(explanation, Assert.Throws<InvalidInputException>(action).Message);
}
