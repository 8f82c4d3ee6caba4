using System.Buffers.Binary;
using Vivarium.Memory;

namespace Vivarium.Devices;

/// <summary>
/// A console device (virtio 1.2, 5.3) with one port, or several found through control queues. A single console port
/// without a name does not need those and does without: old Linux drivers read a control message's size the wrong way
/// round, but the configuration space's correctly.
/// </summary>
public sealed class VirtioConsole : VirtioDevice
{
    public const int MaxPorts = 31;

    private const ushort QueueSize = 64;

    // Feature bits (5.3.3).
    private const ulong FeatureSize = 1ul << 0;
    private const ulong FeatureMultiport = 1ul << 1;

    // struct virtio_console_config (5.3.4).
    private const int ConfigLength = 12;
    private const int ColsField = 0;
    private const int RowsField = 2;
    private const int MaxPortsField = 4;

    // Queues (5.3.2): port 0, control, the other ports; of each pair the first receives.
    private const int ControlReceiveQueue = 2;
    private const int ControlTransmitQueue = 3;

    // struct virtio_console_control (5.3.6.2): id, event, value.
    private const int ControlLength = 8;
    private const int EventField = 4;
    private const int ValueField = 6;
    private const int MaxControlLength = ControlLength + VirtioConsolePort.MaxName;

    /// <summary>Output is copied in pieces: the guest may change it meanwhile.</summary>
    private const int OutputPiece = 4096;

    private const int InputPiece = 256;

    private enum ControlEvent : ushort
    {
        DeviceReady = 0,
        DeviceAdd = 1,
        DeviceRemove = 2,
        PortReady = 3,
        ConsolePort = 4,
        Resize = 5,
        PortOpen = 6,
        PortName = 7,
    }

    private readonly VirtioConsolePort[] _ports;

    public VirtioConsole(GuestMemory memory, params ReadOnlySpan<VirtioConsolePort> ports)
        : base(VirtioDeviceType.Console, FeatureSize | (NeedsControl(ports) ? FeatureMultiport : 0), memory, ConfigLength, QueueSizes(ports))
    {
        _ports = [.. ports];
        BinaryPrimitives.WriteUInt32LittleEndian(Config[MaxPortsField..], (uint)_ports.Length);
        for (var i = 0; i < _ports.Length; i++)
            _ports[i].Connect(this, i);
    }

    /// <summary>Tells the guest the terminal's size in characters.</summary>
    public void Resize(ushort columns, ushort rows)
    {
        lock (Lock)
        {
            BinaryPrimitives.WriteUInt16LittleEndian(Config[ColsField..], columns);
            BinaryPrimitives.WriteUInt16LittleEndian(Config[RowsField..], rows);
            ConfigChanged();
            if (!Has(FeatureMultiport))
                return;
            foreach (var port in _ports)
            {
                if (port.IsConsole)
                    port.Messages |= VirtioConsoleMessages.Resize;
            }

            SendControl();
        }
    }

    public VirtioConsoleState Save()
    {
        var device = SaveCommon();
        lock (Lock)
        {
            return new()
            {
                Device = device,
                Ports = [.. _ports.Select(port => new VirtioConsolePortState
                {
                    Waiting = port.Waiting.ToArray(),
                    GuestOpen = port.IsGuestOpen,
                    Messages = (byte)port.Messages,
                })],
            };
        }
    }

    public void Restore(VirtioConsoleState state)
    {
        StateFormat.Require(state.Version == VirtioConsoleState.CurrentVersion && state.Device is not null
            && state.Ports?.Length == _ports.Length, "virtio console");
        RestoreCommon(state.Device!);
        lock (Lock)
        {
            for (var i = 0; i < _ports.Length; i++)
            {
                var port = _ports[i];
                var saved = state.Ports![i];
                port.Waiting.Clear();
                StateFormat.Require(saved.Waiting is not null && saved.Waiting.Length <= port.Waiting.Room, "virtio console");
                foreach (var value in saved.Waiting!)
                    port.Waiting.Enqueue(value);
                port.IsGuestOpen = saved.GuestOpen;
                port.Messages = (VirtioConsoleMessages)saved.Messages;
            }
        }
    }

    /// <summary>Moves a port's waiting input into the guest's buffers; lock held.</summary>
    internal void Deliver(VirtioConsolePort port)
    {
        // A port that nobody has opened has nobody to lose the input to.
        if (Has(FeatureMultiport) && !port.IsGuestOpen)
            return;
        var queue = Queues[ReceiveQueue(port)];
        do
        {
            while (port.Waiting.Count != 0 && queue.TryPop(out var chain))
            {
                if (chain.Writable.Length == 0)
                    NeedReset("a console's receive buffer cannot be written");
                queue.Push(chain, Fill(chain, port.Waiting));
            }
        }
        while (port.Waiting.Count != 0 && queue.EnableNotifications());

        queue.Signal();
    }

    /// <inheritdoc/>
    protected override void OnNotify(Virtqueue queue)
    {
        if (queue.Index == ControlReceiveQueue)
        {
            lock (Lock)
                SendControl();
        }
        else if (queue.Index != ControlTransmitQueue && (queue.Index & 1) == 0)
        {
            Receive(PortOf(queue));
        }
        else
        {
            Drain(queue);
        }
    }

    /// <inheritdoc/>
    protected override void Serve(Virtqueue queue, VirtqueueChain chain)
    {
        if (queue.Index == ControlTransmitQueue)
            TakeControl(chain);
        else
            Transmit(PortOf(queue), chain);
        queue.Push(chain, 0);
    }

    /// <inheritdoc/>
    protected override void OnReset()
    {
        lock (Lock)
        {
            foreach (var port in _ports)
            {
                port.Messages = VirtioConsoleMessages.None;
                port.IsGuestOpen = false;
            }
        }
    }

    /// <inheritdoc/>
    protected override void OnQueueReset(Virtqueue queue)
    {
    }

    private static bool NeedsControl(ReadOnlySpan<VirtioConsolePort> ports) =>
        ports.Length > 1 || !ports[0].IsConsole || ports[0].NameBytes.Length != 0;

    private static ushort[] QueueSizes(ReadOnlySpan<VirtioConsolePort> ports)
    {
        ArgumentOutOfRangeException.ThrowIfZero(ports.Length, nameof(ports));
        ArgumentOutOfRangeException.ThrowIfGreaterThan(ports.Length, MaxPorts, nameof(ports));
        var sizes = new ushort[NeedsControl(ports) ? 2 * (ports.Length + 1) : 2];
        Array.Fill(sizes, QueueSize);
        return sizes;
    }

    private static int ReceiveQueue(VirtioConsolePort port) => port.Number == 0 ? 0 : 2 * (port.Number + 1);

    /// <summary>For all queues but the control queues.</summary>
    private VirtioConsolePort PortOf(Virtqueue queue) => _ports[queue.Index < ControlReceiveQueue ? 0 : queue.Index / 2 - 1];

    private static void Transmit(VirtioConsolePort port, VirtqueueChain chain)
    {
        Span<byte> piece = stackalloc byte[OutputPiece];
        while (chain.Readable.Length != 0)
        {
            var part = piece[..(int)Math.Min((ulong)piece.Length, chain.Readable.Length)];
            chain.Readable.TryRead(part);
            port.Output?.Write(part);
        }
    }

    private static uint Fill(VirtqueueChain chain, ByteQueue input)
    {
        Span<byte> piece = stackalloc byte[InputPiece];
        uint written = 0;
        while (input.Count != 0 && chain.Writable.Length != 0)
        {
            var length = (int)Math.Min(chain.Writable.Length, (ulong)Math.Min(input.Count, piece.Length));
            for (var i = 0; i < length; i++)
                piece[i] = input.Dequeue();
            chain.Writable.TryWrite(piece[..length]);
            written += (uint)length;
        }

        return written;
    }

    private void Receive(VirtioConsolePort port)
    {
        bool tell;
        lock (Lock)
        {
            Deliver(port);
            tell = port.Refused && port.Waiting.Room != 0;
            if (tell)
                port.Refused = false;
        }

        if (tell)
            port.ReceiveReady?.Invoke();
    }

    private void TakeControl(VirtqueueChain chain)
    {
        Span<byte> message = stackalloc byte[ControlLength];
        if (!chain.Readable.TryRead(message))
            return;
        var number = BinaryPrimitives.ReadUInt32LittleEndian(message);
        var kind = (ControlEvent)BinaryPrimitives.ReadUInt16LittleEndian(message[EventField..]);
        var value = BinaryPrimitives.ReadUInt16LittleEndian(message[ValueField..]);
        var port = number < (uint)_ports.Length ? _ports[number] : null;
        bool? opened = null;
        lock (Lock)
        {
            switch (kind)
            {
                case ControlEvent.DeviceReady when value == 1:
                    foreach (var each in _ports)
                        each.Messages |= VirtioConsoleMessages.Add;
                    break;
                case ControlEvent.PortReady when port is not null && value == 1:
                    port.Messages |= VirtioConsoleMessages.Open
                        | (port.NameBytes.Length != 0 ? VirtioConsoleMessages.Name : 0)
                        | (port.IsConsole ? VirtioConsoleMessages.ConsolePort : 0)
                        | (port.IsConsole && HasSize ? VirtioConsoleMessages.Resize : 0);
                    break;
                case ControlEvent.PortOpen when port is not null:
                    port.IsGuestOpen = value != 0;
                    opened = value != 0;
                    break;
            }

            SendControl();
        }

        if (port is null || opened is not { } isOpen)
            return;
        port.GuestOpened?.Invoke(isOpen);
        Receive(port);
    }

    private bool HasSize => BinaryPrimitives.ReadUInt16LittleEndian(Config[ColsField..]) != 0;

    /// <summary>Sends what control messages wait, as far as there are buffers; lock held.</summary>
    private void SendControl()
    {
        if (!Has(FeatureMultiport))
            return;
        var queue = Queues[ControlReceiveQueue];
        foreach (var port in _ports)
        {
            do
            {
                while (port.Messages != VirtioConsoleMessages.None && queue.TryPop(out var chain))
                    queue.Push(chain, SendNext(port, chain));
            }
            while (port.Messages != VirtioConsoleMessages.None && queue.EnableNotifications());
        }

        queue.Signal();
    }

    private uint SendNext(VirtioConsolePort port, VirtqueueChain chain)
    {
        // The lowest bit comes first.
        Span<byte> message = stackalloc byte[MaxControlLength];
        var next = port.Messages & (VirtioConsoleMessages)(-(int)port.Messages);
        var length = Compose(next, port, message);
        port.Messages &= ~next;
        if (chain.Writable.TryWrite(message[..length]))
            return (uint)length;
        NeedReset("a console's control buffer is too small");
        return 0;
    }

    private int Compose(VirtioConsoleMessages kind, VirtioConsolePort port, Span<byte> message)
    {
        var (code, value) = kind switch
        {
            VirtioConsoleMessages.Add => (ControlEvent.DeviceAdd, 0),
            VirtioConsoleMessages.Name => (ControlEvent.PortName, 1),
            VirtioConsoleMessages.ConsolePort => (ControlEvent.ConsolePort, 1),
            VirtioConsoleMessages.Resize => (ControlEvent.Resize, 0),
            _ => (ControlEvent.PortOpen, 1),
        };
        BinaryPrimitives.WriteUInt32LittleEndian(message, (uint)port.Number);
        BinaryPrimitives.WriteUInt16LittleEndian(message[EventField..], (ushort)code);
        BinaryPrimitives.WriteUInt16LittleEndian(message[ValueField..], (ushort)value);
        switch (code)
        {
            case ControlEvent.PortName:
                port.NameBytes.CopyTo(message[ControlLength..]);
                return ControlLength + port.NameBytes.Length;
            case ControlEvent.Resize:
                // struct virtio_console_resize: columns, rows, as in the configuration space.
                Config[..MaxPortsField].CopyTo(message[ControlLength..]);
                return ControlLength + MaxPortsField;
            default:
                return ControlLength;
        }
    }
}
