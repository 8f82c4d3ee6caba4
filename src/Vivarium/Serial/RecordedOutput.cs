using Vivarium.Devices;

namespace Vivarium.Serial;

/// <summary>Keeps what a guest writes in mind, and passes it on.</summary>
internal sealed class RecordedOutput(ConsoleTranscript transcript, ISerialBackend next) : ISerialBackend
{
    public void Write(ReadOnlySpan<byte> bytes)
    {
        transcript.Append(bytes);
        next.Write(bytes);
    }
}
