namespace Vivarium.Network;

/// <summary>A network behind an egress filter, whatever kind it is. It owns the network.</summary>
public sealed unsafe class FilteredNetwork(INetworkBackend network, EgressFilter filter) : INetworkBackend
{
    private readonly Lock _lock = new();

    /// <summary>What is judged is what is sent: the guest's own memory may change in between.</summary>
    private readonly byte[] _frame = GC.AllocateUninitializedArray<byte>(Ethernet.MaximumFrame, pinned: true);
    private volatile INetworkSink? _sink;

    public EgressFilter Filter => filter;

    public NetworkOffloads Offloads => network.Offloads;

    public NetworkOffloads ReceiveOffloads => network.ReceiveOffloads;

    public int Mtu => network.Mtu;

    public void Attach(INetworkSink sink)
    {
        _sink = sink;
        network.Attach(new Observer(filter, sink));
    }

    public void SetReceiveOffloads(NetworkOffloads accepted) => network.SetReceiveOffloads(accepted);

    public void Send(ReadOnlySpan<FrameSegment> frame, in FrameOffload offload)
    {
        Span<byte> answer = stackalloc byte[RefusalFrame.Capacity];
        int answerLength;
        lock (_lock)
        {
            var copy = new ReadOnlySpan<byte>(_frame, 0, FrameSegment.Gather(frame, _frame));
            var headers = FrameHeaders.Parse(copy);
            if (filter.Decide(copy, offload, headers) is not { } reason)
            {
                fixed (byte* first = _frame)
                    network.Send([new FrameSegment(first, (nuint)copy.Length)], offload);
                return;
            }
            answerLength = RefusalFrame.Write(copy, headers, reason, answer);
        }

        // A guest without buffers does without the answer.
        if (answerLength != 0)
            _sink?.TryReceive(answer[..answerLength], new FrameOffload { Flags = FrameOffload.DataValid });
    }

    public void Flush() => network.Flush();

    public void ReceiveReady() => network.ReceiveReady();

    public void Dispose() => network.Dispose();

    private sealed class Observer(EgressFilter filter, INetworkSink sink) : INetworkSink
    {
        public bool TryReceive(ReadOnlySpan<byte> frame, in FrameOffload offload)
        {
            // Before the guest has it: its answer may follow at once.
            filter.Observe(frame);
            return sink.TryReceive(frame, offload);
        }

        public void Flush() => sink.Flush();
    }
}
