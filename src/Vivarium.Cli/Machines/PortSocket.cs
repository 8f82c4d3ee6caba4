using System.Net.Sockets;

namespace Vivarium.Cli.Machines;

/// <summary>
/// A Unix socket that leads to a console port of the guest. One client at a time; what the guest writes while there is none is
/// gone, as on a serial line with nothing at its end.
/// </summary>
internal sealed class PortSocket : Stream
{
    private const int ReadSize = 4096;

    private readonly string _path;
    private readonly MachineConsole _port;
    private readonly Socket _listener;
    private volatile Socket? _client;

    private PortSocket(string path, MachineConsole port, Socket listener)
    {
        _path = path;
        _port = port;
        _listener = listener;
    }

    public override bool CanRead => false;
    public override bool CanSeek => false;
    public override bool CanWrite => true;
    public override long Length => throw new NotSupportedException();
    public override long Position { get => throw new NotSupportedException(); set => throw new NotSupportedException(); }

    /// <exception cref="InvalidInputException">The socket cannot be made; the message says why.</exception>
    public static PortSocket Open(string path, MachineConsole port)
    {
        if (File.Exists(path))
        {
            throw new InvalidInputException($"'{path}' exists already; remove it, or choose another path for the port's socket");
        }

        try
        {
            var socket = new PortSocket(path, port, ControlSocket.Listen(path));
            port.Output = socket;
            new Thread(socket.Serve) { IsBackground = true, Name = "port" }.Start();
            return socket;
        }
        catch (Exception e) when (e is VivariumException or IOException or ArgumentException)
        {
            throw new InvalidInputException($"cannot make the port's socket '{path}': {(e.InnerException ?? e).Message}", e);
        }
    }

    public override void Write(byte[] buffer, int offset, int count) => Write(buffer.AsSpan(offset, count));

    public override void Write(ReadOnlySpan<byte> buffer)
    {
        try
        {
            for (Socket? client = _client; client is not null && !buffer.IsEmpty;)
            {
                buffer = buffer[client.Send(buffer)..];
            }
        }
        catch (Exception e) when (e is SocketException or ObjectDisposedException)
        {
            // The client has gone; the rest is lost with it.
        }
    }

    public override void Flush()
    {
    }

    public override int Read(byte[] buffer, int offset, int count) => throw new NotSupportedException();

    public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();

    public override void SetLength(long value) => throw new NotSupportedException();

    protected override void Dispose(bool disposing)
    {
        if (disposing)
        {
            _listener.Dispose();
            _client?.Dispose();
            File.Delete(_path);
        }

        base.Dispose(disposing);
    }

    private void Serve()
    {
        byte[] buffer = new byte[ReadSize];
        try
        {
            while (true)
            {
                using Socket client = _listener.Accept();
                _client = client;
                Carry(client, buffer);
                _client = null;
            }
        }
        catch (Exception e) when (e is SocketException or ObjectDisposedException)
        {
            // Disposed of: the machine has ended.
        }
    }

    private void Carry(Socket client, byte[] buffer)
    {
        try
        {
            while (client.Receive(buffer) is > 0 and int length && _port.Send(buffer.AsSpan(0, length)))
            {
            }
        }
        catch (Exception e) when (e is SocketException or ObjectDisposedException)
        {
            // The client has gone; the next may come.
        }
    }
}
