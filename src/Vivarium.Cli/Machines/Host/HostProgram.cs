using System.Runtime.InteropServices;

namespace Vivarium.Cli.Machines.Host;

/// <summary>Programs of the host in the place of this one.</summary>
internal static unsafe class HostProgram
{
    private const nint DefaultAction = 0;

    /// <summary>
    /// Replaces this process by a program (execve(2)), which thus has this one's terminal, signals and exit status for its own.
    /// Returns only by an exception.
    /// </summary>
    public static int Become(string program, IReadOnlyList<string> words)
    {
        var arguments = new nint[words.Count + 1];
        for (int i = 0; i < words.Count; i++)
        {
            arguments[i] = Marshal.StringToCoTaskMemUTF8(words[i]);
        }

        // .NET ignores SIGPIPE, and what is ignored stays so in the new program.
        _ = Linux.SetSignalAction(Linux.SignalPipe, DefaultAction);
        fixed (nint* list = arguments)
        {
            _ = Linux.Execute(program, list);
        }

        throw new VivariumException($"cannot run {program}: {Marshal.GetLastPInvokeErrorMessage()}");
    }
}
