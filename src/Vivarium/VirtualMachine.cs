using System.Net;
using System.Net.Sockets;
using Vivarium.Board;
using Vivarium.Cpu;
using Vivarium.Debugging;
using Vivarium.Devices;
using Vivarium.Engine;
using Vivarium.Firmware;
using Vivarium.Firmware.Boot;
using Vivarium.Expect;
using Vivarium.Gdb;
using Vivarium.Input;
using Vivarium.Metrics;
using Vivarium.Network;
using Vivarium.Profiling;
using Vivarium.Serial;
using Vivarium.Tracing;

namespace Vivarium;

/// <summary>
/// One virtual machine, from its specification to its end.
/// <code>
/// await using var machine = VirtualMachine.Create(new MachineSpec { Kernel = "bzImage", CommandLine = "console=ttyS0" });
/// machine.Console.Output = Console.OpenStandardOutput();
/// machine.Start();
/// MachineExit exit = await machine.WaitAsync();
/// </code>
/// </summary>
public sealed class VirtualMachine : IAsyncDisposable
{
    /// <summary>How long an ended machine waits for a slow reader of its output.</summary>
    private static readonly TimeSpan s_outputPatience = TimeSpan.FromSeconds(2);

    private readonly MachineSpec _spec;
    private readonly PlatformLayout _layout;
    private readonly BootSource _boot;
    private readonly CpuModel _model;
    private readonly MachineParts _parts;
    private readonly Warnings _warnings = new();
    private readonly TaskCompletionSource<MachineExit> _exit = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly GuestOutput _debugOutput = new("debug output");
    private readonly Lock _lock = new();
    private readonly GdbServer? _gdb;
    private readonly TextWatcher _watcher;
    private PowerCycle? _cycle;
    private Thread? _thread;
    private Timer? _timeout;
    private CycleEnd? _asked;
    private readonly MachineTrace? _trace;
    private readonly PerfMap? _perfMap;
    private int _measurements;
    private bool _disposed;

    private VirtualMachine(MachineSpec spec, PlatformLayout layout, BootSource boot, CpuModel model)
    {
        _parts = MachineParts.Open(spec, _warnings.Say);
        CpuidResult processor = model.Cpuid(1, 0, default);
        layout = layout with
        {
            VirtioMmioCount = spec.Virtio.Transport == VirtioTransport.Mmio ? _parts.VirtioDevices : 0,
            ProcessorSignature = processor.Eax,
            ProcessorFeatures = processor.Edx,
        };
        _spec = spec;
        _layout = layout;
        _boot = boot;
        _model = model;
        _measurements = spec.MeasureTimes ? 1 : 0;
        _watcher = new TextWatcher((_parts.VirtioConsole ?? Console).Transcript, () => _parts.Screen?.ReadText());
        try
        {
            _trace = spec.Trace is { } trace ? new MachineTrace(trace, _warnings.Say) : null;
            _perfMap = spec.PerfMap is { } map ? new PerfMap(map, _warnings.Say) : null;
            _gdb = spec.Gdb is { } gdb ? OpenGdb(gdb) : null;
            _cycle = StartCycle(debuggerWaits: spec.Gdb is { Wait: true });
        }
        catch
        {
            _gdb?.DisposeAsync().AsTask().Wait();
            _perfMap?.Dispose();
            _trace?.Dispose();
            _parts.Dispose();
            throw;
        }
    }

    /// <summary>The guest's first serial line.</summary>
    public MachineConsole Console { get; } = new();

    /// <summary>All serial lines of the guest (<see cref="MachineSpec.SerialPorts"/>), COM1's first, which is <see cref="Console"/>.</summary>
    public IReadOnlyList<MachineConsole> SerialLines => [Console, .. _parts.MoreSerialLines];

    /// <summary>The guest's virtio console; null unless <see cref="MachineSpec.VirtioConsole"/> asks for one.</summary>
    public MachineConsole? VirtioConsole => _parts.VirtioConsole;

    /// <summary>The guest's keyboard, for typing and for those who pass on keys.</summary>
    public MachineKeyboard Keyboard => _parts.Keyboard;

    /// <summary>The guest's mouse.</summary>
    public MachinePointer Pointer => _parts.Pointer;

    /// <summary>The guest's virtio console ports (<see cref="MachineSpec.Ports"/>) by name.</summary>
    public IReadOnlyDictionary<string, MachineConsole> Ports => _parts.Ports;

    /// <summary>What a monitor on the guest's video card shows; null if it has none (<see cref="Virtualization.Para"/>).</summary>
    public MachineScreen? Screen => _parts.Screen;

    /// <summary>Receives what the guest writes to port 0xE9; null (the default) discards it. Set before <see cref="Start"/>.</summary>
    public Stream? DebugOutput
    {
        get => _debugOutput.Target;
        set => _debugOutput.Target = value;
    }

    /// <summary>
    /// Receives a sentence when something goes wrong and the machine goes on: a disk that the host cannot write, a driver
    /// that breaks the rules. Called on any thread; each sentence once. Set before <see cref="Start"/>.
    /// </summary>
    public Action<string>? Warned
    {
        get => _warnings.Target;
        set => _warnings.Target = value;
    }

    /// <summary>Where a debugger can come to (<see cref="MachineSpec.Gdb"/>), with the port that was chosen; null for nowhere.</summary>
    public IPEndPoint? GdbEndPoint => _gdb?.EndPoint;

    /// <summary>Counters of the present (or last) power cycle.</summary>
    public MachineStatistics Statistics { get; private set; } = new();

    /// <summary>Builds the machine, checking all of its specification. Nothing runs yet.</summary>
    /// <exception cref="InvalidInputException">The specification cannot work; the message says why.</exception>
    /// <exception cref="VivariumException">The host refuses something.</exception>
    public static VirtualMachine Create(MachineSpec spec)
    {
        ArgumentNullException.ThrowIfNull(spec);
        spec.Validate();
        CpuModel.BeginMeasurement();
        PlatformLayout layout = LayOut(spec);
        BootSource? boot = null;
        try
        {
            boot = BootSource.Open(spec, layout);
            return new VirtualMachine(spec, layout, boot, EngineFactory.CreateModel(spec.Cpu, spec.Cpus, showHypervisor: spec.Virtualization == Virtualization.Para));
        }
        catch (Exception e)
        {
            boot?.Dispose();
            if (e is BootException)
            {
                throw new InvalidInputException(e.Message, e);
            }

            throw;
        }
    }

    /// <summary>Switches the machine on.</summary>
    public void Start()
    {
        lock (_lock)
        {
            ObjectDisposedException.ThrowIf(_disposed, this);
            if (_thread is not null)
            {
                throw new InvalidOperationException("the machine was started already");
            }

            _thread = new Thread(RunCycles) { IsBackground = true, Name = "vcpu 0" };
            _thread.Start();

            // Most guests write to it soon; meanwhile this thread has nothing better to do.
            Console.StartOutput();
            MachineMetrics.Add(this, _spec.Name);
            _gdb?.Start();
            if (_spec.Timeout is { } limit)
            {
                _timeout = new Timer(_ => Ask(new CycleEnd(CycleEndKind.TimedOut)), null, limit, Timeout.InfiniteTimeSpan);
            }
        }
    }

    /// <summary>Waits until the machine has ended and says why.</summary>
    public Task<MachineExit> WaitAsync(CancellationToken cancellation = default) => _exit.Task.WaitAsync(cancellation);

    /// <summary>Ends the machine at once, as by pulling the plug, and waits until it has ended.</summary>
    public async Task StopAsync()
    {
        lock (_lock)
        {
            if (_thread is null)
            {
                return;
            }
        }

        Ask(new CycleEnd(CycleEndKind.Stopped));
        _ = await _exit.Task.ConfigureAwait(false);
    }

    /// <summary>
    /// Measures where the processors' time goes and where in the guest's code exits happen (<see cref="MachineStatistics.Time(VcpuActivity)"/>,
    /// <see cref="MachineStatistics.Sites"/>), which slows them down a little, until what this returns is disposed of. Several may
    /// ask for it at once. Across resets.
    /// </summary>
    public IDisposable Measure()
    {
        AddMeasurement(1);
        return new Measurement(this);
    }

    /// <summary>Presses the power button of the case: an ACPI guest that listens shuts itself down. From any thread.</summary>
    public void PressPowerButton()
    {
        lock (_lock)
        {
            if (!_disposed)
            {
                _cycle?.PressPowerButton();
            }
        }
    }

    /// <summary>
    /// Waits until the guest has written a text to its serial line (or virtio console), or shows it on its screen in a text mode. All
    /// counts that is still known, also what came before the question or has scrolled off.
    /// </summary>
    /// <param name="onlyNew">Search only what has come since the last text that was found so.</param>
    /// <returns>Where it was found; null if it has not come within <paramref name="patience"/>.</returns>
    /// <exception cref="VivariumException">The machine has ended without it.</exception>
    public async Task<FoundText?> ExpectAsync(TextPattern pattern, TimeSpan patience, TextSource source = TextSource.Any, bool onlyNew = false, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(pattern);
        using var ended = CancellationTokenSource.CreateLinkedTokenSource(cancellation);
        Task<FoundText?> watch = _watcher.WaitAsync(pattern, source, onlyNew, patience, ended.Token);
        if (await Task.WhenAny(watch, _exit.Task).ConfigureAwait(false) == watch)
        {
            return await watch.ConfigureAwait(false);
        }

        // What it said last counts.
        await ended.CancelAsync().ConfigureAwait(false);
        return await _watcher.WaitAsync(pattern, source, onlyNew, TimeSpan.Zero, cancellation).ConfigureAwait(false)
            ?? throw new VivariumException($"the machine ended without saying '{pattern}'");
    }

    /// <summary>
    /// Puts a medium into a drive, whatever was in it before, as a person at the machine would; from any thread.
    /// </summary>
    /// <param name="drive">cd, cd2, ..., floppy or floppy2.</param>
    /// <param name="path">The image; what can be in a drive is what its option takes.</param>
    /// <exception cref="InvalidInputException">There is no such drive, or the file is no medium for it; the message says why.</exception>
    public void InsertMedium(string drive, string path)
    {
        lock (_lock)
        {
            ObjectDisposedException.ThrowIf(_disposed, this);
            _parts.FindDrive(drive).Insert(path);
        }
    }

    /// <summary>Takes the medium out of a drive, if there is one; from any thread.</summary>
    /// <param name="drive">cd, cd2, ..., floppy or floppy2.</param>
    /// <param name="force">Also if the guest has locked the drive.</param>
    /// <exception cref="InvalidInputException">There is no such drive.</exception>
    /// <exception cref="VivariumException">The guest has locked the drive; it was told that somebody wants the medium.</exception>
    public void EjectMedium(string drive, bool force = false)
    {
        lock (_lock)
        {
            ObjectDisposedException.ThrowIf(_disposed, this);
            _parts.FindDrive(drive).Eject(force);
        }
    }

    /// <summary>
    /// Opens a port of the host that leads to the guest, through the machine's first user network. Host port 0 takes any
    /// free one; the answer says which. It stays open until the machine is disposed of.
    /// </summary>
    /// <exception cref="InvalidInputException">There is no user network, or the port cannot be had; the message says why.</exception>
    public PortForward ForwardPort(PortForward forward)
    {
        ArgumentNullException.ThrowIfNull(forward);
        return (_parts.Networks.FirstOrDefault(network => network.Spec.Network is NetworkOption.User)
            ?? throw new InvalidInputException("this machine has no user network to forward ports to")).AddForward(forward);
    }

    /// <summary>What the machine's lists of allowed destinations have let out and refused, one for each card that has such a list.</summary>
    public IReadOnlyList<EgressCounters> Egress => [.. _parts.Networks.Select(network => network.Egress).OfType<EgressCounters>()];

    /// <summary>
    /// Asks the guest for this much of its memory, in bytes, which goes back to the host; 0 lets it have all again. It takes its
    /// time, and may give less: <see cref="ReadBalloonAsync"/> tells how much. The target holds across resets.
    /// </summary>
    /// <exception cref="InvalidInputException">There is no balloon, or not so much memory.</exception>
    public void SetBalloonTarget(ulong bytes)
    {
        if (bytes > _spec.Memory)
        {
            throw new InvalidInputException($"the balloon cannot take {ByteSize.Format(bytes)} of a machine that has {ByteSize.Format(_spec.Memory)} of memory");
        }

        lock (_lock)
        {
            VirtioBalloon? balloon = FindBalloon();
            _parts.BalloonTarget = bytes;
            if (balloon is not null)
            {
                balloon.Target = bytes;
            }
        }
    }

    /// <summary>
    /// The state of the machine's memory. The guest is asked for its figures, and waited for no longer than
    /// <paramref name="patience"/>: then they are those that it gave last.
    /// </summary>
    /// <exception cref="InvalidInputException">The machine has no balloon.</exception>
    /// <exception cref="VivariumException">The machine has ended, or is just being reset.</exception>
    public Task<BalloonStatistics> ReadBalloonAsync(TimeSpan patience)
    {
        VirtioBalloon? balloon = LockedBalloon();
        BalloonGuestStatistics? before = balloon?.Statistics;
        return AskBalloonAsync(balloon, balloon => balloon.RequestStatistics(), balloon => !ReferenceEquals(before, balloon.Statistics), patience);
    }

    /// <summary>
    /// Asks the guest once for all its free pages (free page hinting), which go back to the host, and waits until it has given
    /// them, but no longer than <paramref name="patience"/>.
    /// </summary>
    /// <exception cref="InvalidInputException">The machine has no balloon.</exception>
    /// <exception cref="VivariumException">The machine has ended, or is just being reset, or has no driver that can do it.</exception>
    public Task<BalloonStatistics> CollectFreePagesAsync(TimeSpan patience) => AskBalloonAsync(
        LockedBalloon(),
        balloon => balloon.RequestHints() ? true : throw new VivariumException("no driver in the guest can tell its free pages; is it still booting?"),
        balloon => !balloon.IsHinting,
        patience);

    public async ValueTask DisposeAsync()
    {
        lock (_lock)
        {
            if (_disposed)
            {
                return;
            }

            _disposed = true;
        }

        await StopAsync().ConfigureAwait(false);
        if (_gdb is not null)
        {
            await _gdb.DisposeAsync().ConfigureAwait(false);
        }

        if (_timeout is not null)
        {
            await _timeout.DisposeAsync().ConfigureAwait(false);
        }

        _cycle?.Dispose();
        MachineMetrics.Remove(this);
        _perfMap?.Dispose();
        _trace?.Dispose();
        _parts.Dispose();
        Console.Close();
        _debugOutput.Close(s_outputPatience);
        _boot.Dispose();
    }

    private void AddMeasurement(int change)
    {
        lock (_lock)
        {
            _measurements += change;
            if (!_disposed)
            {
                _cycle?.Measure(_measurements != 0);
            }
        }
    }

    private VirtioBalloon? LockedBalloon()
    {
        lock (_lock)
        {
            return FindBalloon();
        }
    }

    /// <summary>Null while the machine is between two power cycles; lock held.</summary>
    private VirtioBalloon? FindBalloon() => _parts.HasBalloon
        ? _disposed ? null : _cycle?.Balloon
        : throw new InvalidInputException("this machine has no memory balloon; run it with --balloon on to have one");

    private async Task<BalloonStatistics> AskBalloonAsync(VirtioBalloon? balloon, Func<VirtioBalloon, bool> ask, Func<VirtioBalloon, bool> isAnswered, TimeSpan patience)
    {
        if (balloon is not null)
        {
            var answered = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
            void Look()
            {
                if (isAnswered(balloon))
                {
                    _ = answered.TrySetResult();
                }
            }

            balloon.Changed += Look;
            try
            {
                if (ask(balloon))
                {
                    _ = await Task.WhenAny(answered.Task, Task.Delay(patience)).ConfigureAwait(false);
                }
            }
            finally
            {
                balloon.Changed -= Look;
            }
        }

        lock (_lock)
        {
            return (_disposed ? null : _cycle?.DescribeBalloon()) ?? throw new VivariumException("the machine has ended or is just being reset");
        }
    }

    private void RunCycles()
    {
        MachineExit exit;
        try
        {
            exit = RunUntilLastCycle().ToExit();
        }
        catch (Exception e)
        {
            // Whatever it is, it is reported to whoever waits and not to the runtime, which would end the process.
            exit = new MachineExit(ExitKind.Failed, e is VivariumException or BootException ? e.Message : $"the monitor failed: {e}");
        }

        Console.Close();
        _parts.CloseConsoles();
        _debugOutput.Close(s_outputPatience);
        _exit.SetResult(exit);
    }

    private CycleEnd RunUntilLastCycle()
    {
        int resets = 0;
        while (true)
        {
            PowerCycle cycle = _cycle!;
            Statistics = cycle.Statistics(resets);
            CycleEnd end = cycle.Run();
            if (end.Kind != CycleEndKind.Reset || _spec.OnReboot == RebootPolicy.End)
            {
                return end;
            }

            resets++;
            lock (_lock)
            {
                cycle.Dispose();
                _cycle = null;
                if (_asked is not null)
                {
                    return _asked;
                }

                _cycle = StartCycle(debuggerWaits: false);
            }
        }
    }

    /// <summary>Ends the present power cycle, or the next if a reset is just under way. The first reason stands.</summary>
    private void Ask(CycleEnd end)
    {
        lock (_lock)
        {
            _asked ??= end;
            _cycle?.End(_asked);
        }

        // A vCPU that waits for a reader of its output is let go.
        Console.ReleaseWriters();
        _parts.ReleaseWriters();
    }

    /// <summary>
    /// What the board is to have and the tables are to tell. A guest that knows that it is virtual needs no keyboard
    /// controller, and no HPET beside its paravirtual clock; why the rest of the old devices stays is in docs/compare.md.
    /// </summary>
    internal static PlatformLayout LayOut(MachineSpec spec)
    {
        bool classic = spec.Virtualization == Virtualization.Full;
        return new PlatformLayout
        {
            MemorySize = spec.Memory,
            CpuCount = spec.Cpus,
            Identity = classic ? PlatformIdentity.ClassicPc : PlatformIdentity.Vivarium,
            SerialPorts = [.. PlatformLayout.PcSerialPorts.Take(spec.SerialPorts)],
            HasParallelPort = classic,
            HasMultiprocessorTable = classic,
            Gpe0Block = AcpiPm.GpeBase,
            SleepTypeS5 = AcpiPm.SleepTypeS5,
            HasHpet = classic,
            HasKeyboardController = spec.HasKeyboardController,
            HasMouse = spec.HasKeyboardController,
        };
    }

    private PowerCycle StartCycle(bool debuggerWaits)
    {
        var cycle = new PowerCycle(_spec, _layout, _boot, _model, _parts, Console, WriteDebugByte, debuggerWaits);
        cycle.Measure(_measurements != 0);
        _trace?.Attach(cycle.Vcpus);
        if (_perfMap is not null)
        {
            _perfMap.BeginAnew();
            cycle.Observe(_perfMap);
        }

        return cycle;
    }

    private GdbServer OpenGdb(GdbSpec gdb)
    {
        try
        {
            return GdbServer.Open(gdb.EndPoint, FindDebugTarget);
        }
        catch (SocketException e)
        {
            throw new InvalidInputException($"cannot wait for a debugger on {gdb.EndPoint}: {e.Message}; take another port, or 0 for any free one", e);
        }
    }

    private CycleDebugger? FindDebugTarget()
    {
        lock (_lock)
        {
            return _disposed ? null : _cycle?.Debugger;
        }
    }

    private void WriteDebugByte(byte value) => _debugOutput.Write([value]);

    private sealed class Measurement(VirtualMachine machine) : IDisposable
    {
        private int _ended;

        public void Dispose()
        {
            if (Interlocked.Exchange(ref _ended, 1) == 0)
            {
                machine.AddMeasurement(-1);
            }
        }
    }
}
