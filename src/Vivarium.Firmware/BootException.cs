namespace Vivarium.Firmware;

/// <summary>
/// The machine cannot start with what it was given (kernel, initrd, command line, memory size).
/// The message is one sentence for the user: what is wrong and what to do about it.
/// </summary>
public sealed class BootException : Exception
{
    public BootException(string message) : base(message)
    {
    }

    public BootException(string message, Exception innerException) : base(message, innerException)
    {
    }
}
