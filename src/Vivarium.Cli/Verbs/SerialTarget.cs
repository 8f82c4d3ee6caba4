namespace Vivarium.Cli.Verbs;

internal enum SerialKind
{
    None,
    Stdio,
    File,
}

/// <summary>Where the guest's first serial port goes.</summary>
internal readonly record struct SerialTarget(SerialKind Kind, string? Path)
{
    public static readonly SerialTarget None = new(SerialKind.None, null);

    public static readonly SerialTarget Stdio = new(SerialKind.Stdio, null);
}
