using CsCheck;

namespace Vivarium.Network.Tests;

public sealed class FrameQueueTests
{
    [Fact]
    public void Frames_come_out_as_they_went_in_and_never_more_than_fit() =>
        Gen.Int[-1, 300].Array[1, 200].Sample(steps =>
        {
            const int Capacity = 1000;
            var queue = new FrameQueue(Capacity);
            var model = new Queue<byte[]>();
            byte next = 0;
            foreach (var step in steps)
            {
                if (step < 0)
                {
                    Assert.Equal(model.Count == 0, queue.IsEmpty);
                    if (queue.IsEmpty)
                        continue;
                    var expected = model.Dequeue();
                    Assert.Equal(expected, queue.Peek(out var offload).ToArray());
                    Assert.Equal(expected.Length, offload.GsoSize);
                    queue.Dequeue();
                    continue;
                }
                var frame = new byte[step];
                frame.AsSpan().Fill(next++);
                if (queue.TryEnqueue(frame, new() { GsoSize = (ushort)step }))
                    model.Enqueue(frame);
                Assert.True(model.Sum(f => f.Length) <= Capacity);
            }
            while (model.TryDequeue(out var rest))
            {
                Assert.Equal(rest, queue.Peek(out _).ToArray());
                queue.Dequeue();
            }
            Assert.True(queue.IsEmpty);
        }, iter: 5_000);
}
