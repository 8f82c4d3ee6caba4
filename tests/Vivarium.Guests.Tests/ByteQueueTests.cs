using Vivarium.Serial;
using Xunit;

namespace Vivarium.Guests.Tests;

/// <summary>The queue between a guest's serial line and the host.</summary>
public sealed class ByteQueueTests
{
    [Fact]
    public async Task Bytes_come_out_in_order_however_they_went_in()
    {
        var queue = new ByteQueue(64);
        byte[] sent = new byte[100_000];
        new Random(1).NextBytes(sent);
        Task writer = Task.Run(() =>
        {
            var sizes = new Random(2);
            for (int at = 0; at < sent.Length;)
            {
                int part = Math.Min(sizes.Next(1, 200), sent.Length - at);
                Assert.True(queue.Write(sent.AsSpan(at, part)));
                at += part;
            }

            queue.Close();
        }, TestContext.Current.CancellationToken);
        var received = new List<byte>();
        byte[] buffer = new byte[37];
        while (queue.Read(buffer) is > 0 and int count)
        {
            received.AddRange(buffer.AsSpan(0, count));
        }

        await writer;
        Assert.Equal(sent, received);
    }

    [Fact]
    public void A_full_queue_refuses_and_keeps_what_it_has()
    {
        var queue = new ByteQueue(4);
        Assert.True(queue.TryWrite([1, 2, 3]));
        Assert.False(queue.TryWrite([4, 5]));
        Assert.True(queue.TryWrite([4]));
        byte[] buffer = new byte[8];
        Assert.Equal(4, queue.Read(buffer));
        Assert.Equal([1, 2, 3, 4], buffer[..4]);
    }

    [Fact]
    public async Task Closing_lets_a_waiting_writer_go()
    {
        var queue = new ByteQueue(4);
        Task<bool> writer = Task.Run(() => queue.Write(new byte[10]), TestContext.Current.CancellationToken);
        await Task.Delay(50, TestContext.Current.CancellationToken);
        queue.Close();
        Assert.False(await writer);
        Assert.Equal(4, queue.Read(new byte[10]));
        Assert.Equal(0, queue.Read(new byte[10]));
    }
}
