using System.IO.Pipes;
using System.Text;
using Vivarium.Engine;
using Vivarium.Gdb.Registers;

namespace Vivarium.Gdb.Tests;

/// <summary>A client from its first byte to its last, good ones and bad ones.</summary>
public sealed class SessionTests
{
    private static readonly RegisterSet s_registers = RegisterSet.Create64(hasAvx: true);

    /// <summary>Sends all that it was given, then is gone; keeps what comes back.</summary>
    private sealed class Client(byte[] bytes, int piece = int.MaxValue) : Stream
    {
        private int _sent;

        public StringBuilder Received { get; } = new();

        public override bool CanRead => true;

        public override bool CanSeek => false;

        public override bool CanWrite => true;

        public override long Length => throw new NotSupportedException();

        public override long Position { get => throw new NotSupportedException(); set => throw new NotSupportedException(); }

        public override ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default)
        {
            int length = Math.Min(Math.Min(buffer.Length, piece), bytes.Length - _sent);
            bytes.AsSpan(_sent, length).CopyTo(buffer.Span);
            _sent += length;
            return ValueTask.FromResult(length);
        }

        public override ValueTask WriteAsync(ReadOnlyMemory<byte> buffer, CancellationToken cancellationToken = default)
        {
            _ = Received.Append(Encoding.Latin1.GetString(buffer.Span));
            return ValueTask.CompletedTask;
        }

        public override int Read(byte[] buffer, int offset, int count) => throw new NotSupportedException();

        public override void Write(byte[] buffer, int offset, int count) => throw new NotSupportedException();

        public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();

        public override void SetLength(long value) => throw new NotSupportedException();

        public override void Flush()
        {
        }
    }

    private static string Packet(string data)
    {
        var reply = new Reply();
        return Encoding.Latin1.GetString(reply.Text(data).Frame());
    }

    private static async Task<string> Talk(TestTarget target, string text, int piece = int.MaxValue)
    {
        using var client = new Client(Encoding.Latin1.GetBytes(text), piece);
        await new GdbSession(client, target, s_registers).RunAsync(TestContext.Current.CancellationToken);
        return client.Received.ToString();
    }

    [Theory]
    [InlineData(int.MaxValue)]
    [InlineData(1)]
    public async Task PacketsAreAcknowledgedUntilTheClientWantsNoMore(int piece)
    {
        using var target = new TestTarget();
        string all = await Talk(target, "+$qAttached#8f$g#00" + Packet("QStartNoAckMode") + Packet("qAttached"), piece);
        Assert.Equal("+$1#31-+$OK#9a$1#31", all);
        Assert.False(target.IsAttached);
        Assert.Equal(1, target.Detaches);
    }

    [Fact]
    public async Task WhoIsNoDebuggerIsSentAwayAndTheMachineRunsOn()
    {
        using var target = new TestTarget();
        Assert.Equal("", await Talk(target, "POST / HTTP/1.1\r\n\r\n" + Packet("k")));
        Assert.Equal("", await Talk(target, "\u0003+++"));
        Assert.Equal((0, false), (target.Stops, target.WasKilled));
    }

    [Fact]
    public async Task ALostReplyIsSentAgainButNotForEver()
    {
        using var target = new TestTarget();
        string all = await Talk(target, Packet("qAttached") + new string('-', 1000));
        Assert.Equal("+" + string.Concat(Enumerable.Repeat("$1#31", 17)), all);
    }

    [Fact]
    public async Task ATooLongPacketIsRefused()
    {
        using var target = new TestTarget();
        Assert.Equal("+$E1c#d9+$1#31", await Talk(target, Packet("m" + new string('0', PacketReader.MaxLength)) + Packet("qAttached")));
    }

    [Fact]
    public async Task WhatAClientHasChangedCountsWhenItIsGone()
    {
        using var target = new TestTarget();
        _ = await Talk(target, Packet("P0=0100000000000000"));
        Assert.Equal(1u, target.StateOf(0).Gpr[0]);
    }

    [Fact]
    public async Task OnlyOneDebuggerAtATime()
    {
        using var target = new TestTarget();
        Assert.True(target.TryAttach(_ => { }));
        Assert.Equal("+", await Talk(target, Packet("qAttached")));
        Assert.Equal((0, 0), (target.Stops, target.Detaches));
    }

    [Theory]
    [InlineData(DebugEventKind.PoweredOff, "W00")]
    [InlineData(DebugEventKind.Reset, "W01")]
    [InlineData(DebugEventKind.Killed, "X09")]
    public async Task TheEndOfTheMachineIsToldAndEndsTheSession(DebugEventKind kind, string expected)
    {
        using var target = new TestTarget();
        target.Resumed = () => ThreadPool.QueueUserWorkItem(_ =>
        {
            lock (target.Gate)
            {
                target.HasEnded = true;
                target.Tell(new DebugEvent(kind));
            }
        });
        using var toServer = new AnonymousPipeServerStream(PipeDirection.Out);
        using var fromClient = new AnonymousPipeClientStream(PipeDirection.In, toServer.ClientSafePipeHandle);
        await using var both = new TwoWay(fromClient);
        toServer.Write(Encoding.Latin1.GetBytes(Packet("c")));
        await new GdbSession(both, target, s_registers).RunAsync(TestContext.Current.CancellationToken).WaitAsync(TimeSpan.FromSeconds(30), TestContext.Current.CancellationToken);
        Assert.Equal("+" + Packet(expected), both.Received.ToString());
    }

    [Fact]
    public async Task AnInterruptStopsARunningMachine()
    {
        using var target = new TestTarget();
        string all = await Talk(target, Packet("c") + "\u0003" + Packet("qAttached"));
        Assert.Matches(@"^\+\$T02.*thread:1;#..\+\$1#31$", all);
    }

    [Fact]
    public async Task AStopThatHappensIsTold()
    {
        using var target = new TestTarget();
        target.Resumed = () => target.Tell(new DebugEvent(DebugEventKind.Stopped, 1, new VmExit { Reason = ExitReason.Debug, DebugCause = DebugCause.Breakpoint }));
        Assert.Matches(@"^\+\$T05.*thread:2;#..", await Talk(target, Packet("c") + "\u0003"));
    }

    [Fact]
    public async Task KillEndsTheMachine()
    {
        using var target = new TestTarget();
        Assert.Equal("+", await Talk(target, Packet("k") + Packet("g")));
        Assert.True(target.WasKilled);
    }

    /// <summary>Random packets, most of them nearly right, to one machine: nothing is thrown, and it can be used afterwards.</summary>
    [Fact]
    public async Task NonsenseDoesNoHarm()
    {
        const int clients = 500;
        const int packets = 100;
        string[] seeds =
        [
            "g", "G0011", "p10", "P10=0011223344556677", "m1000,20", "M1000,4:01020304", "X1000,4:}\u0003abc", "Z0,1000,1", "z0,1000,1", "Z2,1000,8", "Z4,fff,10000",
            "Hg1", "Hc-1", "T1", "?", "c", "s", "C05;1000", "S05", "vCont;c", "vCont;s:1;c", "vCont;r1000,2000:2", "vCont?", "qSupported:swbreak+", "qC", "qfThreadInfo",
            "qThreadExtraInfo,1", "qXfer:features:read:target.xml:0,1000", "qRcmd,68656c70", "qRcmd,78702f346720307830", "Qqemu.PhyMemMode:1", "QStartNoAckMode", "\u0003",
        ];
        using var target = new TestTarget();
        var random = new Random(20261123);
        for (int i = 0; i < clients; i++)
        {
            var text = new StringBuilder("+");
            for (int j = 0; j < packets; j++)
            {
                char[] data = seeds[random.Next(seeds.Length)].ToCharArray();
                for (int k = random.Next(4); k > 0; k--)
                {
                    data[random.Next(data.Length)] = (char)random.Next(256);
                }

                string packet = new(data, 0, random.Next(4) == 0 ? random.Next(data.Length + 1) : data.Length);
                _ = text.Append(random.Next(20) switch { 0 => packet, 1 => $"${packet}#{random.Next(256):x2}", _ => Packet(packet) });
            }

            _ = await Talk(target, text.ToString(), random.Next(1, 300));
            Assert.False(target.IsAttached);
        }

        Assert.Equal("+$1#31", await Talk(target, Packet("qAttached")));
    }

    /// <summary>Reads from a pipe that stays open, and keeps what is written.</summary>
    private sealed class TwoWay(Stream from) : Stream
    {
        public StringBuilder Received { get; } = new();

        public override bool CanRead => true;

        public override bool CanSeek => false;

        public override bool CanWrite => true;

        public override long Length => throw new NotSupportedException();

        public override long Position { get => throw new NotSupportedException(); set => throw new NotSupportedException(); }

        public override ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default) => from.ReadAsync(buffer, cancellationToken);

        public override ValueTask WriteAsync(ReadOnlyMemory<byte> buffer, CancellationToken cancellationToken = default)
        {
            _ = Received.Append(Encoding.Latin1.GetString(buffer.Span));
            return ValueTask.CompletedTask;
        }

        public override int Read(byte[] buffer, int offset, int count) => throw new NotSupportedException();

        public override void Write(byte[] buffer, int offset, int count) => throw new NotSupportedException();

        public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();

        public override void SetLength(long value) => throw new NotSupportedException();

        public override void Flush()
        {
        }
    }
}
