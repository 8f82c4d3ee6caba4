using System.Buffers.Binary;
using System.IO.Compression;
using System.Net;
using System.Net.Sockets;

namespace Vivarium.Display.Tests;

/// <summary>A VNC client that understands all that the server may send, after the protocol's text and not after the server's.</summary>
internal sealed class RfbClient : IDisposable
{
    private readonly NetworkStream _stream;
    private readonly Dictionary<int, (MemoryStream Input, ZLibStream Output)> _inflaters = [];
    private int _bytes = 4;

    public RfbClient(EndPoint server)
    {
        var socket = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp) { ReceiveTimeout = 10_000, SendTimeout = 10_000 };
        socket.Connect(server);
        _stream = new NetworkStream(socket, ownsSocket: true);
    }

    public int Width { get; private set; }

    public int Height { get; private set; }

    public string Name { get; private set; } = "";

    /// <summary>As the client's pixel format has them.</summary>
    public uint[] Pixels { get; private set; } = [];

    public List<int> Seen { get; } = [];

    public List<(int X, int Y, int Width, int Height)> Sizes { get; } = [];

    /// <summary>Where pointer motion change said absolute (1) or relative (0).</summary>
    public int? Pointer { get; private set; }

    public ushort[] ColorMap { get; private set; } = [];

    /// <summary>Speaks up to the client's last word before the server's first picture. Returns why it was refused, or null.</summary>
    public string? ShakeHands(string version = "RFB 003.008\n", Func<byte[], byte[]>? answer = null)
    {
        Assert.Equal("RFB 003.008\n", Text(12));
        Send(System.Text.Encoding.ASCII.GetBytes(version));
        int minor = int.Parse(version[8..11], System.Globalization.CultureInfo.InvariantCulture);
        int type;
        if (minor == 3)
        {
            type = (int)Number(4);
        }
        else
        {
            byte[] types = Read((int)Number(1));
            type = Assert.Single(types);
            Send([(byte)type]);
        }

        Assert.Equal(answer is null ? 1 : 2, type);
        if (answer is not null)
        {
            Send(answer(Read(16)));
        }

        if ((answer is not null || minor == 8) && Number(4) != 0)
        {
            return minor == 8 ? Text((int)Number(4)) : "refused";
        }

        Send([1]);
        Width = (int)Number(2);
        Height = (int)Number(2);
        Read(16);
        Name = Text((int)Number(4));
        Pixels = new uint[Width * Height];
        return null;
    }

    public void SetFormat(int bits, bool bigEndian, int redMax, int greenMax, int blueMax, int redShift, int greenShift, int blueShift, bool trueColor = true)
    {
        _bytes = bits / 8;
        Send([0, 0, 0, 0, (byte)bits, (byte)(bits == 32 ? 24 : bits), bigEndian ? (byte)1 : (byte)0, trueColor ? (byte)1 : (byte)0,
            0, (byte)redMax, 0, (byte)greenMax, 0, (byte)blueMax, (byte)redShift, (byte)greenShift, (byte)blueShift, 0, 0, 0]);
        IsBigEndian = bigEndian;
        IsTight = bits == 32 && redMax == 255;
        CompactBytes = bits == 32 && redMax == 255 ? 3 : _bytes;
    }

    public bool IsBigEndian { get; private set; }

    public bool IsTight { get; private set; } = true;

    public int CompactBytes { get; private set; } = 3;

    public void SetEncodings(params int[] encodings)
    {
        byte[] message = new byte[4 + (4 * encodings.Length)];
        message[0] = 2;
        BinaryPrimitives.WriteUInt16BigEndian(message.AsSpan(2), (ushort)encodings.Length);
        for (int i = 0; i < encodings.Length; i++)
        {
            BinaryPrimitives.WriteInt32BigEndian(message.AsSpan(4 + (4 * i)), encodings[i]);
        }

        Send(message);
    }

    public void Request(bool incremental) => Send([3, incremental ? (byte)1 : (byte)0, 0, 0, 0, 0, (byte)(Width >> 8), (byte)Width, (byte)(Height >> 8), (byte)Height]);

    /// <summary>Reads one update, and whatever comes before it.</summary>
    public void ReadUpdate()
    {
        while (Number(1) is var type && type != 0)
        {
            Assert.Equal(1u, type);
            Read(1);
            Assert.Equal(0u, Number(2));
            ColorMap = [.. Enumerable.Range(0, (int)Number(2) * 3).Select(_ => (ushort)Number(2))];
        }

        Read(1);
        for (int count = (int)Number(2); count > 0; count--)
        {
            int x = (int)Number(2), y = (int)Number(2), width = (int)Number(2), height = (int)Number(2), encoding = (int)Number(4);
            Seen.Add(encoding);
            switch (encoding)
            {
                case 0:
                    Put(x, y, width, height, Native(Read(width * height * _bytes)));
                    break;
                case 6:
                    Put(x, y, width, height, Native(Inflate(100, Read((int)Number(4)), width * height * _bytes)));
                    break;
                case 7:
                    Put(x, y, width, height, ReadTight(width, height));
                    break;
                case 16:
                    ReadZrle(x, y, width, height);
                    break;
                case -223:
                    Resize(width, height);
                    break;
                case -308:
                    Sizes.Add((x, y, width, height));
                    Read(16 * (int)Number(1) + 3);
                    if (y == 0)
                    {
                        Resize(width, height);
                    }

                    break;
                case -257:
                    Pointer = x;
                    break;
                case -307:
                    Name = Text((int)Number(4));
                    break;
                case -239 or -258:
                    Assert.Equal(0, encoding == -239 ? width * height : 0);
                    break;
                default:
                    Assert.Fail($"encoding {encoding}");
                    break;
            }
        }
    }

    public void Send(ReadOnlySpan<byte> bytes) => _stream.Write(bytes);

    public bool IsClosed()
    {
        try
        {
            byte[] rest = new byte[65536];
            while (_stream.Read(rest) > 0)
            {
            }

            return true;
        }
        catch (IOException e)
        {
            return e.InnerException is not SocketException { SocketErrorCode: SocketError.TimedOut or SocketError.WouldBlock };
        }
    }

    public byte[] Read(int count)
    {
        byte[] bytes = new byte[count];
        _stream.ReadExactly(bytes);
        return bytes;
    }

    public void Dispose()
    {
        foreach ((_, ZLibStream output) in _inflaters.Values)
        {
            output.Dispose();
        }

        _stream.Dispose();
    }

    private void Resize(int width, int height)
    {
        if ((width, height) != (Width, Height))
        {
            (Width, Height) = (width, height);
            Pixels = new uint[width * height];
        }
    }

    private void Put(int x, int y, int width, int height, uint[] pixels)
    {
        Assert.Equal(width * height, pixels.Length);
        for (int row = 0; row < height; row++)
        {
            pixels.AsSpan(row * width, width).CopyTo(Pixels.AsSpan(((y + row) * Width) + x));
        }
    }

    private uint[] Native(byte[] bytes) => [.. bytes.Chunk(_bytes).Select(chunk => Pixel(chunk))];

    private uint Pixel(byte[] chunk) => chunk.Length switch
    {
        1 => chunk[0],
        2 => IsBigEndian ? BinaryPrimitives.ReadUInt16BigEndian(chunk) : BinaryPrimitives.ReadUInt16LittleEndian(chunk),
        // Three bytes of which no colour is in the highest.
        3 => IsBigEndian ? (uint)(chunk[0] << 16 | chunk[1] << 8 | chunk[2]) : (uint)(chunk[2] << 16 | chunk[1] << 8 | chunk[0]),
        _ => IsBigEndian ? BinaryPrimitives.ReadUInt32BigEndian(chunk) : BinaryPrimitives.ReadUInt32LittleEndian(chunk),
    };

    private uint[] ReadTight(int width, int height)
    {
        int control = (int)Number(1);
        Assert.Equal(0, control & 0x0F);
        if (control >> 4 == 8)
        {
            return [.. Enumerable.Repeat(Tight(Read(TightBytes)), width * height)];
        }

        Assert.True(control >> 4 < 8);
        int stream = control >> 4 & 3;
        if ((control & 0x40) == 0 || Number(1) == 0)
        {
            return [.. TightData(stream, width * height * TightBytes).Chunk(TightBytes).Select(Tight)];
        }

        uint[] palette = [.. Enumerable.Range(0, (int)Number(1) + 1).Select(_ => Tight(Read(TightBytes)))];
        if (palette.Length > 2)
        {
            return [.. TightData(stream, width * height).Select(index => palette[index])];
        }

        int stride = (width + 7) / 8;
        byte[] bits = TightData(stream, stride * height);
        return [.. Enumerable.Range(0, width * height).Select(i => palette[bits[(i / width * stride) + (i % width / 8)] >> (7 - (i % width % 8)) & 1])];
    }

    private int TightBytes => IsTight ? 3 : _bytes;

    private uint Tight(byte[] bytes) => IsTight ? (uint)(bytes[0] << 16 | bytes[1] << 8 | bytes[2]) : Pixel(bytes);

    private byte[] TightData(int stream, int length)
    {
        if (length < 12)
        {
            return Read(length);
        }

        int compressed = 0;
        for (int shift = 0; shift <= 14; shift += 7)
        {
            int part = (int)Number(1);
            compressed |= (shift == 14 ? part : part & 0x7F) << shift;
            if ((part & 0x80) == 0)
            {
                break;
            }
        }

        return Inflate(stream, Read(compressed), length);
    }

    private void ReadZrle(int x, int y, int width, int height)
    {
        var data = new MemoryStream(Inflate(200, Read((int)Number(4)), -1));
        uint Compact()
        {
            byte[] bytes = new byte[CompactBytes];
            data.ReadExactly(bytes);
            return Pixel(bytes);
        }

        for (int top = 0; top < height; top += 64)
        {
            for (int left = 0; left < width; left += 64)
            {
                int columns = Math.Min(64, width - left), rows = Math.Min(64, height - top);
                int kind = data.ReadByte();
                Assert.InRange(kind, 0, 16);
                uint[] tile;
                if (kind == 0)
                {
                    tile = [.. Enumerable.Range(0, columns * rows).Select(_ => Compact())];
                }
                else
                {
                    uint[] palette = [.. Enumerable.Range(0, kind).Select(_ => Compact())];
                    int bits = kind == 1 ? 0 : kind == 2 ? 1 : kind <= 4 ? 2 : 4;
                    byte[] row = new byte[((columns * bits) + 7) / 8];
                    List<uint> pixels = [];
                    for (int line = 0; line < rows; line++)
                    {
                        data.ReadExactly(row);
                        pixels.AddRange(Enumerable.Range(0, columns).Select(i => palette[bits == 0 ? 0 : row[i * bits / 8] >> (8 - bits - (i * bits % 8)) & (1 << bits) - 1]));
                    }

                    tile = [.. pixels];
                }

                Put(x + left, y + top, columns, rows, tile);
            }
        }

        Assert.Equal(data.Length, data.Position);
    }

    /// <summary>Of so many bytes, or all that these come to.</summary>
    private byte[] Inflate(int stream, byte[] compressed, int length)
    {
        if (!_inflaters.TryGetValue(stream, out (MemoryStream Input, ZLibStream Output) inflater))
        {
            var input = new MemoryStream();
            inflater = (input, new ZLibStream(input, CompressionMode.Decompress));
            _inflaters[stream] = inflater;
        }

        inflater.Input.SetLength(0);
        inflater.Input.Write(compressed);
        inflater.Input.Position = 0;
        if (length >= 0)
        {
            byte[] exact = new byte[length];
            inflater.Output.ReadExactly(exact);
            return exact;
        }

        var all = new MemoryStream();
        byte[] buffer = new byte[65536];
        while (inflater.Output.Read(buffer) is > 0 and int count)
        {
            all.Write(buffer, 0, count);
        }

        return all.ToArray();
    }

    private uint Number(int bytes) => Read(bytes).Aggregate(0u, (value, next) => value << 8 | next);

    private string Text(int length) => System.Text.Encoding.Latin1.GetString(Read(length));
}
