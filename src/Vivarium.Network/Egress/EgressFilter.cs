using System.Buffers.Binary;
using System.Net;

namespace Vivarium.Network;

/// <summary>
/// An allow-list for what a guest sends, decided frame by frame. Allowed are the destinations of the rules; what addresses
/// need to work (ARP, NDP, DHCP); DNS queries for allowed names, whose answers open the addresses in them for as long as
/// they may be cached; and answers to what came in from outside. All else is refused and counted.
/// </summary>
/// <remarks>
/// Every decision is made on a copy that the guest cannot change, with all lengths checked. What would let a frame mean
/// something else on its way is refused: source routes, VLAN tags, checksums written over other fields, fragments whose
/// beginning was not let out.
/// </remarks>
public sealed class EgressFilter
{
    // Lifetimes in ms. A TCP connection may rest for a day; answers to a datagram come soon.
    private const long Second = 1000;
    private const long TcpLifetime = 24 * 3600 * Second;
    private const long DatagramLifetime = 180 * Second;
    private const long FragmentLifetime = 30 * Second;

    /// <summary>Programs look a name up and connect a little later, even if its answer may not be cached at all.</summary>
    private const long MinimumAnswerLifetime = 60 * Second;
    private const long MaximumAnswerLifetime = 24 * 3600 * Second;

    private const int FlowCapacity = 16384;
    private const int AddressCapacity = 8192;
    private const int FragmentCapacity = 1024;

    /// <summary>No answer that a stub resolver is sent has more records, or a longer chain of aliases.</summary>
    private const int MaximumRecords = 256;
    private const int MaximumAliases = 16;

    /// <summary>Stands for all ports in <see cref="Opening"/>.</summary>
    private const ushort AnyPort = 0;

    private const byte IcmpEchoReply = 0;
    private const byte IcmpEcho = 8;
    private const byte IcmpV6Echo = 128;
    private const byte IcmpV6EchoReply = 129;
    private const int EchoIdOffset = 4;
    private const int MinimumIcmpLength = 8;
    private const int ArpLength = 28;

    private readonly record struct AddressRange(UInt128 First, UInt128 Mask, ushort? Port)
    {
        public bool Contains(PeerAddress address) => (address.Value & Mask) == First;
    }

    private readonly record struct Opening(PeerAddress Address, ushort Port);

    private readonly record struct Flow(PeerAddress Guest, PeerAddress Peer, ushort GuestPort, ushort PeerPort, byte Protocol);

    private readonly record struct FragmentedPacket(PeerAddress Source, PeerAddress Destination, uint Id, byte Protocol);

    private readonly Lock _lock = new();
    private readonly TimeProvider _time;
    private readonly EgressRule[] _names;
    private readonly AddressRange[] _ranges;
    private readonly AddressRange[] _hostAddresses;
    private readonly HashSet<PeerAddress> _nameServers;
    private readonly HashSet<PeerAddress> _dhcpServers;
    private readonly ExpiringTable<Opening> _openings = new(AddressCapacity);
    private readonly ExpiringTable<Flow> _flows = new(FlowCapacity);
    private readonly ExpiringTable<FragmentedPacket> _fragments = new(FragmentCapacity);
    private readonly long[] _refused = new long[Enum.GetValues<EgressRefusal>().Length];
    private readonly char[] _lastRefusedName = new char[DnsMessage.MaximumName];
    private long _allowed;
    private int _lastRefusedNameLength;
    private Opening? _lastRefused;

    public EgressFilter(EgressFilterOptions options)
    {
        ArgumentNullException.ThrowIfNull(options);
        _time = options.Time;
        _names = [.. options.Rules.Where(rule => rule.Name is not null)];
        _ranges = [.. options.Rules.Where(rule => rule.Address is not null).Select(rule => Range(rule.Address!, rule.PrefixLength, rule.Port))];
        _hostAddresses = [.. options.HostAddresses.Select(network => Range(network.BaseAddress, network.PrefixLength, null))];
        _nameServers = [.. options.NameServers.Select(PeerAddress.From)];
        _dhcpServers = [.. options.DhcpServers.Select(PeerAddress.From)];
    }

    /// <summary>What was decided so far.</summary>
    public EgressCounters Counters
    {
        get
        {
            lock (_lock)
            {
                var refused = new Dictionary<EgressRefusal, long>();
                foreach (var reason in Enum.GetValues<EgressRefusal>())
                {
                    if (_refused[(int)reason] != 0)
                        refused[reason] = _refused[(int)reason];
                }
                return new(_allowed, refused, DescribeLastRefused());
            }
        }
    }

    /// <summary>Decides on a frame of the guest, which must not change any more, and counts it. Null lets it out.</summary>
    internal EgressRefusal? Decide(ReadOnlySpan<byte> frame, in FrameOffload offload, in FrameHeaders headers)
    {
        lock (_lock)
        {
            var refusal = Judge(frame, offload, headers, Now());
            if (refusal is { } reason)
            {
                _refused[(int)reason]++;
                if (headers.Kind is FrameKind.IPv4 or FrameKind.IPv6 && reason != EgressRefusal.Name)
                {
                    _lastRefused = new(PeerAddress.From(headers.Destination(frame)), headers.DestinationPort);
                    _lastRefusedNameLength = 0;
                }
            }
            else
            {
                _allowed++;
            }
            return refusal;
        }
    }

    /// <summary>Looks at a frame for the guest: it may begin an exchange from outside, or answer a DNS query.</summary>
    internal void Observe(ReadOnlySpan<byte> frame)
    {
        if (!FrameHeaders.TryParse(frame, out var headers) || headers.IsLaterFragment)
            return;
        var segment = frame[headers.TransportOffset..headers.End];
        switch (headers.Protocol)
        {
            case IpProtocol.Tcp when headers.HasPorts && (segment[Tcp.FlagsOffset] & (Tcp.Syn | Tcp.Acknowledge)) == Tcp.Syn:
                Admit(FlowToGuest(frame, headers, headers.DestinationPort, headers.SourcePort), TcpLifetime);
                break;
            case IpProtocol.Udp when headers.HasPorts:
                ObserveDatagram(frame, headers);
                break;
            case IpProtocol.Icmp when !headers.IsIPv6 && segment.Length >= MinimumIcmpLength && segment[0] == IcmpEcho:
            case IpProtocol.IcmpV6 when headers.IsIPv6 && segment.Length >= MinimumIcmpLength && segment[0] == IcmpV6Echo:
                Admit(FlowToGuest(frame, headers, EchoId(segment), 0), DatagramLifetime);
                break;
        }
    }

    private EgressRefusal? Judge(ReadOnlySpan<byte> frame, in FrameOffload offload, in FrameHeaders headers, long now)
    {
        if (headers.Kind == FrameKind.Malformed || !Fits(offload, headers))
            return EgressRefusal.Malformed;
        if (headers.IsTagged)
            return EgressRefusal.Vlan;
        if (headers.Kind == FrameKind.Arp)
            return frame.Length - headers.NetworkOffset < ArpLength ? EgressRefusal.Malformed : null;
        if (headers.Kind == FrameKind.Other)
            return EgressRefusal.Protocol;
        if (headers.IsSourceRouted)
            return EgressRefusal.SourceRoute;

        var destination = PeerAddress.From(headers.Destination(frame));
        var source = PeerAddress.From(headers.Source(frame));
        var packet = new FragmentedPacket(source, destination, headers.FragmentId, headers.IsIPv6 ? (byte)0 : headers.Protocol);
        if (headers.IsLaterFragment)
            return IsOpen(destination, null, now) || _fragments.Contains(packet, now) ? null : EgressRefusal.Fragment;
        var refusal = JudgePacket(frame, headers, source, destination, now);
        if (refusal is null && headers.IsFragment)
            _fragments.Add(packet, now, now + FragmentLifetime);
        return refusal;
    }

    private EgressRefusal? JudgePacket(ReadOnlySpan<byte> frame, in FrameHeaders headers, PeerAddress source, PeerAddress destination, long now)
    {
        if (!headers.IsFragment && MakesAddressesWork(frame, headers, destination))
            return null;
        ushort? port = headers.HasPorts ? headers.DestinationPort : null;
        var isOpen = IsOpen(destination, port, now);
        if (!isOpen && destination.IsGroup)
            return EgressRefusal.Multicast;
        var segment = frame[headers.TransportOffset..headers.End];
        var flow = new Flow(source, destination, headers.SourcePort, headers.DestinationPort, headers.Protocol);
        switch (headers.Protocol)
        {
            case IpProtocol.Tcp:
                var begins = (segment[Tcp.FlagsOffset] & (Tcp.Syn | Tcp.Acknowledge)) == Tcp.Syn;
                if (!begins && _flows.Refresh(flow, now, now + TcpLifetime))
                    return null;
                if (isOpen)
                    _flows.Add(flow, now, now + TcpLifetime);
                break;
            case IpProtocol.Udp:
                // The name servers' flows only tell which answers were asked for.
                if (_nameServers.Contains(destination))
                    return JudgeQuery(segment[Udp.HeaderLength..], headers, flow, isOpen, now);
                if (_flows.Refresh(flow, now, now + DatagramLifetime))
                    return null;
                if (isOpen)
                    _flows.Add(flow, now, now + DatagramLifetime);
                break;
            case IpProtocol.Icmp when !headers.IsIPv6 && segment.Length >= MinimumIcmpLength && segment[0] == IcmpEchoReply:
            case IpProtocol.IcmpV6 when headers.IsIPv6 && segment.Length >= MinimumIcmpLength && segment[0] == IcmpV6EchoReply:
                if (_flows.Contains(flow with { GuestPort = EchoId(segment) }, now))
                    return null;
                break;
        }
        if (isOpen)
            return null;
        return _nameServers.Contains(destination) ? EgressRefusal.NotAQuery : EgressRefusal.Destination;
    }

    private EgressRefusal? JudgeQuery(ReadOnlySpan<byte> message, in FrameHeaders headers, in Flow flow, bool isOpen, long now)
    {
        if (!isOpen)
        {
            Span<char> name = stackalloc char[DnsMessage.MaximumName];
            if (headers.DestinationPort != DnsMessage.Port || headers.IsFragment || !DnsMessage.TryReadQuery(message, name, out var length, out _))
                return EgressRefusal.NotAQuery;
            if (!IsAllowed(name[..length]))
            {
                name[..length].CopyTo(_lastRefusedName);
                _lastRefusedNameLength = length;
                return EgressRefusal.Name;
            }
        }
        _flows.Add(flow, now, now + DatagramLifetime);
        return null;
    }

    /// <summary>Neighbour discovery, group membership and DHCP: none of it leaves the guest's own network.</summary>
    private bool MakesAddressesWork(ReadOnlySpan<byte> frame, in FrameHeaders headers, PeerAddress destination)
    {
        const ushort DhcpClient = 68;
        const ushort DhcpServer = 67;
        const ushort DhcpV6Client = 546;
        const ushort DhcpV6Server = 547;
        const byte OnLinkHopLimit = 255;
        const byte MulticastListenerReport = 131;
        const byte MulticastListenerDone = 132;
        const byte RouterSolicitation = 133;
        const byte NeighborSolicitation = 135;
        const byte NeighborAdvertisement = 136;
        const byte MulticastListenerReport2 = 143;

        var isLinkLocalGroup = headers.IsIPv6 && destination.Value >> 112 == 0xFF02;
        switch (headers.Protocol)
        {
            case IpProtocol.Udp when !headers.IsIPv6:
                var isBroadcast = headers.Destination(frame).IndexOfAnyExcept((byte)0xFF) < 0;
                return headers is { SourcePort: DhcpClient, DestinationPort: DhcpServer } && (isBroadcast || _dhcpServers.Contains(destination));
            case IpProtocol.Udp:
                return isLinkLocalGroup && headers is { SourcePort: DhcpV6Client, DestinationPort: DhcpV6Server };
            case IpProtocol.IcmpV6 when headers.IsIPv6 && headers.End > headers.TransportOffset:
                return frame[headers.TransportOffset] switch
                {
                    RouterSolicitation or NeighborSolicitation or NeighborAdvertisement => frame[headers.NetworkOffset + IPv6.HopLimitOffset] == OnLinkHopLimit,
                    MulticastListenerReport or MulticastListenerDone or MulticastListenerReport2 => isLinkLocalGroup,
                    _ => false,
                };
            default:
                return false;
        }
    }

    /// <summary>
    /// What is still to be done to the frame must not change what it was judged by: a checksum is written only where the
    /// transport header has it.
    /// </summary>
    private static bool Fits(in FrameOffload offload, in FrameHeaders headers)
    {
        var needsChecksum = (offload.Flags & FrameOffload.NeedsChecksum) != 0;
        var segmentation = offload.GsoType & ~FrameOffload.GsoEcn;
        if (!needsChecksum)
            return segmentation == FrameOffload.GsoNone;
        var checksumOffset = headers.Protocol == IpProtocol.Tcp ? Tcp.ChecksumOffset : Udp.ChecksumOffset;
        if (!headers.HasPorts || headers.IsFragment || offload.ChecksumStart != headers.TransportOffset || offload.ChecksumOffset != checksumOffset)
            return false;
        return segmentation switch
        {
            FrameOffload.GsoNone => true,
            FrameOffload.GsoTcpV4 => !headers.IsIPv6 && headers.Protocol == IpProtocol.Tcp,
            FrameOffload.GsoTcpV6 => headers.IsIPv6 && headers.Protocol == IpProtocol.Tcp,
            _ => false,
        };
    }

    private void ObserveDatagram(ReadOnlySpan<byte> frame, in FrameHeaders headers)
    {
        var flow = FlowToGuest(frame, headers, headers.DestinationPort, headers.SourcePort);
        if (!_nameServers.Contains(flow.Peer))
        {
            Admit(flow, DatagramLifetime);
            return;
        }
        if (headers.SourcePort != DnsMessage.Port || headers.IsFragment)
            return;
        lock (_lock)
        {
            var now = Now();
            if (_flows.Contains(flow, now))
                OpenAnswers(frame[(headers.TransportOffset + Udp.HeaderLength)..headers.End], now);
        }
    }

    /// <summary>Opens the addresses that an answer gives for an allowed name, also through aliases (CNAME).</summary>
    private void OpenAnswers(ReadOnlySpan<byte> message, long now)
    {
        Span<char> question = stackalloc char[DnsMessage.MaximumName];
        if (!DnsMessage.TryReadQuestion(message, question, out var questionLength, out var answers) || !IsAllowed(question[..questionLength]))
            return;
        var flags = BinaryPrimitives.ReadUInt16BigEndian(message[DnsMessage.FlagsOffset..]);
        if ((flags & DnsMessage.FlagResponse) == 0 || (flags & DnsMessage.ResponseCode) != 0)
            return;
        var records = Math.Min((int)BinaryPrimitives.ReadUInt16BigEndian(message[DnsMessage.AnswerCountOffset..]), MaximumRecords);

        // The names that the question's name stands for; an alias is good no longer than the shortest on its way.
        Span<char> name = stackalloc char[DnsMessage.MaximumName];
        Span<char> owner = stackalloc char[DnsMessage.MaximumName];
        question.CopyTo(name);
        var nameLength = questionLength;
        var lifetime = uint.MaxValue;
        for (var alias = 0; alias <= MaximumAliases; alias++)
        {
            var at = answers;
            var next = -1;
            var nextLifetime = lifetime;
            for (var i = 0; i < records && DnsMessage.TryReadRecord(message, ref at, out var record); i++)
            {
                if (record.Class != DnsMessage.ClassInternet
                    || !DnsMessage.TryReadName(message, record.NameOffset, owner, out var ownerLength, out _)
                    || !owner[..ownerLength].SequenceEqual(name[..nameLength]))
                    continue;
                var expected = record.Type == DnsMessage.TypeA ? IPv4.AddressLength : IPv6.AddressLength;
                if (record.Type is DnsMessage.TypeA or DnsMessage.TypeAaaa && record.DataLength == expected)
                    Open(PeerAddress.From(message.Slice(record.DataOffset, record.DataLength)), question[..questionLength], Math.Min(lifetime, record.TimeToLive), now);
                if (record.Type == DnsMessage.TypeCname && next < 0)
                    (next, nextLifetime) = (record.DataOffset, Math.Min(lifetime, record.TimeToLive));
            }
            if (next < 0 || !DnsMessage.TryReadName(message, next, name, out nameLength, out _))
                return;
            lifetime = nextLifetime;
        }
    }

    private void Open(PeerAddress address, ReadOnlySpan<char> name, uint timeToLive, long now)
    {
        if (address.IsGroup || address.IsLocalOrNobody)
            return;
        foreach (var range in _hostAddresses)
        {
            if (range.Contains(address))
                return;
        }
        var expiry = now + Math.Clamp(timeToLive * Second, MinimumAnswerLifetime, MaximumAnswerLifetime);
        foreach (var rule in _names)
        {
            if (rule.Matches(name))
                _openings.Add(new(address, rule.Port ?? AnyPort), now, expiry);
        }
    }

    private bool IsAllowed(ReadOnlySpan<char> name)
    {
        foreach (var rule in _names)
        {
            if (rule.Matches(name))
                return true;
        }
        return false;
    }

    /// <summary>Whether a rule or a DNS answer allows the port, or everything when there is none.</summary>
    private bool IsOpen(PeerAddress destination, ushort? port, long now)
    {
        foreach (var range in _ranges)
        {
            if ((range.Port is null || range.Port == port) && range.Contains(destination))
                return true;
        }
        return _openings.Contains(new(destination, AnyPort), now)
            || (port is { } one && one != AnyPort && _openings.Contains(new(destination, one), now));
    }

    private void Admit(in Flow flow, long lifetime)
    {
        lock (_lock)
        {
            var now = Now();
            _flows.Add(flow, now, now + lifetime);
        }
    }

    private static Flow FlowToGuest(ReadOnlySpan<byte> frame, in FrameHeaders headers, ushort guestPort, ushort peerPort) =>
        new(PeerAddress.From(headers.Destination(frame)), PeerAddress.From(headers.Source(frame)), guestPort, peerPort, headers.Protocol);

    private static ushort EchoId(ReadOnlySpan<byte> segment) => BinaryPrimitives.ReadUInt16BigEndian(segment[EchoIdOffset..]);

    private static AddressRange Range(IPAddress first, int prefixLength, ushort? port)
    {
        var mask = PeerAddress.Mask(first, prefixLength);
        return new(PeerAddress.From(first).Value & mask, mask, port);
    }

    private string? DescribeLastRefused()
    {
        if (_lastRefusedNameLength != 0)
            return new(_lastRefusedName, 0, _lastRefusedNameLength);
        if (_lastRefused is not { } last)
            return null;
        var address = last.Address.ToString();
        return last.Port == 0 ? address
            : address.Contains(':', StringComparison.Ordinal) ? $"[{address}]:{last.Port}"
            : $"{address}:{last.Port}";
    }

    private long Now() => (long)_time.GetElapsedTime(0).TotalMilliseconds;
}
