using Vivarium.Memory;

namespace Vivarium.Devices.Tests;

/// <summary>A network that keeps what it is sent, and whether all of it lay in RAM (cards that make frames send their own memory).</summary>
internal sealed unsafe class TestNetwork(GuestMemory memory, bool strict = true) : INetworkBackend
{
    private INetworkSink? _sink;

    public List<(byte[] Frame, FrameOffload Offload)> Sent { get; } = [];

    public NetworkOffloads? Accepted { get; private set; }

    public int ReadyCalls { get; private set; }

    public int SentCount { get; private set; }

    /// <summary>A segment was not in RAM.</summary>
    public bool Strayed { get; private set; }

    public bool KeepsFrames { get; set; } = true;

    public NetworkOffloads Offloads { get; init; } = NetworkOffloads.Checksum | NetworkOffloads.Tso4 | NetworkOffloads.Tso6;

    public NetworkOffloads ReceiveOffloads => Offloads;

    public int Mtu { get; init; } = 9000;

    public void Attach(INetworkSink sink) => _sink = sink;

    public void SetReceiveOffloads(NetworkOffloads accepted) => Accepted = accepted;

    public void Send(ReadOnlySpan<IoSegment> frame, in FrameOffload offload)
    {
        SentCount++;
        foreach (var segment in frame)
        {
            var inside = !strict;
            foreach (var slot in memory.Slots)
            {
                var offset = (ulong)(segment.Address - slot.Host);
                inside |= offset < slot.Length && segment.Length <= slot.Length - offset;
            }
            Strayed |= !inside;
        }
        if (!KeepsFrames)
            return;
        var bytes = new List<byte>();
        foreach (var segment in frame)
            bytes.AddRange(segment.Span);
        Sent.Add(([.. bytes], offload));
    }

    public void Flush()
    {
    }

    /// <summary>Called when the guest may have room again.</summary>
    public Action? Ready { get; set; }

    public void ReceiveReady()
    {
        ReadyCalls++;
        Ready?.Invoke();
    }

    /// <summary>A frame comes for the guest.</summary>
    public bool Bring(ReadOnlySpan<byte> frame, FrameOffload offload = default)
    {
        var taken = _sink!.TryReceive(frame, offload);
        _sink.Flush();
        return taken;
    }
}
