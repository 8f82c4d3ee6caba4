using System.Buffers.Binary;
using System.Security.Cryptography;
using System.Text;
using Vivarium.Devices;

namespace Vivarium.Display.Rfb;

/// <summary>One client, from its handshake to its end. What it sends is believed in nothing; whatever is wrong with it ends the session.</summary>
internal sealed partial class RfbSession
{
    // Security types (RFC 6143, 7.1.2).
    private const byte NoSecurity = 1;
    private const byte VncAuthentication = 2;

    private const int VersionLength = 12;
    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(20);

    /// <summary>Guessing passwords takes time.</summary>
    private static readonly TimeSpan s_refusalDelay = TimeSpan.FromSeconds(1);

    private readonly Stream _stream;
    private readonly RfbHost _host;
    private readonly Frame _frame;
    private readonly Action _look;
    private readonly CancellationTokenSource _ending;
    private readonly RfbInput _input;
    private readonly RfbOutput _output = new();
    private readonly RfbKeyboard _keyboard;
    private readonly RfbPointer _pointer;
    private readonly TaskCompletionSource _ended = new(TaskCreationOptions.RunContinuationsAsynchronously);

    /// <param name="stream">The connection; the session's from now on.</param>
    /// <param name="host">What is shown.</param>
    /// <param name="frame">The picture of all clients; its lock is held while it is looked at.</param>
    /// <param name="look">Brings that up to date.</param>
    /// <param name="closing">Ends the session.</param>
    public RfbSession(Stream stream, RfbHost host, Frame frame, Action look, CancellationToken closing)
    {
        _stream = stream;
        _host = host;
        _frame = frame;
        _look = look;
        _ending = CancellationTokenSource.CreateLinkedTokenSource(closing);
        _input = new RfbInput(stream);
        _keyboard = new RfbKeyboard(host.Keyboard);
        _pointer = new RfbPointer(host.Pointer);
        _encoder = new RawEncoder();
        _encoders.Add(_encoder);
    }

    /// <summary>Completes when the client has gone, for whatever reason.</summary>
    public Task Ended => _ended.Task;

    public void Start() => _ = Task.Run(RunAsync);

    private async Task RunAsync()
    {
        Task sending = Task.CompletedTask;
        try
        {
            using (var patience = CancellationTokenSource.CreateLinkedTokenSource(_ending.Token))
            {
                patience.CancelAfter(s_patience);
                if (!await ShakeHandsAsync(patience.Token).ConfigureAwait(false))
                {
                    return;
                }

                await GreetAsync(patience.Token).ConfigureAwait(false);
            }

            sending = Task.Run(SendUpdatesAsync);
            while (await ReadMessageAsync(_ending.Token).ConfigureAwait(false))
            {
            }
        }
        catch (Exception e) when (IsFarewell(e))
        {
            // It has gone, was too slow to introduce itself, or the server closes.
        }
        finally
        {
            await _ending.CancelAsync().ConfigureAwait(false);
            await _stream.DisposeAsync().ConfigureAwait(false);
            await sending.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            _keyboard.ReleaseAll();
            _pointer.ReleaseAll();
            foreach (RectangleEncoder encoder in _encoders)
            {
                encoder.Dispose();
            }

            _ended.SetResult();
        }
    }

    private static bool IsFarewell(Exception e) => e is IOException or OperationCanceledException or ObjectDisposedException;

    private async Task<bool> ShakeHandsAsync(CancellationToken cancellation)
    {
        await SendAsync("RFB 003.008\n"u8.ToArray(), cancellation).ConfigureAwait(false);
        int minor = ParseVersion((await _input.ReadAsync(VersionLength, cancellation).ConfigureAwait(false)).Span);
        if (minor < 0)
        {
            return false;
        }

        byte type = string.IsNullOrEmpty(_host.Password) ? NoSecurity : VncAuthentication;
        if (minor < 7)
        {
            // The server decides.
            await SendAsync(new byte[] { 0, 0, 0, type }, cancellation).ConfigureAwait(false);
        }
        else
        {
            await SendAsync(new byte[] { 1, type }, cancellation).ConfigureAwait(false);
            if (await _input.ReadByteAsync(cancellation).ConfigureAwait(false) != type)
            {
                await RefuseAsync("there is no such security type here", minor, cancellation).ConfigureAwait(false);
                return false;
            }
        }

        if (type == VncAuthentication && !await AuthenticateAsync(cancellation).ConfigureAwait(false))
        {
            await Task.Delay(s_refusalDelay, cancellation).ConfigureAwait(false);
            await RefuseAsync("the password is wrong", minor, cancellation).ConfigureAwait(false);
            return false;
        }

        if (type == VncAuthentication || minor >= 8)
        {
            await SendAsync(new byte[4], cancellation).ConfigureAwait(false);
        }

        return true;
    }

    /// <summary>The minor version that both speak: 3, 7 or 8; -1 if it is none.</summary>
    private static int ParseVersion(ReadOnlySpan<byte> text)
    {
        if (!text.StartsWith("RFB 003."u8) || text[VersionLength - 1] != (byte)'\n' || !int.TryParse(text[8..11], out int minor))
        {
            return -1;
        }

        return minor >= 8 ? 8 : minor == 7 ? 7 : 3;
    }

    private async Task<bool> AuthenticateAsync(CancellationToken cancellation)
    {
        byte[] challenge = RandomNumberGenerator.GetBytes(VncPassword.ChallengeLength);
        await SendAsync(challenge, cancellation).ConfigureAwait(false);
        ReadOnlyMemory<byte> answer = await _input.ReadAsync(VncPassword.ChallengeLength, cancellation).ConfigureAwait(false);
        return new VncPassword(_host.Password!).Accepts(challenge, answer.Span);
    }

    private async Task RefuseAsync(string reason, int minor, CancellationToken cancellation)
    {
        byte[] text = minor >= 8 ? Encoding.ASCII.GetBytes(reason) : [];
        byte[] answer = new byte[4 + (text.Length == 0 ? 0 : 4 + text.Length)];
        answer[3] = 1;
        if (text.Length != 0)
        {
            BinaryPrimitives.WriteInt32BigEndian(answer.AsSpan(4), text.Length);
            text.CopyTo(answer, 8);
        }

        await SendAsync(answer, cancellation).ConfigureAwait(false);
    }

    private async Task GreetAsync(CancellationToken cancellation)
    {
        // Whether others may stay is not asked: they may.
        _ = await _input.ReadByteAsync(cancellation).ConfigureAwait(false);
        // Nobody may have looked at the screen yet.
        _look();
        lock (_frame)
        {
            (_width, _height) = (_frame.Width, _frame.Height);
            _pixels = _frame.Pixels.ToArray();
            lock (_state)
            {
                _damage.Resize(_width, _height);
            }
        }

        _output.Clear();
        _output.UInt16(_width);
        _output.UInt16(_height);
        PixelFormat.Native.Write(_output);
        _output.Text(_host.Name);
        await SendAsync(_output.Memory, cancellation).ConfigureAwait(false);
    }

    private ValueTask SendAsync(ReadOnlyMemory<byte> bytes, CancellationToken cancellation) => _stream.WriteAsync(bytes, cancellation);
}
