using System.Runtime.InteropServices;
using Vivarium.Cli.Guests;
using Vivarium.Cli.Terminal;

namespace Vivarium.Cli.Verbs;

/// <summary>One <c>viv run</c>: machine, terminal and signals from start to exit status.</summary>
internal static class RunSession
{
    private const int SignalStatus = 128;

    public static int Run(RunOptions options)
    {
        CheckWhatToRun(options);
        var spec = new MachineSpec
        {
            Kernel = options.Kernel ?? "",
            Initrd = options.Initrd,
            CommandLine = options.Append ?? "",
            Memory = options.Memory,
            Cpu = options.Cpu,
            Engine = options.Engine,
            OnReboot = options.NoReboot ? RebootPolicy.End : RebootPolicy.Restart,
            Timeout = options.Timeout,
        };
        // A slip in the options must not wait for a download.
        spec.Validate();
        if (options.Guest is not null)
        {
            BootSet boot = GuestCatalog.Find(options.Guest).Obtain(GuestCache.Default);
            spec = spec with { Kernel = boot.Kernel, Initrd = boot.Initrd, CommandLine = $"{boot.CommandLine} {spec.CommandLine}".TrimEnd() };
        }

        return RunAsync(spec, options).GetAwaiter().GetResult();
    }

    private static void CheckWhatToRun(RunOptions options)
    {
        if (options.Guest is ['-', ..])
        {
            // The parser takes an option that it does not know for the guest's name.
            throw new InvalidInputException($"unknown option '{options.Guest}'; see viv run --help");
        }

        if (options.Guest is null && options.Kernel is null)
        {
            throw new InvalidInputException("say what to run: viv run linux, or viv run --kernel FILE");
        }

        if (options.Guest is not null && options.Kernel is not null)
        {
            throw new InvalidInputException($"'{options.Guest}' brings its own kernel; leave out either the name or --kernel");
        }

        if (options.Kernel is null && options.Initrd is not null)
        {
            throw new InvalidInputException($"'{options.Guest}' brings its own initrd; --initrd goes with --kernel");
        }
    }

    private static Stream? OpenSerial(SerialTarget serial)
    {
        try
        {
            return serial.Kind switch
            {
                SerialKind.Stdio => new StandardOutput(),
                SerialKind.File => new FileStream(serial.Path!, FileMode.Create, FileAccess.Write, FileShare.Read, bufferSize: 0),
                _ => null,
            };
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or ArgumentException)
        {
            throw new InvalidInputException($"cannot write the serial output to '{serial.Path}': {e.Message}", e);
        }
    }

    private static async Task<int> RunAsync(MachineSpec spec, RunOptions options)
    {
        await using VirtualMachine machine = VirtualMachine.Create(spec);
        await using Stream? output = OpenSerial(options.Serial);
        machine.Console.Output = output;
        int signalled = 0;
        MachineExit exit;
        using (RawTerminal? terminal = options.Serial.Kind == SerialKind.Stdio ? RawTerminal.Enter() : null)
        {
            void EndBySignal(PosixSignalContext context)
            {
                context.Cancel = true;
                signalled = SignalStatus + NumberOf(context.Signal);
                terminal?.Dispose();
                _ = machine.StopAsync();
            }

            using var onTerminate = PosixSignalRegistration.Create(PosixSignal.SIGTERM, EndBySignal);
            using var onHangup = PosixSignalRegistration.Create(PosixSignal.SIGHUP, EndBySignal);
            using var onInterrupt = PosixSignalRegistration.Create(PosixSignal.SIGINT, EndBySignal);
            using var onQuit = PosixSignalRegistration.Create(PosixSignal.SIGQUIT, EndBySignal);
            using var onContinue = OperatingSystem.IsLinux() ? PosixSignalRegistration.Create(PosixSignal.SIGCONT, _ => terminal?.Apply()) : null;
            AppDomain.CurrentDomain.UnhandledException += (_, _) => terminal?.Dispose();

            if (options.Serial.Kind == SerialKind.Stdio)
            {
                new StandardInput(machine.Console, terminal is not null, asked => Obey(asked, machine)).Start();
            }

            machine.Start();
            exit = await machine.WaitAsync().ConfigureAwait(false);
        }

        if (options.Statistics)
        {
            Notices.Block(machine.Statistics.ToString());
        }

        return signalled != 0 ? signalled : Report(exit, spec);
    }

    private static void Obey(ConsoleCommand asked, VirtualMachine machine)
    {
        if (asked == ConsoleCommand.End)
        {
            _ = machine.StopAsync();
        }
        else
        {
            Notices.Say(Notices.Keys);
        }
    }

    private static int Report(MachineExit exit, MachineSpec spec)
    {
        switch (exit.Kind)
        {
            case ExitKind.Crashed:
                Notices.Say($"the guest crashed: {exit.Detail}");
                Notices.Block(exit.Registers ?? "");
                return ExitStatus.GuestCrashed;
            case ExitKind.TimedOut:
                Notices.Say($"the guest was still running after {spec.Timeout!.Value.TotalSeconds:0.###} s");
                return ExitStatus.Timeout;
            case ExitKind.DebugExit:
                return (int)((exit.Value << 1) | 1) & 0xFF;
            case ExitKind.Failed:
                Notices.Say($"{exit.Detail}");
                return ExitStatus.Failure;
            case ExitKind.Rebooted:
                Notices.Say("the guest rebooted");
                return ExitStatus.Success;
            default:
                return ExitStatus.Success;
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
