using System.Buffers.Binary;
using System.Runtime.InteropServices;
using Vivarium.Memory;

namespace Vivarium.Devices;

/// <summary>
/// A network card (virtio 1.2, 5.1) with one pair of queues and a control queue. Frames are sent on the thread of the vCPU
/// that notified: waking another thread costs more than sending. Received frames go straight into the guest's buffers, on
/// whatever thread brings them.
/// </summary>
/// <remarks>
/// Lock order: locks of the backend, then <see cref="_receiving"/>, then the device's lock. The backend is never called
/// with either of the card's locks held.
/// </remarks>
public sealed class VirtioNet : VirtioDevice, INetworkSink
{
    public const int MacLength = 6;

    private const ushort QueueSize = 256;
    private const ushort ControlQueueSize = 64;
    private const int ReceiveQueue = 0;
    private const int TransmitQueue = 1;
    private const int ControlQueue = 2;

    // Feature bits (5.1.3).
    private const ulong FeatureCsum = 1ul << 0;
    private const ulong FeatureGuestCsum = 1ul << 1;
    private const ulong FeatureCtrlGuestOffloads = 1ul << 2;
    private const ulong FeatureMtu = 1ul << 3;
    private const ulong FeatureMac = 1ul << 5;
    private const ulong FeatureGuestTso4 = 1ul << 7;
    private const ulong FeatureGuestTso6 = 1ul << 8;
    private const ulong FeatureHostTso4 = 1ul << 11;
    private const ulong FeatureHostTso6 = 1ul << 12;
    private const ulong FeatureMrgRxbuf = 1ul << 15;
    private const ulong FeatureStatus = 1ul << 16;
    private const ulong FeatureCtrlVq = 1ul << 17;
    private const ulong FeatureCtrlRx = 1ul << 18;
    private const ulong FeatureCtrlVlan = 1ul << 19;
    private const ulong FeatureCtrlMacAddr = 1ul << 23;
    private const ulong GuestOffloadFeatures = FeatureGuestCsum | FeatureGuestTso4 | FeatureGuestTso6;

    // struct virtio_net_config (5.1.4).
    private const int ConfigLength = 12;
    private const int MacField = 0;
    private const int StatusField = 6;
    private const int MaxVirtqueuePairsField = 8;
    private const int MtuField = 10;
    private const ushort StatusLinkUp = 1;

    /// <summary>struct virtio_net_hdr with num_buffers, which it always has in the modern interface.</summary>
    private const int HeaderLength = 12;
    private const int NumBuffersField = 10;

    // Control commands (5.1.6.5): class, command, data; an acknowledgment.
    private const int CommandLength = 2;
    private const byte AckOk = 0;
    private const byte AckError = 1;
    private const int CommandRxPromisc = 0x000;
    private const int CommandRxAllMulti = 0x001;
    private const int CommandMacTableSet = 0x100;
    private const int CommandMacAddrSet = 0x101;
    private const int CommandVlanAdd = 0x200;
    private const int CommandVlanDel = 0x201;
    private const int CommandGuestOffloadsSet = 0x500;

    // Ethernet.
    private const int TypeOffset = 12;
    private const int MinimumFrame = 14;
    private const ushort TypeVlan = 0x8100;
    private const int VlanIdMask = 0xFFF;
    private const byte GroupAddress = 1;

    /// <summary>More addresses than this, and the card receives for all.</summary>
    private const int MacTableCapacity = 64;
    private const int VlanBytes = (VlanIdMask + 1) / 8;

    private readonly INetworkBackend _backend;
    private readonly byte[] _permanentMac;
    private readonly Lock _receiving = new();
    private readonly VirtqueueChain[] _chains = new VirtqueueChain[QueueSize];
    private readonly uint[] _written = new uint[QueueSize];

    // What follows is guarded by _receiving.
    private readonly byte[] _mac = new byte[MacLength];
    private readonly byte[] _macTable = new byte[MacTableCapacity * MacLength];
    private readonly byte[] _vlans = new byte[VlanBytes];
    private int _macTableLength;
    private bool _macTableOverflow;
    private bool _promiscuous;
    private bool _allMulticast;
    private ulong _guestOffloads;

    private volatile bool _starved;

    /// <param name="mac">Six bytes, as on the wire.</param>
    public VirtioNet(GuestMemory memory, INetworkBackend backend, ReadOnlySpan<byte> mac)
        : base(VirtioDeviceType.Network, DeviceFeatures(backend), memory, ConfigLength, QueueSize, QueueSize, ControlQueueSize)
    {
        ArgumentOutOfRangeException.ThrowIfNotEqual(mac.Length, MacLength);
        _backend = backend;
        _permanentMac = mac.ToArray();
        BinaryPrimitives.WriteUInt16LittleEndian(Config[StatusField..], StatusLinkUp);
        BinaryPrimitives.WriteUInt16LittleEndian(Config[MaxVirtqueuePairsField..], 1);
        BinaryPrimitives.WriteUInt16LittleEndian(Config[MtuField..], (ushort)backend.Mtu);
        ForgetDriver();
        backend.Attach(this);
    }

    public VirtioNetState Save()
    {
        var device = SaveCommon();
        lock (_receiving)
        {
            return new()
            {
                Device = device,
                Mac = [.. _mac],
                MacTableOverflow = _macTableOverflow,
                Promiscuous = _promiscuous,
                AllMulticast = _allMulticast,
                MacTable = _macTable[.._macTableLength],
                Vlans = [.. _vlans],
                GuestOffloads = _guestOffloads,
            };
        }
    }

    public void Restore(VirtioNetState state)
    {
        StateFormat.Require(
            state.Version == VirtioNetState.CurrentVersion && state.Device is not null && state.Mac?.Length == MacLength
            && state.MacTable is { Length: <= MacTableCapacity * MacLength } && state.MacTable.Length % MacLength == 0
            && state.Vlans?.Length == VlanBytes,
            "virtio network card");
        RestoreCommon(state.Device!);
        lock (_receiving)
        {
            SetMac(state.Mac!);
            _macTableOverflow = state.MacTableOverflow;
            _promiscuous = state.Promiscuous;
            _allMulticast = state.AllMulticast;
            state.MacTable!.CopyTo(_macTable, 0);
            _macTableLength = state.MacTable.Length;
            state.Vlans!.CopyTo(_vlans, 0);
            _guestOffloads = state.GuestOffloads & Features & GuestOffloadFeatures;
        }
        OfferGuestOffloads();
        _backend.ReceiveReady();
    }

    bool INetworkSink.TryReceive(ReadOnlySpan<byte> frame, in FrameOffload offload)
    {
        lock (_receiving)
        {
            // Without a driver there is nobody to keep it for.
            return !IsRunning || !IsForGuest(frame) || !IsUnderstood(offload) || TryPlace(frame, offload);
        }
    }

    void INetworkSink.Flush() => Queues[ReceiveQueue].Signal();

    /// <inheritdoc/>
    protected override void OnNotify(Virtqueue queue)
    {
        if (queue.Index == ReceiveQueue)
        {
            // New buffers matter only to who waits for them.
            queue.DisableNotifications();
            if (!_starved)
                return;
            _starved = false;
            _backend.ReceiveReady();
            return;
        }
        Drain(queue);
        if (queue.Index == TransmitQueue)
            _backend.Flush();
    }

    /// <inheritdoc/>
    protected override void Serve(Virtqueue queue, VirtqueueChain chain)
    {
        if (queue.Index == ControlQueue)
        {
            Control(queue, chain);
            return;
        }
        Span<byte> header = stackalloc byte[HeaderLength];
        if (chain.Readable.TryRead(header))
        {
            var offload = MemoryMarshal.Read<FrameOffload>(header);
            if (IsAgreed(offload))
                _backend.Send(chain.Readable.Span, offload);
        }
        else
        {
            NeedReset("a packet has no header");
        }
        queue.Push(chain, 0);
    }

    /// <inheritdoc/>
    protected override void OnFeatures()
    {
        // All that was negotiated is on until the driver says otherwise (5.1.6.5.6).
        _guestOffloads = Features & GuestOffloadFeatures;
    }

    /// <inheritdoc/>
    protected override void OnStart()
    {
        OfferGuestOffloads();
        _starved = false;
        _backend.ReceiveReady();
    }

    /// <inheritdoc/>
    protected override void OnReset()
    {
        ForgetDriver();
        _backend.SetReceiveOffloads(NetworkOffloads.None);
    }

    /// <inheritdoc/>
    protected override void OnQueueReset(Virtqueue queue)
    {
    }

    private static ulong DeviceFeatures(INetworkBackend backend)
    {
        var features = FeatureMac | FeatureMrgRxbuf | FeatureStatus | FeatureCtrlVq | FeatureCtrlRx | FeatureCtrlVlan | FeatureCtrlMacAddr;
        features |= backend.Mtu != 0 ? FeatureMtu : 0;
        features |= backend.Offloads.HasFlag(NetworkOffloads.Checksum) ? FeatureCsum : 0;
        features |= backend.Offloads.HasFlag(NetworkOffloads.Tso4) ? FeatureHostTso4 : 0;
        features |= backend.Offloads.HasFlag(NetworkOffloads.Tso6) ? FeatureHostTso6 : 0;
        features |= backend.ReceiveOffloads.HasFlag(NetworkOffloads.Checksum) ? FeatureGuestCsum | FeatureCtrlGuestOffloads : 0;
        features |= backend.ReceiveOffloads.HasFlag(NetworkOffloads.Tso4) ? FeatureGuestTso4 : 0;
        features |= backend.ReceiveOffloads.HasFlag(NetworkOffloads.Tso6) ? FeatureGuestTso6 : 0;
        return features;
    }

    private void ForgetDriver()
    {
        lock (_receiving)
        {
            SetMac(_permanentMac);
            _macTableLength = 0;
            _macTableOverflow = false;
            _vlans.AsSpan().Clear();
            _allMulticast = false;

            // A driver that does not know the command receives everything (5.1.6.5.1.1).
            _promiscuous = true;
            _guestOffloads = 0;
            _starved = false;
        }
    }

    private void SetMac(ReadOnlySpan<byte> mac)
    {
        mac.CopyTo(_mac);
        lock (Lock)
            mac.CopyTo(Config[MacField..]);
    }

    private void OfferGuestOffloads()
    {
        ulong bits;
        lock (_receiving)
            bits = _guestOffloads;
        _backend.SetReceiveOffloads(
            ((bits & FeatureGuestCsum) != 0 ? NetworkOffloads.Checksum : 0)
            | ((bits & FeatureGuestTso4) != 0 ? NetworkOffloads.Tso4 : 0)
            | ((bits & FeatureGuestTso6) != 0 ? NetworkOffloads.Tso6 : 0));
    }

    /// <summary>The driver asks only for what was negotiated (5.1.6.2.1); other frames are dropped.</summary>
    private bool IsAgreed(in FrameOffload offload) =>
        ((offload.Flags & FrameOffload.NeedsChecksum) == 0 || Has(FeatureCsum))
        && (offload.GsoType & ~FrameOffload.GsoEcn) switch
        {
            FrameOffload.GsoNone => true,
            FrameOffload.GsoTcpV4 => Has(FeatureHostTso4),
            FrameOffload.GsoTcpV6 => Has(FeatureHostTso6),
            _ => false,
        };

    /// <summary>Whether the guest takes such a frame now: the backend may not have heard yet that it does not.</summary>
    private bool IsUnderstood(in FrameOffload offload) =>
        ((offload.Flags & FrameOffload.NeedsChecksum) == 0 || (_guestOffloads & FeatureGuestCsum) != 0)
        && (offload.GsoType & ~FrameOffload.GsoEcn) switch
        {
            FrameOffload.GsoNone => true,
            FrameOffload.GsoTcpV4 => (_guestOffloads & FeatureGuestTso4) != 0,
            FrameOffload.GsoTcpV6 => (_guestOffloads & FeatureGuestTso6) != 0,
            _ => false,
        };

    /// <summary>The filters of 5.1.6.5: by destination address, and by VLAN.</summary>
    private bool IsForGuest(ReadOnlySpan<byte> frame)
    {
        if (frame.Length < MinimumFrame)
            return false;
        if (Has(FeatureCtrlVlan) && BinaryPrimitives.ReadUInt16BigEndian(frame[TypeOffset..]) == TypeVlan && frame.Length >= MinimumFrame + 2)
        {
            var vlan = BinaryPrimitives.ReadUInt16BigEndian(frame[(TypeOffset + 2)..]) & VlanIdMask;
            if ((_vlans[vlan / 8] & 1 << vlan % 8) == 0)
                return false;
        }
        var destination = frame[..MacLength];
        if (_promiscuous || _macTableOverflow || destination.SequenceEqual(_mac))
            return true;
        if ((destination[0] & GroupAddress) != 0 && (_allMulticast || destination.IndexOfAnyExcept((byte)0xFF) < 0))
            return true;
        for (var i = 0; i < _macTableLength; i += MacLength)
        {
            if (destination.SequenceEqual(_macTable.AsSpan(i, MacLength)))
                return true;
        }
        return false;
    }

    /// <summary>
    /// Writes the header and the frame into as many buffers as it takes, or one if they may not be merged (5.1.6.4). False
    /// when the guest has too few; true also for a frame that no number of buffers can hold, which is dropped.
    /// </summary>
    private bool TryPlace(ReadOnlySpan<byte> frame, in FrameOffload offload)
    {
        var queue = Queues[ReceiveQueue];
        var mergeable = Has(FeatureMrgRxbuf);
        var needed = (ulong)(HeaderLength + frame.Length);
        ulong room = 0;
        var count = 0;
        while (room < needed)
        {
            if (count == (mergeable ? Math.Min((int)queue.Size, _chains.Length) : 1))
            {
                PutBack(queue, count);
                return true;
            }
            if (!queue.TryPop(out var chain))
            {
                // Said before asking to be notified, or the notification might come too early.
                _starved = true;
                if (IsRunning && queue.EnableNotifications())
                    continue;
                PutBack(queue, count);
                return false;
            }
            _chains[count++] = chain;
            room += chain.Writable.Length;
            if (chain.Writable.Length < (count == 1 ? HeaderLength : 1u))
            {
                NeedReset("a receive buffer is too small for its header");
                PutBack(queue, count);
                return true;
            }
        }
        _starved = false;

        Span<byte> header = stackalloc byte[HeaderLength];
        var shown = offload;
        if ((_guestOffloads & FeatureGuestCsum) == 0)
            shown.Flags = 0;
        MemoryMarshal.Write(header, in shown);
        BinaryPrimitives.WriteUInt16LittleEndian(header[NumBuffersField..], (ushort)count);
        _chains[0].Writable.TryWrite(header);
        for (var i = 0; i < count; i++)
        {
            ref var buffer = ref _chains[i].Writable;
            var part = (int)Math.Min(buffer.Length, (ulong)frame.Length);
            buffer.TryWrite(frame[..part]);
            frame = frame[part..];
            _written[i] = (uint)(part + (i == 0 ? HeaderLength : 0));
        }
        queue.Push(_chains.AsSpan(0, count), _written.AsSpan(0, count));
        return true;
    }

    private void PutBack(Virtqueue queue, int count)
    {
        while (count > 0)
            queue.Unpop(_chains[--count]);
    }

    private unsafe void Control(Virtqueue queue, VirtqueueChain chain)
    {
        Span<byte> command = stackalloc byte[CommandLength];
        var acknowledgment = chain.Writable.TakeLastByte();
        if (acknowledgment == null || !chain.Readable.TryRead(command))
        {
            NeedReset("a control command has no header or no acknowledgment");
            queue.Push(chain, 0);
            return;
        }
        *acknowledgment = TryControl(BinaryPrimitives.ReadUInt16BigEndian(command), ref chain.Readable) ? AckOk : AckError;
        queue.Push(chain, (uint)chain.WritableCapacity);
    }

    private bool TryControl(int command, ref IoSegments data)
    {
        switch (command)
        {
            case CommandRxPromisc:
                return TryReadSwitch(ref data, ref _promiscuous);
            case CommandRxAllMulti:
                return TryReadSwitch(ref data, ref _allMulticast);
            case CommandMacTableSet:
                return TrySetMacTable(ref data);
            case CommandMacAddrSet:
                Span<byte> mac = stackalloc byte[MacLength];
                if (!data.TryRead(mac) || (mac[0] & GroupAddress) != 0)
                    return false;
                lock (_receiving)
                    SetMac(mac);
                return true;
            case CommandVlanAdd:
            case CommandVlanDel:
                Span<byte> vlan = stackalloc byte[sizeof(ushort)];
                if (!data.TryRead(vlan) || BinaryPrimitives.ReadUInt16LittleEndian(vlan) is var id && id > VlanIdMask)
                    return false;
                lock (_receiving)
                {
                    var bit = (byte)(1 << id % 8);
                    _vlans[id / 8] = (byte)(command == CommandVlanAdd ? _vlans[id / 8] | bit : _vlans[id / 8] & ~bit);
                }
                return true;
            case CommandGuestOffloadsSet when Has(FeatureCtrlGuestOffloads):
                Span<byte> offloads = stackalloc byte[sizeof(ulong)];
                if (!data.TryRead(offloads) || (BinaryPrimitives.ReadUInt64LittleEndian(offloads) & ~(Features & GuestOffloadFeatures)) != 0)
                    return false;
                lock (_receiving)
                    _guestOffloads = BinaryPrimitives.ReadUInt64LittleEndian(offloads);
                OfferGuestOffloads();
                return true;
            default:
                return false;
        }
    }

    private bool TryReadSwitch(ref IoSegments data, ref bool value)
    {
        byte on = 0;
        if (!data.TryRead(new Span<byte>(ref on)))
            return false;
        lock (_receiving)
            value = on != 0;
        return true;
    }

    /// <summary>Two tables, of unicast and of multicast addresses, each with its count before it (5.1.6.5.2).</summary>
    private bool TrySetMacTable(ref IoSegments data)
    {
        Span<byte> table = stackalloc byte[MacTableCapacity * MacLength];
        Span<byte> count = stackalloc byte[sizeof(uint)];
        var length = 0;
        var overflow = false;
        for (var part = 0; part < 2; part++)
        {
            if (!data.TryRead(count))
                return false;
            var bytes = (ulong)BinaryPrimitives.ReadUInt32LittleEndian(count) * MacLength;
            if (bytes > data.Length)
                return false;
            if (bytes > (ulong)(table.Length - length))
            {
                overflow = true;
                data.TrySkip(bytes);
                continue;
            }
            data.TryRead(table.Slice(length, (int)bytes));
            length += (int)bytes;
        }
        lock (_receiving)
        {
            table[..length].CopyTo(_macTable);
            _macTableLength = length;
            _macTableOverflow = overflow;
        }
        return true;
    }
}
