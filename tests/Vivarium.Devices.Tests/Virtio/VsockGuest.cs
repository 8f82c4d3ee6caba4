using System.Buffers.Binary;
using System.Diagnostics;
using System.Net.Sockets;
using System.Text;

namespace Vivarium.Devices.Tests;

/// <summary>A packet of a socket device (virtio 1.2, 5.10.6), by the specification's offsets.</summary>
internal sealed record VsockPacket(uint SourcePort, uint DestinationPort, ushort Operation)
{
    public const int HeaderLength = 44;
    public const ushort Request = 1;
    public const ushort Response = 2;
    public const ushort Reset = 3;
    public const ushort Shutdown = 4;
    public const ushort Data = 5;
    public const ushort CreditUpdate = 6;
    public const ushort CreditRequest = 7;

    public ulong SourceCid { get; init; } = VsockGuest.Cid;
    public ulong DestinationCid { get; init; } = 2;
    public ushort Type { get; init; } = 1;
    public uint Flags { get; init; }
    public uint BufferAllocation { get; init; } = 1 << 18;
    public uint ForwardCount { get; init; }
    public byte[] Payload { get; init; } = [];

    /// <summary>What the header says; the payload's length unless it lies.</summary>
    public uint? Length { get; init; }

    public byte[] ToBytes()
    {
        var bytes = new byte[HeaderLength + Payload.Length];
        BinaryPrimitives.WriteUInt64LittleEndian(bytes, SourceCid);
        BinaryPrimitives.WriteUInt64LittleEndian(bytes.AsSpan(8), DestinationCid);
        BinaryPrimitives.WriteUInt32LittleEndian(bytes.AsSpan(16), SourcePort);
        BinaryPrimitives.WriteUInt32LittleEndian(bytes.AsSpan(20), DestinationPort);
        BinaryPrimitives.WriteUInt32LittleEndian(bytes.AsSpan(24), Length ?? (uint)Payload.Length);
        BinaryPrimitives.WriteUInt16LittleEndian(bytes.AsSpan(28), Type);
        BinaryPrimitives.WriteUInt16LittleEndian(bytes.AsSpan(30), Operation);
        BinaryPrimitives.WriteUInt32LittleEndian(bytes.AsSpan(32), Flags);
        BinaryPrimitives.WriteUInt32LittleEndian(bytes.AsSpan(36), BufferAllocation);
        BinaryPrimitives.WriteUInt32LittleEndian(bytes.AsSpan(40), ForwardCount);
        Payload.CopyTo(bytes, HeaderLength);
        return bytes;
    }

    public static VsockPacket Parse(byte[] bytes)
    {
        var length = BinaryPrimitives.ReadUInt32LittleEndian(bytes.AsSpan(24));
        Assert.Equal((uint)(bytes.Length - HeaderLength), length);
        return new(
            BinaryPrimitives.ReadUInt32LittleEndian(bytes.AsSpan(16)),
            BinaryPrimitives.ReadUInt32LittleEndian(bytes.AsSpan(20)),
            BinaryPrimitives.ReadUInt16LittleEndian(bytes.AsSpan(30)))
        {
            SourceCid = BinaryPrimitives.ReadUInt64LittleEndian(bytes),
            DestinationCid = BinaryPrimitives.ReadUInt64LittleEndian(bytes.AsSpan(8)),
            Type = BinaryPrimitives.ReadUInt16LittleEndian(bytes.AsSpan(28)),
            Flags = BinaryPrimitives.ReadUInt32LittleEndian(bytes.AsSpan(32)),
            BufferAllocation = BinaryPrimitives.ReadUInt32LittleEndian(bytes.AsSpan(36)),
            ForwardCount = BinaryPrimitives.ReadUInt32LittleEndian(bytes.AsSpan(40)),
            Payload = bytes[HeaderLength..],
        };
    }
}

/// <summary>A board with a socket device, its driver, and the host's programs beside it.</summary>
internal sealed class VsockGuest : IDisposable
{
    public const uint Cid = 7;
    private const int Buffers = 32;
    private const int BufferLength = 4096;
    private const int SendLength = VsockPacket.HeaderLength + (64 << 10);
    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(30);

    private readonly string _folder = Directory.CreateTempSubdirectory("vsock-").FullName;
    private readonly List<IDisposable> _owned = [];
    private readonly Dictionary<int, ulong> _buffers = [];
    private readonly ulong _sendBuffer;

    /// <param name="receiveBuffers">The driver makes no buffers available by itself when false.</param>
    public VsockGuest(Transport transport = Transport.PciMsiX, ulong features = 0, bool receiveBuffers = true)
    {
        Path = System.IO.Path.Combine(_folder, "v");
        Sockets = VsockSockets.Open(Path);
        Device = new VirtioVsock(Machine.Memory, Cid, Sockets);
        Driver = Machine.Plug(Device, transport);
        _sendBuffer = Machine.Allocate(SendLength);
        Begin(features, receiveBuffers);
    }

    public string Path { get; }

    public VirtioMachine Machine { get; } = new();

    public VsockSockets Sockets { get; }

    public VirtioVsock Device { get; }

    public VirtioDriver Driver { get; }

    public GuestRing Receives { get; private set; } = null!;

    public GuestRing Transmits { get; private set; } = null!;

    public GuestRing Events { get; private set; } = null!;

    /// <summary>The driver starts, or starts again.</summary>
    public void Begin(ulong features = 0, bool receiveBuffers = true)
    {
        _buffers.Clear();
        var rings = Driver.Begin(features, 64, 64, 8);
        (Receives, Transmits, Events) = (rings[0], rings[1], rings[2]);
        if (receiveBuffers)
            AddBuffers(Buffers);
    }

    public void AddBuffers(int count)
    {
        for (var i = 0; i < count; i++)
            AddBuffer(Machine.Allocate(BufferLength));
        Receives.Kick();
    }

    /// <summary>Makes a packet available, cut in two where the header ends, and waits until the device has used it.</summary>
    public void Send(VsockPacket packet)
    {
        SendLater(packet);
        AwaitSent();
    }

    /// <summary>The same without waiting; one at a time.</summary>
    public void SendLater(VsockPacket packet)
    {
        var bytes = packet.ToBytes();
        Machine.Memory.Write(_sendBuffer, bytes);
        if (bytes.Length == VsockPacket.HeaderLength)
            Transmits.Add(new Piece(_sendBuffer, bytes.Length, false));
        else
            Transmits.Add(new Piece(_sendBuffer, VsockPacket.HeaderLength, false), new Piece(_sendBuffer + VsockPacket.HeaderLength, bytes.Length - VsockPacket.HeaderLength, false));
        Transmits.Kick();
    }

    public void AwaitSent() => Await(() => Transmits.TryTake(out _, out _), "the device has not taken a packet");

    /// <summary>The next packet from the device, which gets the buffer again.</summary>
    public VsockPacket Receive()
    {
        VsockPacket? packet = null;
        Await(() => (packet = TryReceive()) is not null, "no packet has come");
        return packet!;
    }

    public VsockPacket Receive(ushort operation)
    {
        var packet = Receive();
        Assert.Equal(operation, packet.Operation);
        return packet;
    }

    /// <summary>Null if none is there.</summary>
    public VsockPacket? TryReceive(bool keepBuffer = false)
    {
        if (!Receives.TryTake(out var id, out var written))
            return null;
        _buffers.Remove(id, out var buffer);
        var packet = VsockPacket.Parse(Machine.Get(buffer, (int)written));
        Assert.Equal(Cid, packet.DestinationCid);
        if (!keepBuffer)
        {
            AddBuffer(buffer);
            Receives.Kick();
        }

        return packet;
    }

    /// <summary>A program of the host connects to the device's socket.</summary>
    public Socket Connect()
    {
        var socket = Own(NewSocket());
        socket.Connect(new UnixDomainSocketEndPoint(Path));
        return socket;
    }

    /// <summary>A program of the host connects to a port of the guest, which accepts.</summary>
    public (Socket Socket, uint HostPort) ConnectTo(uint port, uint bufferAllocation = 1 << 18)
    {
        var socket = Connect();
        socket.Send(Encoding.ASCII.GetBytes($"CONNECT {port}\n"));
        var request = Receive(VsockPacket.Request);
        Assert.Equal(port, request.DestinationPort);
        Assert.Equal(2ul, request.SourceCid);
        Send(new(port, request.SourcePort, VsockPacket.Response) { BufferAllocation = bufferAllocation });
        Assert.Equal($"OK {request.SourcePort}\n", ReadLine(socket));
        return (socket, request.SourcePort);
    }

    /// <summary>The guest connects to a port of the host, at which a program listens.</summary>
    public Socket ConnectFrom(uint guestPort, uint hostPort, uint bufferAllocation = 1 << 18)
    {
        using var listener = Listen(hostPort);
        Send(new(guestPort, hostPort, VsockPacket.Request) { BufferAllocation = bufferAllocation });
        var response = Receive(VsockPacket.Response);
        Assert.Equal((hostPort, guestPort, 2ul), (response.SourcePort, response.DestinationPort, response.SourceCid));
        var socket = Own(listener.Accept());
        socket.ReceiveTimeout = (int)s_patience.TotalMilliseconds;
        File.Delete($"{Path}_{hostPort}");
        return socket;
    }

    public Socket Listen(uint port)
    {
        var listener = Own(NewSocket());
        listener.Bind(new UnixDomainSocketEndPoint($"{Path}_{port}"));
        listener.Listen(8);
        return listener;
    }

    public static string ReadLine(Socket socket)
    {
        var line = new StringBuilder();
        var one = new byte[1];
        while (line.Length == 0 || line[^1] != '\n')
        {
            if (socket.Receive(one) == 0)
                break;
            line.Append((char)one[0]);
        }

        return line.ToString();
    }

    public static byte[] Read(Socket socket, int length)
    {
        var bytes = new byte[length];
        for (var done = 0; done < length;)
        {
            var got = socket.Receive(bytes.AsSpan(done));
            Assert.NotEqual(0, got);
            done += got;
        }

        return bytes;
    }

    /// <summary>The other end has been closed, in whatever way.</summary>
    public static bool IsClosed(Socket socket)
    {
        try
        {
            return socket.Receive(new byte[1]) == 0;
        }
        catch (SocketException e) when (e.SocketErrorCode == SocketError.ConnectionReset)
        {
            return true;
        }
    }

    public static void Await(Func<bool> isSo, string otherwise)
    {
        var since = Stopwatch.StartNew();
        while (!isSo())
        {
            Assert.True(since.Elapsed < s_patience, otherwise);
            Thread.Sleep(since.ElapsedMilliseconds < 5 ? 0 : 1);
        }
    }

    public void Dispose()
    {
        Machine.Dispose();
        Sockets.Dispose();
        foreach (var owned in _owned)
            owned.Dispose();
        Directory.Delete(_folder, recursive: true);
    }

    private void AddBuffer(ulong buffer) => _buffers[Receives.Add(new Piece(buffer, BufferLength, true))] = buffer;

    private static Socket NewSocket() => new(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified) { ReceiveTimeout = (int)s_patience.TotalMilliseconds };

    private Socket Own(Socket socket)
    {
        _owned.Add(socket);
        return socket;
    }
}
