using Vivarium.Cli.Terminal;

namespace Vivarium.Cli.Verbs;

internal enum SerialKind
{
    None,
    Stdio,
    File,

    /// <summary>A Unix socket that the guest's port listens on.</summary>
    Socket,
}

/// <summary>Where one of the guest's serial ports goes.</summary>
internal readonly record struct SerialTarget(SerialKind Kind, string? Path)
{
    public static readonly SerialTarget None = new(SerialKind.None, null);

    public static readonly SerialTarget Stdio = new(SerialKind.Stdio, null);

    /// <summary>What takes the port's output; null if nothing does, or a socket's client.</summary>
    /// <exception cref="InvalidInputException">The file cannot be written; the message says why.</exception>
    public Stream? OpenOutput()
    {
        try
        {
            return Kind switch
            {
                SerialKind.Stdio => new StandardOutput(),
                SerialKind.File => new FileStream(Path!, FileMode.Create, FileAccess.Write, FileShare.Read, bufferSize: 0),
                _ => null,
            };
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or ArgumentException)
        {
            throw new InvalidInputException($"cannot write the serial output to '{Path}': {e.Message}", e);
        }
    }
}
