using Vivarium.Devices;

namespace Vivarium.Display.Rfb;

// What clients are sent (RFC 6143, 7.6): one update for each request, when there is something to tell.
internal sealed partial class RfbSession
{
    private const byte FramebufferUpdate = 0;
    private const byte SetColorMapEntries = 1;
    private const int ResizeByServer = 0, ResizeByThisClient = 1;
    private const int ResizeProhibited = 1;
    private const int Colors = 256;

    private readonly Lock _state = new();
    private readonly SemaphoreSlim _wake = new(0, 1);
    private readonly Damage _damage = new();
    private readonly List<Rectangle> _rectangles = [];
    private readonly List<RectangleEncoder> _encoders = [];
    private RectangleEncoder _encoder;
    private PixelFormat _format = PixelFormat.Native;
    private PseudoEncodings _understood;
    private PseudoEncodings _toAnnounce;
    private int _wantedEncoding = Encodings.Raw;
    private bool _explainColors;
    private bool _refusesResize;
    private bool _toldRelative;
    private volatile bool _requested;

    /// <summary>The size that the client knows, and the pixels as they were when they were last taken.</summary>
    private int _width;
    private int _height;
    private uint[] _pixels = [];
    private uint[] _part = [];

    /// <summary>The client waits for something to happen.</summary>
    public bool Waits => _requested;

    /// <summary>The screen has changed; the lock of the frame is held.</summary>
    public void Note(Frame frame)
    {
        lock (_state)
        {
            if (frame.Resized)
            {
                _damage.Add(0, _width, 0, _height);
            }
            else
            {
                for (int y = 0; y < frame.Height; y++)
                {
                    (int left, int right) = frame.Change(y);
                    if (right != 0)
                    {
                        _damage.Add(left, right, y, y + 1);
                    }
                }
            }
        }

        Wake();
    }

    private void Wake()
    {
        lock (_wake)
        {
            if (_wake.CurrentCount == 0)
            {
                _ = _wake.Release();
            }
        }
    }

    private async Task SendUpdatesAsync()
    {
        try
        {
            while (true)
            {
                await _wake.WaitAsync(_ending.Token).ConfigureAwait(false);
                if (_requested && Compose())
                {
                    await SendAsync(_output.Memory, _ending.Token).ConfigureAwait(false);
                }
            }
        }
        catch (Exception e) when (IsFarewell(e))
        {
            await _ending.CancelAsync().ConfigureAwait(false);
        }
    }

    /// <summary>Makes the next message; false if there is nothing to tell.</summary>
    private bool Compose()
    {
        PseudoEncodings announce;
        PixelFormat format;
        bool refuses;
        _output.Clear();
        lock (_frame)
        {
            lock (_state)
            {
                bool resized = (_frame.Width, _frame.Height) != (_width, _height) && (_understood & (PseudoEncodings.DesktopSize | PseudoEncodings.ExtendedDesktopSize)) != 0;
                announce = _toAnnounce;
                if (resized)
                {
                    (_width, _height) = (_frame.Width, _frame.Height);
                    _pixels = new uint[_width * _height];
                    _damage.Resize(_width, _height);
                    _damage.Add(0, _width, 0, _height);
                    announce |= _understood & ((_understood & PseudoEncodings.ExtendedDesktopSize) != 0 ? PseudoEncodings.ExtendedDesktopSize : PseudoEncodings.DesktopSize);
                }
                else
                {
                    announce &= ~PseudoEncodings.DesktopSize;
                }

                if ((_understood & PseudoEncodings.PointerMotion) != 0 && _toldRelative == _pointer.IsAbsolute)
                {
                    announce |= PseudoEncodings.PointerMotion;
                }

                refuses = _refusesResize;
                if (_damage.IsEmpty && announce == 0 && !refuses)
                {
                    return false;
                }

                _requested = false;
                _refusesResize = false;
                _toAnnounce = 0;
                format = _format;
                if (_explainColors)
                {
                    _explainColors = false;
                    ExplainColors();
                }

                ChooseEncoder();
                _rectangles.Clear();
                _damage.Take(_rectangles);
                if ((announce & PseudoEncodings.PointerMotion) != 0)
                {
                    _toldRelative = !_pointer.IsAbsolute;
                }
            }

            TakePixels();
        }

        ComposeUpdate(announce, refuses, format);
        return true;
    }

    private void ComposeUpdate(PseudoEncodings announce, bool refuses, PixelFormat format)
    {
        _output.Byte(FramebufferUpdate);
        _output.Zeros(1);
        int countAt = _output.Length;
        _output.UInt16(0);
        int count = Announce(announce, refuses);
        foreach (Rectangle rectangle in _rectangles)
        {
            (int mostWidth, int mostHeight) = _encoder.Most;
            for (int y = 0; y < rectangle.Height; y += Math.Min(mostHeight, rectangle.Height))
            {
                for (int x = 0; x < rectangle.Width; x += Math.Min(mostWidth, rectangle.Width))
                {
                    Encode(new Rectangle(rectangle.X + x, rectangle.Y + y, Math.Min(mostWidth, rectangle.Width - x), Math.Min(mostHeight, rectangle.Height - y)), format);
                    count++;
                }
            }
        }

        _output.PatchUInt16(countAt, count);
    }

    private int Announce(PseudoEncodings announce, bool refuses)
    {
        int count = 0;
        void Header(int x, int y, int width, int height, int encoding)
        {
            _output.UInt16(x);
            _output.UInt16(y);
            _output.UInt16(width);
            _output.UInt16(height);
            _output.Int32(encoding);
            count++;
        }

        void Screens(int x, int y)
        {
            Header(x, y, _width, _height, Encodings.ExtendedDesktopSize);
            _output.Byte(1);
            _output.Zeros(3);
            _output.Int32(0);
            _output.UInt16(0);
            _output.UInt16(0);
            _output.UInt16(_width);
            _output.UInt16(_height);
            _output.Int32(0);
        }

        if ((announce & PseudoEncodings.DesktopSize) != 0)
        {
            Header(0, 0, _width, _height, Encodings.DesktopSize);
        }

        if ((announce & PseudoEncodings.ExtendedDesktopSize) != 0)
        {
            Screens(ResizeByServer, 0);
        }

        if (refuses)
        {
            Screens(ResizeByThisClient, ResizeProhibited);
        }

        if ((announce & PseudoEncodings.Cursor) != 0)
        {
            // The guest draws its own.
            Header(0, 0, 0, 0, Encodings.Cursor);
        }

        if ((announce & PseudoEncodings.ExtendedKey) != 0)
        {
            Header(0, 0, 0, 0, Encodings.QemuExtendedKey);
        }

        if ((announce & PseudoEncodings.PointerMotion) != 0)
        {
            Header(_toldRelative ? 0 : 1, 0, _width, _height, Encodings.QemuPointerMotion);
        }

        if ((announce & PseudoEncodings.DesktopName) != 0)
        {
            Header(0, 0, 0, 0, Encodings.DesktopName);
            _output.Text(_host.Name);
        }

        return count;
    }

    private void Encode(Rectangle rectangle, PixelFormat format)
    {
        _output.UInt16(rectangle.X);
        _output.UInt16(rectangle.Y);
        _output.UInt16(rectangle.Width);
        _output.UInt16(rectangle.Height);
        _output.Int32(_encoder.Encoding);
        int length = rectangle.Width * rectangle.Height;
        if (_part.Length < length)
        {
            _part = new uint[length];
        }

        for (int row = 0; row < rectangle.Height; row++)
        {
            _pixels.AsSpan(((rectangle.Y + row) * _width) + rectangle.X, rectangle.Width).CopyTo(_part.AsSpan(row * rectangle.Width));
        }

        _encoder.Encode(_output, format, _part.AsSpan(0, length), rectangle.Width);
    }

    /// <summary>Copies what is to be sent; a client that does not know of another size sees what of it has room, and black.</summary>
    private void TakePixels()
    {
        foreach (Rectangle rectangle in _rectangles)
        {
            int known = Math.Clamp(_frame.Width - rectangle.X, 0, rectangle.Width);
            for (int y = rectangle.Y; y < rectangle.Y + rectangle.Height; y++)
            {
                Span<uint> row = _pixels.AsSpan((y * _width) + rectangle.X, rectangle.Width);
                int there = y < _frame.Height ? known : 0;
                if (there != 0)
                {
                    _frame.Row(y).Slice(rectangle.X, there).CopyTo(row);
                }

                row[there..].Clear();
            }
        }
    }

    private void ChooseEncoder()
    {
        if (_encoder.Encoding == _wantedEncoding)
        {
            return;
        }

        // Their streams go on where they were left.
        if (_encoders.Find(encoder => encoder.Encoding == _wantedEncoding) is not { } known)
        {
            known = _wantedEncoding switch
            {
                Encodings.Tight => new TightEncoder(),
                Encodings.Zrle => new ZrleEncoder(),
                Encodings.Zlib => new ZlibEncoder(),
                _ => new RawEncoder(),
            };
            _encoders.Add(known);
        }

        _encoder = known;
    }

    /// <summary>For clients without true colour: three bits of red, three of green, two of blue.</summary>
    private void ExplainColors()
    {
        _output.Byte(SetColorMapEntries);
        _output.Zeros(1);
        _output.UInt16(0);
        _output.UInt16(Colors);
        for (int index = 0; index < Colors; index++)
        {
            _output.UInt16((index >> 5) * ushort.MaxValue / 7);
            _output.UInt16((index >> 2 & 7) * ushort.MaxValue / 7);
            _output.UInt16((index & 3) * ushort.MaxValue / 3);
        }
    }
}
