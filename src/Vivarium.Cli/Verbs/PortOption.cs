namespace Vivarium.Cli.Verbs;

/// <summary><c>--port NAME=SOCKET</c>: a virtio console port of the guest, and the Unix socket of this host that leads to it.</summary>
internal sealed record PortOption(string Name, string Socket)
{
    /// <exception cref="InvalidInputException">The text is no port; the message says why.</exception>
    public static PortOption Parse(string text)
    {
        int equals = text.IndexOf('=', StringComparison.Ordinal);
        return equals > 0 && equals < text.Length - 1
            ? new PortOption(text[..equals], text[(equals + 1)..])
            : throw new InvalidInputException($"'{text}' is no port; write --port NAME=SOCKET, for example --port agent=/tmp/agent.sock");
    }
}
