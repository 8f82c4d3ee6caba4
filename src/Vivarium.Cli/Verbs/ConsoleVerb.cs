using System.CommandLine;
using System.Net.Sockets;
using System.Runtime.InteropServices;
using Vivarium.Cli.Machines;
using Vivarium.Cli.Terminal;

namespace Vivarium.Cli.Verbs;

/// <summary><c>viv console</c>: this terminal becomes one more console of a running machine, which does not notice when it leaves.</summary>
internal static class ConsoleVerb
{
    private const int ChunkSize = 4096;
    private const int SignalStatus = 128;

    public static Command Build()
    {
        var name = new Argument<string>("name") { Description = "A machine that viv ps lists" };
        var console = new Command("console", "Attach this terminal to a machine's serial console.") { name };
        console.SetAction(parsed => Attach(MachineRegistry.Open().Find(parsed.GetValue(name)!)));
        return console;
    }

    private static int Attach(MachineEntry machine)
    {
        using ControlClient client = ControlClient.Connect(machine);
        _ = client.Ask(ControlVerb.Console);
        Socket socket = client.Socket;
        socket.ReceiveTimeout = 0;
        socket.SendTimeout = 0;
        int status = ExitStatus.Success;
        bool left = false;
        using (RawTerminal? terminal = RawTerminal.Enter())
        {
            void Leave(int with)
            {
                status = with;
                left = true;
                terminal?.Dispose();
                ShutDown(socket);
            }

            void LeaveBySignal(PosixSignalContext context)
            {
                context.Cancel = true;
                Leave(SignalStatus + (context.Signal switch { PosixSignal.SIGHUP => 1, PosixSignal.SIGINT => 2, PosixSignal.SIGQUIT => 3, _ => 15 }));
            }

            using var onTerminate = PosixSignalRegistration.Create(PosixSignal.SIGTERM, LeaveBySignal);
            using var onHangup = PosixSignalRegistration.Create(PosixSignal.SIGHUP, LeaveBySignal);
            using var onInterrupt = PosixSignalRegistration.Create(PosixSignal.SIGINT, LeaveBySignal);
            using var onQuit = PosixSignalRegistration.Create(PosixSignal.SIGQUIT, LeaveBySignal);
            using var onContinue = PosixSignalRegistration.Create(PosixSignal.SIGCONT, _ => terminal?.Apply());
            if (terminal is not null)
            {
                Notices.Say($"console of '{machine.Name}'; {Notices.ViewerKeys}");
            }

            new StandardInput(new SocketKeyboard(socket), terminal is not null, asked =>
            {
                switch (asked)
                {
                    case ConsoleCommand.Detach:
                        Leave(ExitStatus.Success);
                        break;
                    case ConsoleCommand.End:
                        KillQuietly(machine);
                        break;
                    default:
                        Notices.Say(Notices.ViewerKeys);
                        break;
                }
            }).Start();
            Show(socket);
        }

        if (RawTerminal.IsTerminal(Terminal.Host.Posix.StandardInput))
        {
            Notices.Say(left ? $"left '{machine.Name}', which runs on" : $"'{machine.Name}' has ended");
        }

        return status;
    }

    private static void Show(Socket socket)
    {
        using var output = new StandardOutput();
        byte[] buffer = new byte[ChunkSize];
        try
        {
            while (socket.Receive(buffer) is > 0 and int count)
            {
                output.Write(buffer.AsSpan(0, count));
            }
        }
        catch (SocketException)
        {
            // The machine's process died, or the terminal was left.
        }
    }

    /// <summary>Ends <see cref="Show"/>, which may have ended already: the machine can end while a key or a signal is acted on.</summary>
    private static void ShutDown(Socket socket)
    {
        try
        {
            socket.Shutdown(SocketShutdown.Both);
        }
        catch (Exception e) when (e is SocketException or ObjectDisposedException)
        {
            // Nothing is left to end.
        }
    }

    private static void KillQuietly(MachineEntry machine)
    {
        try
        {
            using ControlClient client = ControlClient.Connect(machine);
            _ = client.Ask(ControlVerb.Kill);
        }
        catch (VivariumException e)
        {
            Notices.Say(e.Message);
        }
    }
}
