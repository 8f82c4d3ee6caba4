using System.CommandLine;
using System.Net;
using System.Net.Sockets;
using Vivarium.Cli.Machines;
using Vivarium.Cli.Machines.Host;

namespace Vivarium.Cli.Verbs;

/// <summary><c>viv ssh</c>: the host's ssh, told where the machine's sshd is, which key opens it, and what host key to expect.</summary>
internal static class SshVerb
{
    private const string Client = "ssh";
    private static readonly TimeSpan s_bannerPatience = TimeSpan.FromSeconds(5);
    private static readonly TimeSpan s_pause = TimeSpan.FromMilliseconds(250);

    public static Command Build()
    {
        var name = new Argument<string>("name") { Description = "A machine that viv ps lists" };
        var words = new Argument<string[]>("command") { Description = "What to run there, after --; a shell if left out", Arity = ArgumentArity.ZeroOrMore };
        var user = new Option<string?>("--user", "-l") { HelpName = "USER", Description = "The account to log in to" };
        var timeout = new Option<string>("--timeout") { HelpName = "TIME", Description = "How long to wait for the guest's sshd, for example while it boots", DefaultValueFactory = _ => "60s" };
        var ssh = new Command("ssh", "Log in to a machine, or run a command there.") { name, words, user, timeout };
        ssh.SetAction(parsed => Connect(parsed.GetValue(name)!, parsed.GetValue(words) ?? [], parsed.GetValue(user), RunOptions.ParseTimeout(parsed.GetValue(timeout)!)));
        return ssh;
    }

    private static int Connect(string name, string[] command, string? user, TimeSpan patience)
    {
        MachineRegistry registry = MachineRegistry.Open();
        MachineEntry machine = registry.Find(name);
        SshRecord ssh = machine.Record?.Ssh ?? throw new InvalidInputException(
            $"viv knows no way to log in to '{name}': nothing of this host leads to its port 22; start it with --publish 2222:22");
        string program = FindClient() ?? throw new InvalidInputException("there is no ssh on this host; install Debian's package openssh-client");
        WaitForServer(registry, machine, ssh, patience);
        return HostProgram.Become(program, Words(machine, ssh with { User = user ?? ssh.User }, command));
    }

    /// <summary>The command line; what the user has configured for other hosts stays out of it.</summary>
    internal static IReadOnlyList<string> Words(MachineEntry machine, SshRecord ssh, IReadOnlyList<string> command)
    {
        string knownHosts = Path.Combine(machine.Folder, MachineEntry.KnownHostsFile);
        if (ssh.HostKey is not null)
        {
            File.WriteAllText(knownHosts, $"{machine.Name} {ssh.HostKey}\n");
        }

        List<string> words =
        [
            Client,
            "-F", "none",
            "-o", $"HostKeyAlias={machine.Name}",
            "-o", $"UserKnownHostsFile={Quoted(knownHosts)}",
            "-o", "GlobalKnownHostsFile=none",
            "-o", $"StrictHostKeyChecking={(ssh.HostKey is null ? "accept-new" : "yes")}",
            "-o", "CheckHostIP=no",
            "-o", "LogLevel=ERROR",
            "-p", ssh.Port.ToString(System.Globalization.CultureInfo.InvariantCulture),
            "-l", ssh.User,
        ];
        if (ssh.KeyFile is not null)
        {
            words.AddRange(["-i", ssh.KeyFile, "-o", "IdentitiesOnly=yes"]);
        }

        return [.. words, "--", ssh.Address, .. command];
    }

    /// <summary>Values of options are split at blanks, except between quotes (ssh_config(5)).</summary>
    private static string Quoted(string path) => path.Contains(' ', StringComparison.Ordinal) ? $"\"{path}\"" : path;

    private static string? FindClient() => (Environment.GetEnvironmentVariable("PATH") ?? "")
        .Split(':', StringSplitOptions.RemoveEmptyEntries)
        .Select(folder => Path.Combine(folder, Client))
        .FirstOrDefault(file => File.Exists(file) && (File.GetUnixFileMode(file) & (UnixFileMode.UserExecute | UnixFileMode.GroupExecute | UnixFileMode.OtherExecute)) != 0);

    /// <summary>A forwarded port takes connections before the guest does, so only the server's first words count.</summary>
    private static void WaitForServer(MachineRegistry registry, MachineEntry machine, SshRecord ssh, TimeSpan patience)
    {
        long end = Environment.TickCount64 + (long)patience.TotalMilliseconds;
        while (!Greets(ssh))
        {
            if (!registry.IsHeld(machine.Folder))
            {
                throw new VivariumException($"machine '{machine.Name}' has ended");
            }

            if (Environment.TickCount64 >= end)
            {
                throw new VivariumException($"no sshd has answered in '{machine.Name}' within {patience.TotalSeconds:0.###} s; see with viv console {machine.Name} how far it is, or give it longer with --timeout");
            }

            Thread.Sleep(s_pause);
        }
    }

    private static bool Greets(SshRecord ssh)
    {
        using var socket = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        try
        {
            using var deadline = new CancellationTokenSource(s_bannerPatience);
            socket.ConnectAsync(new IPEndPoint(IPAddress.Parse(ssh.Address), ssh.Port), deadline.Token).AsTask().GetAwaiter().GetResult();
            socket.ReceiveTimeout = (int)s_bannerPatience.TotalMilliseconds;
            Span<byte> greeting = stackalloc byte[4];
            int length = 0;
            while (length < greeting.Length && socket.Receive(greeting[length..]) is > 0 and int count)
            {
                length += count;
            }

            return greeting.SequenceEqual("SSH-"u8);
        }
        catch (Exception e) when (e is SocketException or OperationCanceledException)
        {
            return false;
        }
    }
}
