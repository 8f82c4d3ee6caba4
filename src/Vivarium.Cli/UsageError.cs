using System.CommandLine;
using System.CommandLine.Parsing;

namespace Vivarium.Cli;

/// <summary>One sentence about the first thing that is wrong with a command line.</summary>
internal static class UsageError
{
    public static string Explain(ParseResult parsed)
    {
        string verb = parsed.CommandResult.Command is RootCommand ? "viv" : $"viv {Words(parsed.CommandResult)}";
        string? unknown = parsed.UnmatchedTokens.FirstOrDefault(token => token.StartsWith('-')) ?? parsed.UnmatchedTokens.FirstOrDefault();
        if (unknown is not null)
        {
            string kind = unknown.StartsWith('-') ? "option" : parsed.CommandResult.Command is RootCommand ? "verb" : "argument";
            return $"unknown {kind} '{unknown}'; see {verb} --help";
        }

        return $"{parsed.Errors[0].Message.TrimEnd('.')}; see {verb} --help";
    }

    /// <summary>The command with those that it is under: <c>disk create</c>.</summary>
    private static string Words(CommandResult command) =>
        command.Parent is CommandResult { Command: not RootCommand } parent ? $"{Words(parent)} {command.Command.Name}" : command.Command.Name;
}
