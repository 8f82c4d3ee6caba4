namespace Vivarium.Cli.Terminal;

/// <summary>Where typed bytes go.</summary>
internal interface IKeyboard
{
    /// <summary>Hands over all bytes, waiting for room. False if nobody will take any more.</summary>
    bool Type(ReadOnlySpan<byte> keys);

    /// <summary>Hands over the bytes if there is room now; otherwise they are lost.</summary>
    bool TryType(ReadOnlySpan<byte> keys);
}

/// <summary>The console of a machine in this process.</summary>
internal sealed class GuestKeyboard(MachineConsole console) : IKeyboard
{
    public bool Type(ReadOnlySpan<byte> keys) => console.Send(keys);

    public bool TryType(ReadOnlySpan<byte> keys) => console.TrySend(keys);
}
