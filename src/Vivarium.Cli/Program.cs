using System.CommandLine;
using System.CommandLine.Help;
using System.CommandLine.Parsing;
using System.Runtime.InteropServices;
using Vivarium.Cli.Guests;
using Vivarium.Cli.Verbs;

namespace Vivarium.Cli;

/// <summary>The <c>viv</c> command: parses the words, runs the verb, turns every error into one sentence and a status.</summary>
internal static class Program
{
    public static int Main(string[] args)
    {
        if (!OperatingSystem.IsLinux() || RuntimeInformation.ProcessArchitecture != Architecture.X64)
        {
            return Complain($"this host is {RuntimeInformation.RuntimeIdentifier}; viv needs Linux on x86-64", ExitStatus.Failure);
        }

        ManagedHeap.UseHugePage();

        // To start a machine soon, nothing is made of the other verbs; only help tells of them.
        Command root = args is ["run", ..] && !args.Any(AsksForHelp) ? RunVerb.Build() : BuildRoot();
        ParseResult parsed = root.Parse(args, new ParserConfiguration { ResponseFileTokenReplacer = null });
        if (parsed.Errors.Count > 0)
        {
            return Complain(UsageError.Explain(parsed), ExitStatus.Usage);
        }

        try
        {
            return parsed.Invoke(new InvocationConfiguration { EnableDefaultExceptionHandler = false, ProcessTerminationTimeout = null });
        }
        catch (InvalidInputException e)
        {
            return Complain(e.Message, ExitStatus.Usage);
        }
        catch (InterruptedException e)
        {
            return Complain(e.Message, ExitStatus.Signalled + e.Number);
        }
        catch (VivariumException e)
        {
            return Complain(e.Message, ExitStatus.Failure);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or OutOfMemoryException)
        {
            return Complain(e.Message, ExitStatus.Failure);
        }
        catch (Exception e)
        {
            // A mistake of ours; its place is worth more to whoever reads the report than the whole trace.
            e = e.GetBaseException();
            return Complain($"internal error: {e.GetType().Name}: {e.Message} {e.StackTrace?.Split('\n')[0].Trim()}", ExitStatus.Failure);
        }
    }

    private static bool AsksForHelp(string word) => word is "--help" or "-h" or "/h" or "-?" or "/?";

    private static RootCommand BuildRoot()
    {
        var root = new RootCommand("Vivarium runs complete virtual machines, on any host, without hardware support.")
        {
            RunVerb.Build(),
            PsVerb.Build(),
            StopVerb.Build(),
            KillVerb.Build(),
            ConsoleVerb.Build(),
            SshVerb.Build(),
            TypeVerb.Build(),
            KeyVerb.Build(),
            MouseVerb.Build(),
            ExpectVerb.Build(),
            MediumVerbs.BuildInsert(),
            MediumVerbs.BuildEject(),
            BalloonVerb.Build(),
            ScreenshotVerb.Build(),
            TopVerb.Build(),
            DiskVerb.Build(),
            CompareVerb.Build(),
            DoctorVerb.Build(),
            GuestVerb.Build(),
        };
        root.SetAction(SayWhatToDo);
        foreach (HelpOption help in root.Options.OfType<HelpOption>())
        {
            help.Action = new ExampleHelp((HelpAction)help.Action!);
        }

        return root;
    }

    private static int SayWhatToDo(ParseResult parsed) =>
        throw new InvalidInputException("say what to do, for example: viv run linux (viv --help shows all verbs)");

    private static int Complain(string sentence, int status)
    {
        Console.Error.WriteLine($"viv: {sentence.ReplaceLineEndings(" ").Trim()}");
        return status;
    }
}
