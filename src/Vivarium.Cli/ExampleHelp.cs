using System.CommandLine;
using System.CommandLine.Help;
using System.CommandLine.Invocation;
using Vivarium.Cli.Verbs;

namespace Vivarium.Cli;

/// <summary>The usual help, and below it what people really type.</summary>
internal sealed class ExampleHelp(HelpAction usual) : SynchronousCommandLineAction
{
    private const string Root = """
        Examples:
          viv run linux                            boot Debian's kernel to a shell (fetched on first use)
          viv run --kernel bzImage --initrd cpio   boot your own
          viv run -d --name web debian             run Debian in the background (fetched on first use)
          viv ps                                   what runs on this host
          viv ssh web                              log in; viv console web looks at its serial console
          viv top web                              where its time goes
          viv stop web                             shut it down; viv kill web pulls the plug
          viv compare                              what mediation costs: the same work on two kinds of machine
          viv doctor                               what this host offers
          viv guest list                           guests that viv knows by name

        """;

    private const string Run = """
        Examples:
          viv run linux
          viv run linux --memory 2G --append "nokaslr"
          viv run --kernel vmlinuz --initrd initrd.img --append "console=ttyS0 quiet"
          viv run --kernel bzImage --serial file:boot.log --timeout 60s
          echo poweroff | viv run linux > boot.log
          viv run debian                                   Debian on a throw-away copy of its disk
          viv run debian --persist --name web              Debian that keeps its disk
          viv run -d --name web debian -p 8080:80          in the background, a port led into it
          viv run debian --disk data.qcow2,serial=data     one more disk, /dev/vdb
          viv run debian --disk set,,1.img,readonly        the file set,1.img
          viv run debian --net none --virtio mmio,packed
          viv run debian --vsock /tmp/guest.vsock          who connects to it and writes "CONNECT 5000" is at port 5000
          viv run linux --stats                            at the end, say where time went
          viv run linux --trace pio,irq --trace-file log   write down what happens (docs/observing.md)
          viv run linux --virt full                        a classic PC: the guest finds no hypervisor
          viv run debian --virt full --net user,model=virtio  ... with one virtio card mixed in

        Keys, when the terminal is the guest's console:
          Ctrl-A x        end the machine
          Ctrl-A Ctrl-A   send Ctrl-A to the guest
          Ctrl-A h        show these keys

        Exit status:
          0  the guest powered off (or rebooted, with --no-reboot; or you pressed Ctrl-A x)
          1  a failure of viv or its host
          2  wrong usage or input
          3  the guest crashed; a register dump is on stderr
          4  --timeout has passed
          n  the guest wrote v to port 0xF4: n = (v << 1) | 1
          128 + s  signal s ended viv

        """;

    private const string Compare = """
        Examples:
          viv compare                      boot linux on a --virt para and a --virt full machine and let it work
          viv compare debian --memory 2G   a whole system, with disks: virtio against IDE
          viv compare --json | jq '.para.work.exits'

        docs/compare.md explains each figure.

        """;

    private const string Doctor = """
        Examples:
          viv doctor                say what is here, what is missing, and what to do about it
          viv doctor > report.txt   for a bug report

        """;

    private const string Guest = """
        Examples:
          viv guest list            names, packages, and whether they are in the cache

        """;

    private const string Ps = """
        Examples:
          viv ps
          viv ps --json | jq -r '.[].name'
          viv ps -a                 also background machines that ended badly, and why

        """;

    private const string Top = """
        Examples:
          viv top web                       once a second, until Ctrl-C
          viv top web --once --interval 5s  what happened in the next five seconds
          viv top web --json --once | jq '.total.exits.tlbMiss'

        docs/observing.md explains each figure.

        """;

    private const string Stop = """
        Examples:
          viv stop web
          viv stop web --timeout 3m
          viv stop web --kill       kill it if it has not shut down after a minute

        Exit status:
          0  the machine has ended
          4  the guest has not shut down in time; the machine runs on

        """;

    private const string Kill = """
        Examples:
          viv kill web              like pulling the plug: what the guest has not written to its disk is lost

        """;

    private const string Attach = """
        Examples:
          viv console web
          echo uptime | viv console web

        Keys:
          Ctrl-A d        leave; the machine runs on
          Ctrl-A x        end the machine
          Ctrl-A Ctrl-A   send Ctrl-A to the guest
          Ctrl-A h        show these keys

        """;

    private const string Ssh = """
        Examples:
          viv ssh web                             a shell
          viv ssh web -- systemctl status         one command; its exit status is viv's
          viv ssh web --user debian -- id
          tar c folder | viv ssh web -- tar x     files, through a pipe

        """;

    /// <summary>Who asks for help may leave out what the command needs.</summary>
    public override bool ClearsParseErrors => true;

    public override int Invoke(ParseResult parseResult)
    {
        int status = usual.Invoke(parseResult);
        parseResult.InvocationConfiguration.Output.Write(ExamplesFor(parseResult.CommandResult.Command));
        return status;
    }

    private static string ExamplesFor(Command command) => command.Name switch
    {
        "run" => Run,
        "ps" => Ps,
        "stop" => Stop,
        "top" => Top,
        "kill" => Kill,
        "console" => Attach,
        "ssh" => Ssh,
        "compare" => Compare,
        "doctor" => Doctor,
        "guest" or "list" => Guest,
        _ => DiskVerb.ExamplesFor(command) ?? Root,
    };
}
