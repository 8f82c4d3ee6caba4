using System.Buffers.Binary;
using System.Net;
using System.Net.Sockets;
using System.Text;

namespace Vivarium.Guests.Tests.Debian;

/// <summary>A DNS server on the host's loopback that gives every name the one IPv4 address, and no other records (RFC 1035).</summary>
internal sealed class TinyResolver : IDisposable
{
    private const int HeaderSize = 12;
    private const ushort TypeA = 1;
    private const ushort ClassIn = 1;
    private const ushort ResponseFlags = 0x8180;
    private const ushort PointerToQuestion = 0xC000 | HeaderSize;
    private const uint TimeToLive = 60;

    private readonly Socket _socket = new(AddressFamily.InterNetwork, SocketType.Dgram, ProtocolType.Udp);
    private readonly IPAddress _address;

    public TinyResolver(IPAddress address)
    {
        _address = address;
        _socket.Bind(new IPEndPoint(IPAddress.Loopback, 0));
        new Thread(Serve) { IsBackground = true }.Start();
    }

    public IPEndPoint EndPoint => (IPEndPoint)_socket.LocalEndPoint!;

    public void Dispose() => _socket.Dispose();

    private void Serve()
    {
        byte[] query = new byte[1500];
        EndPoint from = new IPEndPoint(IPAddress.Any, 0);
        try
        {
            while (true)
            {
                int length = _socket.ReceiveFrom(query, ref from);
                if (length > HeaderSize)
                {
                    _ = _socket.SendTo(Answer(query.AsSpan(0, length)), from);
                }
            }
        }
        catch (Exception e) when (e is SocketException or ObjectDisposedException)
        {
            // Disposed.
        }
    }

    private byte[] Answer(ReadOnlySpan<byte> query)
    {
        int end = HeaderSize;
        while (query[end] != 0)
        {
            end += query[end] + 1;
        }

        ushort type = BinaryPrimitives.ReadUInt16BigEndian(query[(end + 1)..]);
        ReadOnlySpan<byte> question = query[HeaderSize..(end + 5)];
        using var answer = new MemoryStream();
        using var writer = new BinaryWriter(answer, Encoding.ASCII);
        void Word(int value) => writer.Write(BinaryPrimitives.ReverseEndianness((ushort)value));
        writer.Write(query[..2]);
        Word(ResponseFlags);
        Word(1);
        Word(type == TypeA ? 1 : 0);
        Word(0);
        Word(0);
        writer.Write(question);
        if (type == TypeA)
        {
            Word(PointerToQuestion);
            Word(TypeA);
            Word(ClassIn);
            writer.Write(BinaryPrimitives.ReverseEndianness(TimeToLive));
            Word(4);
            writer.Write(_address.GetAddressBytes());
        }

        return answer.ToArray();
    }
}
