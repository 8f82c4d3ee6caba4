namespace Vivarium.Network;

/// <summary>A network that cannot be had. The message is one sentence for the user: the cause and the way out.</summary>
public sealed class NetworkException(string message) : Exception(message);
