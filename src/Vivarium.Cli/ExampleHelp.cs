using System.CommandLine;
using System.CommandLine.Help;
using System.CommandLine.Invocation;

namespace Vivarium.Cli;

/// <summary>The usual help, and below it what people really type.</summary>
internal sealed class ExampleHelp(HelpAction usual) : SynchronousCommandLineAction
{
    private const string Root = """
        Examples:
          viv run linux                            boot Debian's kernel to a shell (fetched on first use)
          viv run --kernel bzImage --initrd cpio   boot your own
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

    private const string Doctor = """
        Examples:
          viv doctor                say what is here, what is missing, and what to do about it
          viv doctor > report.txt   for a bug report

        """;

    private const string Guest = """
        Examples:
          viv guest list            names, packages, and whether they are in the cache

        """;

    public override int Invoke(ParseResult parseResult)
    {
        int status = usual.Invoke(parseResult);
        parseResult.InvocationConfiguration.Output.Write(ExamplesFor(parseResult.CommandResult.Command));
        return status;
    }

    private static string ExamplesFor(Command command) => command.Name switch
    {
        "run" => Run,
        "doctor" => Doctor,
        "guest" or "list" => Guest,
        _ => Root,
    };
}
