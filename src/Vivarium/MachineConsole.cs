using Vivarium.Devices;
using Vivarium.Serial;

namespace Vivarium;

/// <summary>
/// The far end of a guest's serial line or virtio console port. It outlives resets of the machine. Input waits here until
/// the guest has opened its port and the device has room, so that nothing typed or piped in early is lost.
/// </summary>
public sealed class MachineConsole
{
    private const int InputSize = 64 * 1024;
    private const int FeedSize = 16;
    private static readonly TimeSpan s_outputPatience = TimeSpan.FromSeconds(2);

    private readonly ByteQueue _input = new(InputSize);
    private readonly GuestOutput _output = new("console output");
    private readonly object _gate = new();
    private Receiver? _device;
    private Thread? _feeder;
    private bool _ready;
    private bool _closed;

    internal MachineConsole() => Backend = new RecordedOutput(Transcript, _output);

    /// <summary>Receives what the guest writes; null (the default) discards it. Set before the machine starts; the caller keeps ownership.</summary>
    public Stream? Output
    {
        get => _output.Target;
        set => _output.Target = value;
    }

    /// <summary>Makes ready what carries output, if anybody receives it.</summary>
    internal void StartOutput() => _output.StartWriter();

    /// <summary>What the guest wrote last.</summary>
    internal ConsoleTranscript Transcript { get; } = new();

    internal ISerialBackend Backend { get; }

    /// <summary>Queues bytes for the guest; waits while the queue is full. False if the machine has ended.</summary>
    public bool Send(ReadOnlySpan<byte> bytes)
    {
        StartFeeder();
        return _input.Write(bytes);
    }

    /// <summary>Queues bytes for the guest if there is room for all of them.</summary>
    public bool TrySend(ReadOnlySpan<byte> bytes)
    {
        StartFeeder();
        return _input.TryWrite(bytes);
    }

    /// <summary>Gives a device input for the guest; says how many bytes it took.</summary>
    private delegate int Receiver(ReadOnlySpan<byte> bytes);

    /// <summary>Connects the line to the UART of a machine that is about to start.</summary>
    internal void Attach(Uart16550 uart)
    {
        uart.ReceiveReady = WakeFeeder;
        Attach(uart.Receive);
    }

    /// <summary>Connects the line to the port of a machine that is about to start.</summary>
    internal void Attach(VirtioConsolePort port)
    {
        port.ReceiveReady = WakeFeeder;
        Attach(port.Receive);
    }

    /// <summary>Lets a vCPU go that waits because nobody reads its output: its machine is to end.</summary>
    internal void ReleaseWriters() => _output.Release();

    internal void Close()
    {
        lock (_gate)
        {
            _closed = true;
            Monitor.PulseAll(_gate);
        }

        _input.Close();
        _output.Close(s_outputPatience);
    }

    private void Attach(Receiver device)
    {
        lock (_gate)
        {
            _device = device;
            _ready = true;
            Monitor.PulseAll(_gate);
        }
    }

    private void StartFeeder()
    {
        lock (_gate)
        {
            if (_feeder is null && !_closed)
            {
                _feeder = new Thread(Feed) { IsBackground = true, Name = "console input" };
                _feeder.Start();
            }
        }
    }

    private void WakeFeeder()
    {
        lock (_gate)
        {
            _ready = true;
            Monitor.PulseAll(_gate);
        }
    }

    private void Feed()
    {
        Span<byte> buffer = stackalloc byte[FeedSize];
        while (_input.Read(buffer) is > 0 and int length)
        {
            ReadOnlySpan<byte> rest = buffer[..length];
            while (!rest.IsEmpty)
            {
                Receiver? device = WaitUntilReady();
                if (device is null)
                {
                    return;
                }

                rest = rest[device(rest)..];
                if (rest.IsEmpty)
                {
                    // It took all, so there may be room for more; otherwise it will say when.
                    WakeFeeder();
                }
            }
        }
    }

    private Receiver? WaitUntilReady()
    {
        lock (_gate)
        {
            while ((!_ready || _device is null) && !_closed)
            {
                Monitor.Wait(_gate);
            }

            // Cleared before the device is asked: news that comes while it answers is not lost.
            _ready = false;
            return _closed ? null : _device;
        }
    }
}
