using System.Net;
using System.Net.Sockets;
using System.Security.Cryptography;
using System.Text;

namespace Vivarium.Guests.Tests.Debian;

/// <summary>
/// A small HTTP server on an address of the host. GET gives what was put under a path; PUT takes anything and
/// answers with its SHA-256.
/// </summary>
internal sealed class HostServer : IDisposable
{
    private readonly TcpListener _listener;
    private readonly Dictionary<string, byte[]> _files = [];

    public HostServer(IPAddress address)
    {
        _listener = new TcpListener(address, 0);
        _listener.Start();
        new Thread(Accept) { IsBackground = true }.Start();
    }

    public IPAddress Address => ((IPEndPoint)_listener.LocalEndpoint).Address;

    public int Port => ((IPEndPoint)_listener.LocalEndpoint).Port;

    public void Offer(string path, byte[] content)
    {
        lock (_files)
        {
            _files[path] = content;
        }
    }

    public void Dispose() => _listener.Dispose();

    private void Accept()
    {
        try
        {
            while (true)
            {
                TcpClient client = _listener.AcceptTcpClient();
                new Thread(() => Serve(client)) { IsBackground = true }.Start();
            }
        }
        catch (Exception e) when (e is SocketException or ObjectDisposedException or InvalidOperationException)
        {
            // Disposed.
        }
    }

    private void Serve(TcpClient client)
    {
        using TcpClient owned = client;
        try
        {
            using NetworkStream stream = client.GetStream();
            string head = ReadHead(stream);
            string[] request = head.Split(' ', 3);
            byte[] answer = request[0] == "PUT" ? Hash(stream, head) : Find(request[1]);
            stream.Write(Encoding.ASCII.GetBytes($"HTTP/1.1 200 OK\r\nContent-Length: {answer.Length}\r\nConnection: close\r\n\r\n"));
            stream.Write(answer);
        }
        catch (IOException)
        {
            // The guest has gone away; the test sees that for itself.
        }
    }

    private byte[] Find(string path)
    {
        lock (_files)
        {
            return _files.GetValueOrDefault(path, []);
        }
    }

    private static string ReadHead(NetworkStream stream)
    {
        var head = new StringBuilder();
        while (!head.ToString().EndsWith("\r\n\r\n", StringComparison.Ordinal) && stream.ReadByte() is >= 0 and int letter)
        {
            head.Append((char)letter);
        }

        return head.ToString();
    }

    private static byte[] Hash(NetworkStream stream, string head)
    {
        const string LengthHeader = "Content-Length: ";
        string line = head.Split("\r\n").First(each => each.StartsWith(LengthHeader, StringComparison.OrdinalIgnoreCase));
        long left = long.Parse(line[LengthHeader.Length..], System.Globalization.CultureInfo.InvariantCulture);
        if (head.Contains("100-continue", StringComparison.OrdinalIgnoreCase))
        {
            stream.Write("HTTP/1.1 100 Continue\r\n\r\n"u8);
        }

        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        byte[] buffer = new byte[1 << 16];
        while (left > 0)
        {
            int count = stream.Read(buffer, 0, (int)Math.Min(left, buffer.Length));
            if (count == 0)
            {
                throw new IOException("the upload ended early");
            }

            hash.AppendData(buffer, 0, count);
            left -= count;
        }

        return Encoding.ASCII.GetBytes(Convert.ToHexStringLower(hash.GetHashAndReset()));
    }
}
