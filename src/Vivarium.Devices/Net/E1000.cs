using System.Runtime.InteropServices;
using Vivarium.Memory;
using static Vivarium.Devices.E1000Registers;

namespace Vivarium.Devices;

/// <summary>
/// An Intel 82540EM gigabit network card, "e1000" (PCI/PCI-X Family of Gigabit Ethernet Controllers Software Developer's
/// Manual). Frames are sent on the thread of the vCPU that wrote TDT; received ones go into the guest's buffers on whatever
/// thread brings them. Delays of single interrupts (RDTR, TIDV) are not kept, the throttle (ITR) is. The link is always up.
/// </summary>
/// <remarks>
/// Lock order: locks of the backend, then the card's, then the function's. The backend is never called with the card's lock
/// held. One thread at a time sends (<see cref="TransmitTurn"/>).
/// </remarks>
public sealed class E1000 : DwordRegisters, IPortDevice, INetworkSink, IDisposable
{
    public const int MacLength = EthernetFrame.MacLength;

    private const int MemorySize = 0x2_0000;
    private const int PortCount = 64;
    private const ushort PortAddressOffset = 0;
    private const ushort PortDataOffset = 4;
    private const int DescriptorLength = 16;
    private const byte DescriptorDone = 1;
    private const int DescriptorStatusOffset = 12;
    private const long ThrottleNanoseconds = 256;

    private static readonly PciIdentity s_identity = new(0x8086, 0x100E, 0x02, 0x02_00_00, 0x8086, 0x001E);

    private readonly Lock _lock = new();
    private readonly GuestMemory _memory;
    private readonly INetworkBackend _backend;
    private readonly MachineClock _clock;
    private readonly ClockTimer _throttle;
    private readonly TransmitTurn _turn;
    private readonly E1000RegisterFile _registers;
    private readonly E1000Eeprom _eeprom;
    private readonly E1000Phy _phy = new();
    private readonly E1000Statistics _statistics;
    private readonly E1000Receiver _receiver;
    private readonly E1000Transmitter _transmitter;
    private uint _causes;
    private uint _mask;
    private uint _portAddress;
    private bool _starved;
    private bool _disposed;

    /// <summary>Before this guest time the line does not rise again.</summary>
    private long _quietUntil;

    private bool _transmitterIsStale;
    private bool _loopsBack;

    /// <param name="mac">Six bytes, as on the wire.</param>
    public E1000(GuestMemory memory, INetworkBackend backend, MachineClock clock, ReadOnlySpan<byte> mac)
    {
        ArgumentOutOfRangeException.ThrowIfNotEqual(mac.Length, MacLength);
        _memory = memory;
        _backend = backend;
        _clock = clock;
        _throttle = clock.Deadlines.CreateTimer(OnThrottle);
        _turn = new TransmitTurn(clock, TransmitOne, OnTransmitted);
        _registers = new E1000RegisterFile(mac.ToArray());
        _eeprom = new E1000Eeprom(mac, s_identity);
        _statistics = new E1000Statistics(_registers);
        _receiver = new E1000Receiver(memory, _registers, _statistics);
        _transmitter = new E1000Transmitter(memory, Send, isIPv4 => backend.Offloads.HasFlag(isIPv4 ? NetworkOffloads.Tso4 : NetworkOffloads.Tso6) && !_loopsBack);
        Function = new PciFunction("e1000", s_identity);
        Function.AddMemoryBar(0, MemorySize, this);
        Function.AddPortBar(2, PortCount, this);
        Function.BusMasterChanged = enabled =>
        {
            if (enabled)
                _turn.Run();
        };
        _registers.Reset();
        backend.Attach(this);
        backend.SetReceiveOffloads(NetworkOffloads.None);
    }

    public PciFunction Function { get; }

    /// <summary>The window in port space: IOADDR and IODATA (13.2.2).</summary>
    public uint ReadPort(ushort offset, int size) => offset switch
    {
        PortAddressOffset => Volatile.Read(ref _portAddress),
        PortDataOffset when size == sizeof(uint) => Read(Volatile.Read(ref _portAddress) & ~3u),
        _ => 0,
    };

    public void WritePort(ushort offset, int size, uint value)
    {
        if (size != sizeof(uint))
            return;
        if (offset == PortAddressOffset)
            Volatile.Write(ref _portAddress, value);
        else if (offset == PortDataOffset)
            Write(Volatile.Read(ref _portAddress) & ~3u, value);
    }

    bool INetworkSink.TryReceive(ReadOnlySpan<byte> frame, in FrameOffload offload)
    {
        lock (_lock)
        {
            if (_disposed || !Function.IsBusMaster || _loopsBack)
                return true;
            _starved = !_receiver.TryReceive(frame, (offload.Flags & FrameOffload.DataValid) != 0, ref _causes);
            return !_starved;
        }
    }

    void INetworkSink.Flush()
    {
        lock (_lock)
            DriveInterrupt();
    }

    public E1000State Save()
    {
        lock (_lock)
        {
            return new()
            {
                Function = Function.Save(),
                Registers = _registers.Save(),
                PortAddress = _portAddress,
                Causes = _causes,
                Mask = _mask,
                IsStarved = _starved,
                Eeprom = _eeprom.Save(),
                Phy = _phy.Save(),
                Transmit = _transmitter.Save(),
            };
        }
    }

    public void Restore(E1000State state)
    {
        StateFormat.Require(
            state is { Version: E1000State.CurrentVersion, Function: not null, Eeprom.Chip: not null, Transmit.Frame.Length: <= OffloadSender.Capacity - EthernetFrame.VlanTagLength }
            && E1000RegisterFile.IsValid(state.Registers) && E1000Phy.IsValid(state.Phy),
            "e1000");
        lock (_lock)
        {
            _registers.Restore(state.Registers);
            _portAddress = state.PortAddress;
            _causes = state.Causes & AllCauses;
            _mask = state.Mask & AllCauses;
            _starved = state.IsStarved;
            _eeprom.Restore(state.Eeprom!);
            _phy.Restore(state.Phy!);
            _transmitter.Restore(state.Transmit!);
            ChooseLoopback();
        }

        Function.Restore(state.Function!);
        lock (_lock)
            DriveInterrupt();
        _turn.Run();
        _backend.ReceiveReady();
    }

    /// <summary>Returns when the card touches guest memory no more; the guest has stopped before.</summary>
    public void Dispose()
    {
        lock (_lock)
            _disposed = true;
    }

    private protected override uint ReadRegister(int register) => Read((uint)register);

    private protected override void WriteRegister(int register, uint value) => Write((uint)register, value);

    private uint Read(uint register)
    {
        lock (_lock)
        {
            switch (register)
            {
                case Icr:
                    var causes = _causes;
                    _causes = 0;
                    DriveInterrupt();
                    return causes;
                case Ims:
                    return _mask;
                case Eecd:
                    return _eeprom.ReadControl();
                case Eerd:
                    return _eeprom.ReadWord();
                case Mdic:
                    return _phy.Read();
                case Ics or Imc or >= End:
                    return 0;
                case >= FirstStatistic and < EndOfStatistics:
                    return _statistics.Take(register);
                default:
                    return _registers[register];
            }
        }
    }

    private void Write(uint register, uint value)
    {
        var transmit = false;
        var receive = false;
        lock (_lock)
        {
            switch (register)
            {
                case Ctrl:
                    WriteControl(value);
                    break;
                case CtrlExt:
                    _registers[CtrlExt] = value & ~CtrlExtEepromReset;
                    break;
                case Eecd:
                    _eeprom.WriteControl(value);
                    break;
                case Eerd:
                    _eeprom.StartRead(value);
                    break;
                case Mdic:
                    _causes |= (_phy.Access(value, out var linkChanged) ? CauseMdio : 0) | (linkChanged ? CauseLinkChange : 0);
                    ChooseLoopback();
                    break;
                case Icr:
                    _causes &= ~value;
                    break;
                case Ics:
                    _causes |= value & AllCauses;
                    break;
                case Ims:
                    _mask |= value & AllCauses;
                    break;
                case Imc:
                    _mask &= ~value;
                    break;
                case Status or Rxcw or >= End:
                    return;
                case Rctl:
                    _registers[Rctl] = value;
                    ChooseLoopback();
                    receive = true;
                    break;
                case Rdt:
                    _registers[Rdt] = (ushort)value;
                    receive = true;
                    break;
                case Rdh or Tdh:
                    _registers[register] = (ushort)value;
                    break;
                case Rdlen or Tdlen:
                    // A multiple of 128 bytes, less than 1 MiB.
                    _registers[register] = value & 0xF_FF80;
                    break;
                case Tdt:
                    _registers[Tdt] = (ushort)value;
                    transmit = true;
                    break;
                case Tctl:
                    _registers[Tctl] = value;
                    transmit = true;
                    break;
                default:
                    _registers[register] = value;
                    break;
            }

            DriveInterrupt();
            receive &= _starved;
            if (receive)
                _starved = false;
        }

        if (transmit)
            _turn.Run();
        if (receive)
            _backend.ReceiveReady();
    }

    private void WriteControl(uint value)
    {
        if ((value & CtrlReset) != 0)
        {
            _registers.Reset();
            _causes = 0;
            _mask = 0;
            _quietUntil = 0;
            _transmitterIsStale = true;
            ChooseLoopback();
            return;
        }

        var was = _registers[Ctrl];
        _registers[Ctrl] = value & ~CtrlPhyReset;
        if ((value & ~was & CtrlPhyReset) != 0)
        {
            _phy.SetDefaults();
            _causes |= CauseLinkChange;
            ChooseLoopback();
        }
    }

    private void ChooseLoopback() => _loopsBack = (_registers[Rctl] & RctlLoopback) != 0 || _phy.LoopsBack;

    /// <summary>The line is high while a cause is enabled, but rises at most once in an interval of ITR (13.4.18).</summary>
    private void DriveInterrupt()
    {
        var wanted = (_causes & _mask) != 0;
        if (wanted && !Function.Interrupt && _registers[Itr] is var interval and not 0)
        {
            var now = _clock.Nanoseconds;
            if (now < _quietUntil)
            {
                _throttle.Arm(_quietUntil);
                return;
            }

            _quietUntil = now + (ushort)interval * ThrottleNanoseconds;
        }

        Function.SetInterrupt(wanted);
    }

    private void OnThrottle()
    {
        lock (_lock)
            DriveInterrupt();
    }

    private void OnTransmitted()
    {
        lock (_lock)
            DriveInterrupt();
        _backend.Flush();
    }

    /// <summary>Takes the descriptor at the ring's head. False if there is none.</summary>
    private bool TransmitOne()
    {
        ulong address;
        uint head, count;
        lock (_lock)
        {
            if (_transmitterIsStale)
                _transmitter.Reset();
            _transmitterIsStale = false;
            head = _registers[Tdh];
            count = _registers[Tdlen] / DescriptorLength;
            if (_disposed || (_registers[Tctl] & TctlEnable) == 0 || !Function.IsBusMaster || head == _registers[Tdt] || head >= count || _registers[Tdt] >= count)
                return false;
            address = _registers.Address(Tdbal) + head * DescriptorLength;
            _transmitter.TagType = (_registers[Ctrl] & CtrlVlanMode) != 0 ? (ushort)_registers[Vet] : null;
            _transmitter.PadsShortFrames = (_registers[Tctl] & TctlPad) != 0;
        }

        Span<ulong> descriptor = stackalloc ulong[DescriptorLength / sizeof(ulong)];
        DmaMemory.Read(_memory, address, MemoryMarshal.AsBytes(descriptor));
        var reported = _transmitter.Take(descriptor[0], descriptor[1]);
        lock (_lock)
        {
            // A reset meanwhile has forgotten the ring.
            if (_transmitterIsStale || _disposed)
                return true;
            if (_transmitter.SawSegmentation)
                _statistics.Count(E1000Statistics.SegmentationContexts);
            _transmitter.SawSegmentation = false;
            if (reported)
            {
                var status = (byte)((byte)(descriptor[1] >> 32) | DescriptorDone);
                DmaMemory.Write(_memory, address + DescriptorStatusOffset, new ReadOnlySpan<byte>(in status));
                _causes |= CauseTransmitted;
            }

            if (_registers[Tdh] == head)
                _registers[Tdh] = (head + 1) % count;
            if (_registers[Tdh] == _registers[Tdt])
                _causes |= CauseTransmitQueueEmpty;
        }

        return true;
    }

    private unsafe void Send(Span<byte> frame, in FrameOffload offload)
    {
        _turn.Spend(frame.Length);
        bool loopsBack;
        lock (_lock)
        {
            _statistics.Transmitted(frame);
            loopsBack = _loopsBack;
            if (loopsBack)
                _receiver.TryReceive(frame, verified: false, ref _causes);
        }

        if (loopsBack)
            return;
        fixed (byte* first = frame)
        {
            var segment = new IoSegment(first, (nuint)frame.Length);
            _backend.Send(new ReadOnlySpan<IoSegment>(in segment), offload);
        }
    }
}
