namespace Vivarium.Network.Tests;

internal static class EgressFilterExtensions
{
    public static EgressRefusal? Decide(this EgressFilter filter, byte[] frame, FrameOffload offload = default) =>
        filter.Decide(frame, offload, FrameHeaders.Parse(frame));
}
