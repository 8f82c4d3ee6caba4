using System.Net;
using System.Runtime.InteropServices;
using Vivarium.Cli.Guests;
using Vivarium.Cli.Machines;
using Vivarium.Cli.Statistics;
using Vivarium.Cli.Terminal;
using Vivarium.Network;

namespace Vivarium.Cli.Verbs;

/// <summary>One <c>viv run</c>: machine, registration, terminal and signals from start to exit status.</summary>
internal sealed class RunSession
{
    private const int SignalStatus = 128;

    private readonly RunOptions _options;
    private readonly MachineFolder _folder;
    private readonly BackgroundChild? _background;
    private MachineSpec _spec;
    private MachineRecord _record;

    private RunSession(RunOptions options, MachineSpec spec, MachineFolder folder, BackgroundChild? background)
    {
        _options = options;
        _spec = spec;
        _folder = folder;
        _background = background;
        _record = new MachineRecord
        {
            Name = folder.Name,
            Pid = Environment.ProcessId,
            Stage = MachineStage.Starting,
            Guest = options.Guest ?? (options.Kernel is { } kernel ? Path.GetFullPath(kernel) : options.Firmware!.Text),
            Started = DateTimeOffset.UtcNow,
            Memory = spec.Memory,
            Cpus = 1,
            Background = options.Background,
            Log = background is null ? null : folder.Log,
        };
    }

    public static int Run(RunOptions options)
    {
        CheckWhatToRun(options);
        // A slip in the options must not wait for a download.
        MachineSpec draft = MachinePlan.Draft(options);
        BackgroundChild? background = BackgroundChild.Take();
        if (options.Background && background is null)
        {
            // Here, where the terminal shows the progress; the child finds everything at hand.
            CheckName(options.Name);
            _ = Obtain(options, options.Rebuild);
            return BackgroundRun.Start(options);
        }

        using MachineFolder folder = MachineRegistry.Open().Claim(options.Name);
        return new RunSession(options, draft, folder, background).RunAsync().GetAwaiter().GetResult();
    }

    private static void CheckWhatToRun(RunOptions options)
    {
        if (options.Guest is ['-', ..])
        {
            // The parser takes an option that it does not know for the guest's name.
            throw new InvalidInputException($"unknown option '{options.Guest}'; see viv run --help");
        }

        if (options.Guest is null && options.Kernel is null && options.Firmware is null)
        {
            throw new InvalidInputException("say what to run: viv run linux, or viv run --kernel FILE, or viv run --virt full to start a PC's firmware");
        }

        if (options is { BootOrder: not null, Firmware: null })
        {
            throw new InvalidInputException("--boot tells firmware what to try, and this machine starts a kernel; leave out one of them");
        }

        if (NetworkBoot.IsWanted(options) && options.Network.Network is NetworkOption.None)
        {
            throw new InvalidInputException("--boot net needs a network card, and --net none leaves it out; leave out one of them");
        }

        if (options.Guest is not null && options.Kernel is not null)
        {
            throw new InvalidInputException($"'{options.Guest}' brings its own kernel; leave out either the name or --kernel");
        }

        if (options is { Kernel: null, Firmware: not null } && ((options.Initrd ?? options.Append) is not null || options.Modules.Count != 0))
        {
            throw new InvalidInputException($"{(options.Initrd is not null ? "--initrd" : options.Append is not null ? "--append" : "--module")} goes with --kernel, and this machine starts its firmware");
        }

        CheckDisplay(options);
        if (options.Kernel is null && options.Initrd is not null)
        {
            throw new InvalidInputException($"'{options.Guest}' brings its own initrd; --initrd goes with --kernel");
        }

        if (options.Guest is null && (options.Persist || options.Rebuild))
        {
            throw new InvalidInputException($"{(options.Persist ? "--persist" : "--rebuild")} goes with a guest that viv knows by name, for example viv run debian");
        }

        if (options.Persist && options.Ephemeral)
        {
            throw new InvalidInputException("--persist keeps what the guest writes and --ephemeral throws it away; leave out one of them");
        }

        if (options.Persist)
        {
            PersistentGuest.Check(GuestCatalog.Find(options.Guest!));
        }
    }

    private static void CheckDisplay(RunOptions options)
    {
        if (options.Display.Kind == DisplayKind.None)
        {
            return;
        }

        if (options.Virtualization == Virtualization.Para)
        {
            throw new InvalidInputException("a --virt para machine has no screen to show; leave out --display, or write --virt full for a PC that has one");
        }

        if (options.Display.Kind == DisplayKind.Text && options.Background)
        {
            throw new InvalidInputException("a machine in the background has no terminal; write --display vnc to look in with a VNC viewer, or take pictures with viv screenshot");
        }

        if (options.Display.Kind == DisplayKind.Text && !ScreenTerminal.IsPossible)
        {
            throw new InvalidInputException("--display text needs a terminal for input and output; write --display none or vnc");
        }
    }

    private static void CheckName(string? name)
    {
        MachineRegistry registry = MachineRegistry.Open();
        if (name is not null)
        {
            registry.Claim(name).Dispose();
        }
    }

    private static BootSet? Obtain(RunOptions options, bool rebuild)
    {
        if (options.Guest is null)
        {
            return null;
        }

        IGuest guest = GuestCatalog.Find(options.Guest);
        return options.Persist
            ? PersistentGuest.Obtain(guest, options.Name ?? guest.Name, rebuild)
            : guest.Obtain(GuestCache.Default, rebuild);
    }

    private Stream? OpenDebugOutput()
    {
        try
        {
            return _options.DebugConsole switch
            {
                null => null,
                "-" => new StandardOutput(),
                { } path => new FileStream(path, FileMode.Create, FileAccess.Write, FileShare.Read, bufferSize: 0),
            };
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or ArgumentException)
        {
            throw new InvalidInputException($"cannot write the debug output to '{_options.DebugConsole}': {e.Message}", e);
        }
    }

    private async Task<int> RunAsync()
    {
        if (_options.Guest is not null || _options.Firmware is not null)
        {
            // Who looks while files are fetched sees what is being started. Otherwise it is running soon.
            _folder.Write(_record);
        }

        BootSet? boot = Obtain(_options, _options.Rebuild && _background is null);
        MachinePlan plan = MachinePlan.Complete(_spec, _options, boot, _folder.Name);
        _spec = plan.Spec with { Firmware = _options.Firmware?.Obtain(GuestCache.Default, _options.Name) };
        if (NetworkBoot.IsWanted(_options))
        {
            _spec = NetworkBoot.GiveRoms(_spec, _options.Firmware!, GuestCache.Default);
        }

        await using VirtualMachine machine = VirtualMachine.Create(_spec);
        await using Stream? output = _options.Serial.OpenOutput();
        await using var console = new ConsoleHub(output);
        machine.Console.Output = console;
        await using Stream? debugOutput = OpenDebugOutput();
        machine.DebugOutput = debugOutput;
        MachineConsole line = machine.Console;
        if (machine.VirtioConsole is { } virtio)
        {
            virtio.Output = console;
            line = virtio;
        }

        using var serialLines = new SerialEnds(_options.MoreSerial, machine);
        using var ports = new PortSockets(_options.Ports, machine);
        machine.Warned = Notices.Say;
        _record = plan.Describe(_record, [.. plan.AnyPort.Select(machine.ForwardPort)], _folder);
        var running = new RunningMachine(machine, line, console, _record);
        await using var control = new ControlServer(_folder.Socket, running);
        SayWhatIsMissing(boot);
        await using VncDisplay? vnc = _options.Display.Kind == DisplayKind.Vnc ? VncDisplay.Open(_options.Display, machine, _folder.Name) : null;
        vnc?.Start(_options.Display);
        SayHowToLogIn(boot);
        SayHowToDebug(machine);
        try
        {
            return await RunOnTerminalAsync(machine, line, console, running, control).ConfigureAwait(false);
        }
        catch (Exception e) when (_background is not null)
        {
            RememberEnd(new EndRecord(ExitStatus.Failure, e.Message));
            throw;
        }
    }

    private async Task<int> RunOnTerminalAsync(VirtualMachine machine, MachineConsole line, ConsoleHub console, RunningMachine running, ControlServer control)
    {
        int signalled = 0;
        MachineExit exit;
        bool showsScreen = _options.Display.Kind == DisplayKind.Text;
        MachineConsole? typed = _options.Serial.Kind == SerialKind.Stdio ? line : SerialEnds.OnTerminal(_options.MoreSerial, machine);
        bool takesKeys = showsScreen || typed is not null;
        using (RawTerminal? terminal = takesKeys ? RawTerminal.Enter(showsScreen ? ScreenTerminal.LeaveForPrintf : "") : null)
        using (ScreenTerminal? screen = showsScreen ? ScreenTerminal.Enter(machine.Screen!) : null)
        {
            void EndBySignal(PosixSignalContext context)
            {
                context.Cancel = true;
                signalled = SignalStatus + NumberOf(context.Signal);
                screen?.Dispose();
                terminal?.Dispose();
                _ = machine.StopAsync();
            }

            using var onTerminate = PosixSignalRegistration.Create(PosixSignal.SIGTERM, EndBySignal);
            using var onHangup = PosixSignalRegistration.Create(PosixSignal.SIGHUP, EndBySignal);
            using var onInterrupt = PosixSignalRegistration.Create(PosixSignal.SIGINT, EndBySignal);
            using var onQuit = PosixSignalRegistration.Create(PosixSignal.SIGQUIT, EndBySignal);
            using var onContinue = PosixSignalRegistration.Create(PosixSignal.SIGCONT, _ => terminal?.Apply());
            AppDomain.CurrentDomain.UnhandledException += (_, _) => terminal?.Dispose();

            // The guest comes first: what the host wants of the machine is made ready while it runs.
            machine.Start();
            control.Open();
            if (takesKeys)
            {
                new StandardInput(showsScreen ? new ScreenKeyboard(machine.Keyboard) : new GuestKeyboard(typed!), terminal is not null, asked => Obey(asked, machine)).Start();
            }

            _folder.Write(_record);
            _background?.Started(_record);
            exit = await machine.WaitAsync().ConfigureAwait(false);
        }

        console.Complete();
        if (_options.Statistics)
        {
            Notices.Block(StatisticsTable.Format(MachineSample.Take(machine.Statistics)));
        }

        foreach (EgressCounters egress in machine.Egress.Where(egress => egress.Refused.Count != 0))
        {
            Notices.Say($"--net-allow has refused {egress.Refused.Values.Sum()} packets of the guest, the last to {egress.LastRefused ?? "somewhere"}");
        }

        // Its disks are closed before anybody is told that it has ended.
        await machine.DisposeAsync().ConfigureAwait(false);
        EndRecord end = ExitReport.Understand(exit, _spec.Timeout);
        if (signalled != 0)
        {
            end = new EndRecord(signalled, $"viv was ended by signal {signalled - SignalStatus}");
        }
        else
        {
            ExitReport.Say(exit, end);
        }

        RememberEnd(end);
        running.End(end);
        return end.Status;
    }

    private void SayWhatIsMissing(BootSet? boot)
    {
        // Debian's cloud kernel, which the guests that viv knows run, has no drivers for classic cards.
        if (boot is not null && _spec.Networks.Any(network => network.Model is null && _spec.Virtualization == Virtualization.Full))
        {
            Notices.Say("the guest's kernel has no driver for the classic network card of --virt full; --net user,model=virtio mixes in a card that it knows");
        }
    }

    private void SayHowToLogIn(BootSet? boot)
    {
        foreach (IGrouping<string, GuestLogin> logins in (boot?.Logins ?? []).GroupBy(login => login.Password))
        {
            string ssh = _record.Ssh is null ? "" : $"; viv ssh {_folder.Name} needs none";
            Notices.Say($"log in as {string.Join(" or ", logins.Select(login => login.User))}, password {logins.Key}{ssh}");
        }
    }

    private void SayHowToDebug(VirtualMachine machine)
    {
        if (machine.GdbEndPoint is { } place)
        {
            string waits = _spec.Gdb!.Wait ? "the guest waits for GDB" : "GDB may come";
            Notices.Say($"{waits}: in gdb, target remote {place}");
            if (!IPAddress.IsLoopback(place.Address))
            {
                Notices.Say($"whoever can reach {place} owns the guest: GDB's protocol asks for no password");
            }
        }
    }

    /// <summary>Nobody watched a background machine; how it failed is kept for viv ps -a.</summary>
    private void RememberEnd(EndRecord end)
    {
        if (_background is not null && end.Status != ExitStatus.Success)
        {
            _folder.Write(_record with { Stage = MachineStage.Ended, Ended = end });
        }
    }

    private void Obey(ConsoleCommand asked, VirtualMachine machine)
    {
        switch (asked)
        {
            case ConsoleCommand.End:
                _ = machine.StopAsync();
                break;
            case ConsoleCommand.Detach:
                Notices.Say($"this viv is the machine, so it cannot leave it; start it with viv run -d to come and go by viv console {_folder.Name}");
                break;
            default:
                Notices.Say(Notices.Keys);
                break;
        }
    }

    private static int NumberOf(PosixSignal signal) => signal switch
    {
        PosixSignal.SIGHUP => 1,
        PosixSignal.SIGINT => 2,
        PosixSignal.SIGQUIT => 3,
        _ => 15,
    };
}
