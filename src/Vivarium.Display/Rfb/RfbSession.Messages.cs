using System.Buffers.Binary;

namespace Vivarium.Display.Rfb;

// What clients say (RFC 6143, 7.5, and the registered extensions).
internal sealed partial class RfbSession
{
    private const byte SetPixelFormat = 0;
    private const byte SetEncodings = 2;
    private const byte FramebufferUpdateRequest = 3;
    private const byte KeyEvent = 4;
    private const byte PointerEvent = 5;
    private const byte ClientCutText = 6;
    private const byte SetDesktopSize = 251;
    private const byte Qemu = 255;
    private const byte QemuKeyEvent = 0;

    private const int BytesPerScreen = 16;

    /// <summary>No clipboard is larger, in bytes. Nobody here wants it.</summary>
    private const int LongestCutText = 1 << 20;

    /// <summary>False if the client does not speak the protocol.</summary>
    private async Task<bool> ReadMessageAsync(CancellationToken cancellation)
    {
        switch (await _input.ReadByteAsync(cancellation).ConfigureAwait(false))
        {
            case SetPixelFormat:
                return TakeFormat((await _input.ReadAsync(3 + PixelFormat.Length, cancellation).ConfigureAwait(false)).Span[3..]);

            case SetEncodings:
                return await ReadEncodingsAsync(cancellation).ConfigureAwait(false);

            case FramebufferUpdateRequest:
                Request((await _input.ReadAsync(9, cancellation).ConfigureAwait(false)).Span);
                return true;

            case KeyEvent:
                PressKey((await _input.ReadAsync(7, cancellation).ConfigureAwait(false)).Span);
                return true;

            case PointerEvent:
                MovePointer((await _input.ReadAsync(5, cancellation).ConfigureAwait(false)).Span);
                return true;

            case ClientCutText:
                _ = await _input.ReadAsync(3, cancellation).ConfigureAwait(false);
                uint length = await _input.ReadUInt32Async(cancellation).ConfigureAwait(false);
                await _input.SkipAsync(Math.Min(length, LongestCutText), cancellation).ConfigureAwait(false);
                return length <= LongestCutText;

            case SetDesktopSize:
                int screens = (await _input.ReadAsync(7, cancellation).ConfigureAwait(false)).Span[5];
                await _input.SkipAsync(screens * BytesPerScreen, cancellation).ConfigureAwait(false);
                RefuseResize();
                return true;

            case Qemu:
                if (await _input.ReadByteAsync(cancellation).ConfigureAwait(false) != QemuKeyEvent)
                {
                    return false;
                }

                PressExtendedKey((await _input.ReadAsync(10, cancellation).ConfigureAwait(false)).Span);
                return true;

            default:
                return false;
        }
    }

    private bool TakeFormat(ReadOnlySpan<byte> data)
    {
        if (PixelFormat.Parse(data) is not { } format)
        {
            return false;
        }

        lock (_state)
        {
            _format = format;
            _explainColors = !format.IsTrueColor;
        }

        return true;
    }

    private async Task<bool> ReadEncodingsAsync(CancellationToken cancellation)
    {
        _ = await _input.ReadByteAsync(cancellation).ConfigureAwait(false);
        int count = await _input.ReadUInt16Async(cancellation).ConfigureAwait(false);
        int best = Encodings.Raw;
        bool isChosen = false;
        var pseudo = PseudoEncodings.None;
        for (int i = 0; i < count; i++)
        {
            int encoding = (int)await _input.ReadUInt32Async(cancellation).ConfigureAwait(false);
            switch (encoding)
            {
                // The client names them in the order of its liking.
                case Encodings.Raw or Encodings.Zlib or Encodings.Tight or Encodings.Zrle when !isChosen:
                    best = encoding;
                    isChosen = true;
                    break;
                case Encodings.DesktopSize:
                    pseudo |= PseudoEncodings.DesktopSize;
                    break;
                case Encodings.ExtendedDesktopSize:
                    pseudo |= PseudoEncodings.ExtendedDesktopSize;
                    break;
                case Encodings.Cursor:
                    pseudo |= PseudoEncodings.Cursor;
                    break;
                case Encodings.QemuExtendedKey:
                    pseudo |= PseudoEncodings.ExtendedKey;
                    break;
                case Encodings.QemuPointerMotion:
                    pseudo |= PseudoEncodings.PointerMotion;
                    break;
                case Encodings.DesktopName:
                    pseudo |= PseudoEncodings.DesktopName;
                    break;
            }
        }

        lock (_state)
        {
            _wantedEncoding = best;
            _toAnnounce |= pseudo & ~_understood;
            _understood = pseudo;
        }

        return true;
    }

    private void PressKey(ReadOnlySpan<byte> message) => _keyboard.Set(BinaryPrimitives.ReadUInt32BigEndian(message[3..]), message[0] != 0);

    private void PressExtendedKey(ReadOnlySpan<byte> message) => _keyboard.Set(
        BinaryPrimitives.ReadUInt32BigEndian(message[2..]), BinaryPrimitives.ReadUInt32BigEndian(message[6..]), BinaryPrimitives.ReadUInt16BigEndian(message) != 0);

    private void MovePointer(ReadOnlySpan<byte> message)
    {
        bool sendsMotions;
        int width, height;
        lock (_state)
        {
            sendsMotions = _toldRelative;
            (width, height) = (_width, _height);
        }

        _pointer.Move(message[0], BinaryPrimitives.ReadUInt16BigEndian(message[1..]), BinaryPrimitives.ReadUInt16BigEndian(message[3..]), width, height, sendsMotions);
    }

    private void Request(ReadOnlySpan<byte> message)
    {
        bool incremental = message[0] != 0;
        int x = BinaryPrimitives.ReadUInt16BigEndian(message[1..]), y = BinaryPrimitives.ReadUInt16BigEndian(message[3..]);
        int width = BinaryPrimitives.ReadUInt16BigEndian(message[5..]), height = BinaryPrimitives.ReadUInt16BigEndian(message[7..]);
        if (!incremental)
        {
            _look();
        }

        lock (_state)
        {
            if (!incremental)
            {
                _damage.Add(x, x + width, y, y + height);

                // Whoever asks for everything is told the size again (rfbproto, extended desktop size).
                _toAnnounce |= _understood & PseudoEncodings.ExtendedDesktopSize;
            }

            _requested = true;
        }

        Wake();
    }

    private void RefuseResize()
    {
        lock (_state)
        {
            _refusesResize = true;
        }

        Wake();
    }
}
