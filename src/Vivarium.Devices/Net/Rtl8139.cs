using Vivarium.Memory;
using static Vivarium.Devices.Rtl8139Registers;

namespace Vivarium.Devices;

/// <summary>
/// A Realtek RTL8139C+ network card of 100 Mb/s (RTL8139C(L)+ data sheet), with the ring buffer and the four transmit registers of
/// all 8139s, and the descriptors of the C+ mode. Frames are sent on the thread of the vCPU that says so; received ones go into the
/// guest's memory on whatever thread brings them. The link is always up; early receive and wake-up are not there.
/// </summary>
/// <remarks>
/// Lock order: locks of the backend, then the card's, then the function's. The backend is never called with the card's lock
/// held. One thread at a time sends (<see cref="TransmitTurn"/>).
/// </remarks>
public sealed class Rtl8139 : IPortDevice, IMmioDevice, INetworkSink, IDisposable
{
    public const int MacLength = EthernetFrame.MacLength;

    // The EEPROM (data sheet, 5.40).
    private const ushort EepromSignature = 0x8129;
    private const int EepromMac = 7;

    /// <summary>The counter counts periods of the PCI clock.</summary>
    private const long TimerHertz = 33_000_000;
    private const long NanosecondsPerSecond = 1_000_000_000;

    /// <summary>
    /// When a frame without room is tried again, if the guest does nothing that shows that it has made some: descriptors come back
    /// without a word.
    /// </summary>
    private const long RetryNanoseconds = 10_000_000;

    /// <summary>
    /// How soon after the guest has moved on in the ring buffer a waiting frame comes, if the guest does not acknowledge the interrupt before:
    /// drivers do so after each frame, and would acknowledge one that they have not looked at.
    /// </summary>
    private const long AfterReadNanoseconds = 50_000;

    private static readonly PciIdentity s_identity = new(0x10EC, 0x8139, 0x20, 0x02_00_00, 0x10EC, 0x8139);

    private readonly Lock _lock = new();
    private readonly GuestMemory _memory;
    private readonly INetworkBackend _backend;
    private readonly MachineClock _clock;
    private readonly byte[] _mac;
    private readonly Rtl8139RegisterFile _registers = new();
    private readonly SerialEeprom _eeprom;
    private readonly Rtl8139Counters _counters = new();
    private readonly Rtl8139Receiver _receiver;
    private readonly Rtl8139Transmitter _transmitter;
    private readonly TransmitTurn _turn;
    private readonly ClockTimer _timer;
    private readonly ClockTimer _retry;
    private ushort _causes;
    private int _nextStatus;
    private int _nextNormal;
    private int _nextHigh;
    private byte _polls;

    /// <summary>The guest time at which TCTR was zero.</summary>
    private long _timerStart;
    private bool _starved;

    /// <summary>Before this guest time no further overflow is told of.</summary>
    private long _overflowFrom;
    private bool _disposed;

    /// <summary>A reset has come that the transmitter has not seen.</summary>
    private bool _transmitterIsStale;
    private bool _loopsBack;

    /// <param name="mac">Six bytes, as on the wire.</param>
    public Rtl8139(GuestMemory memory, INetworkBackend backend, MachineClock clock, ReadOnlySpan<byte> mac)
    {
        ArgumentOutOfRangeException.ThrowIfNotEqual(mac.Length, MacLength);
        _memory = memory;
        _backend = backend;
        _clock = clock;
        _mac = mac.ToArray();
        _eeprom = new SerialEeprom(EepromWords(mac));
        _receiver = new Rtl8139Receiver(memory, _registers, _counters);
        _transmitter = new Rtl8139Transmitter(memory, Send, isIPv4 => isIPv4 && backend.Offloads.HasFlag(NetworkOffloads.Tso4) && !_loopsBack);
        _turn = new TransmitTurn(clock, TransmitOne, OnTransmitted);
        _timer = clock.Deadlines.CreateTimer(OnTimer);
        _retry = clock.Deadlines.CreateTimer(OnRetry);
        Function = new PciFunction("rtl8139", s_identity);
        Function.AddPortBar(0, Length, this);
        Function.AddMemoryBar(1, Length, this);
        Function.BusMasterChanged = enabled =>
        {
            if (enabled)
                _turn.Run();
        };
        _registers.PowerOn(mac);
        backend.Attach(this);
        backend.SetReceiveOffloads(NetworkOffloads.None);
    }

    public PciFunction Function { get; }

    public uint ReadPort(ushort offset, int size) => (uint)Read(offset, size);

    public void WritePort(ushort offset, int size, uint value) => Write(offset, size, value);

    public ulong ReadMmio(ulong offset, int size) => Read((int)offset, size);

    public void WriteMmio(ulong offset, int size, ulong value) => Write((int)offset, size, value);

    bool INetworkSink.TryReceive(ReadOnlySpan<byte> frame, in FrameOffload offload)
    {
        lock (_lock)
        {
            if (_disposed || !Function.IsBusMaster || _loopsBack)
                return true;
            if (_receiver.TryReceive(frame, (offload.Flags & FrameOffload.DataValid) != 0, ref _causes))
            {
                _starved = false;
                return true;
            }

            // On a wire one frame after the other would be lost and told of; here the one that waits is, from time to time.
            var now = _clock.Nanoseconds;
            if (now >= _overflowFrom)
            {
                _causes |= NoReceiveDescriptor;
                _overflowFrom = now + RetryNanoseconds;
            }

            _starved = true;
            _retry.Arm(now + RetryNanoseconds);
            return false;
        }
    }

    void INetworkSink.Flush()
    {
        lock (_lock)
            DriveInterrupt();
    }

    public Rtl8139State Save()
    {
        lock (_lock)
        {
            Refresh();
            return new()
            {
                Function = Function.Save(),
                Registers = _registers.Save(),
                Eeprom = _eeprom.Save(),
                NextStatus = _nextStatus,
                NextNormal = _nextNormal,
                NextHigh = _nextHigh,
                NextReceive = _receiver.NextDescriptor,
                Polls = _polls,
                TimerCount = TimerNow,
                IsStarved = _starved,
                Frame = _transmitter.Begun.ToArray(),
                Counters = _counters.Save(),
            };
        }
    }

    public void Restore(Rtl8139State state)
    {
        StateFormat.Require(
            state is { Version: Rtl8139State.CurrentVersion, Function: not null, Eeprom: not null, Counters: not null, Frame.Length: <= OffloadSender.Capacity - EthernetFrame.VlanTagLength }
            && state is { NextStatus: >= 0 and < TransmitStatuses, NextNormal: >= 0 and < MostDescriptors, NextHigh: >= 0 and < MostDescriptors, NextReceive: >= 0 and < MostDescriptors }
            && Rtl8139RegisterFile.IsValid(state.Registers),
            "rtl8139");
        lock (_lock)
        {
            _registers.Restore(state.Registers);
            _causes = (ushort)(_registers.Word(InterruptStatus) & AllInterrupts);
            _eeprom.Restore(state.Eeprom!);
            _nextStatus = state.NextStatus;
            _nextNormal = state.NextNormal;
            _nextHigh = state.NextHigh;
            _receiver.NextDescriptor = state.NextReceive;
            _polls = (byte)(state.Polls & (PollNormal | PollHigh));
            _timerStart = _clock.Nanoseconds - TicksToNanoseconds(state.TimerCount);
            _starved = state.IsStarved;
            _transmitter.Begin(state.Frame);
            _transmitterIsStale = false;
            _counters.Restore(state.Counters!);
            ChooseLoopback();
            ArmTimer();
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

    private static ushort[] EepromWords(ReadOnlySpan<byte> mac)
    {
        var words = new ushort[SerialEeprom.Words];
        words[0] = EepromSignature;
        words[1] = s_identity.VendorId;
        words[2] = s_identity.DeviceId;
        words[3] = s_identity.SubsystemVendorId;
        words[4] = s_identity.SubsystemId;
        for (var i = 0; i < MacLength; i++)
            words[EepromMac + i / 2] |= (ushort)(mac[i] << 8 * (i % 2));
        return words;
    }

    private ulong Read(int offset, int size)
    {
        lock (_lock)
        {
            Refresh();
            ulong value = 0;
            for (var i = 0; i < size; i++)
                value |= (ulong)_registers[offset + i] << 8 * i;
            return value;
        }
    }

    /// <summary>Puts what changes by itself into the registers.</summary>
    private void Refresh()
    {
        var command = _registers[Command] & ~CommandBufferEmpty;
        _registers[Command] = (byte)(command | (_receiver.IsBufferEmpty ? CommandBufferEmpty : 0));
        _registers.Put(InterruptStatus, _causes);
        _registers.Put(TimerCount, TimerNow);
        var control = _registers[EepromCommand] & ~EepromOut;
        _registers[EepromCommand] = (byte)(control | (EepromMode == EepromModePins && _eeprom.DataOut ? EepromOut : 0));
        uint summary = 0;
        for (var i = 0; i < TransmitStatuses; i++)
        {
            var status = _registers.Dword(TransmitStatus + i * sizeof(uint));
            summary |= ((status & StatusOwn) != 0 ? 1u : 0) << i | ((status & StatusOk) != 0 ? 1u : 0) << 12 + i;
        }

        _registers.Put(TransmitSummary, (ushort)summary);
    }

    private int EepromMode => _registers[EepromCommand] >> EepromModeShift;

    private bool IsPlusTransmit => (_registers.Word(PlusCommand) & PlusTransmit) != 0;

    private void Write(int offset, int size, ulong value)
    {
        var transmit = false;
        bool receive;
        lock (_lock)
        {
            var before = _registers[Command];
            for (var i = 0; i < size; i++)
                transmit |= WriteByte(offset + i, (byte)(value >> 8 * i));
            FollowRanges(offset, offset + size);
            if (((_registers[Command] & ~before) & CommandTransmit) != 0)
            {
                RestartTransmitter();
                transmit = true;
            }

            if (((_registers[Command] & ~before) & CommandReceive) != 0)
            {
                _registers.ResetReceiveBuffer();
                _receiver.NextDescriptor = 0;
            }

            ChooseLoopback();
            DriveInterrupt();
            receive = _starved;
            if (receive && offset < ReceiveRead + sizeof(ushort) && offset + size > ReceiveRead)
            {
                receive = false;
                _retry.Arm(_clock.Nanoseconds + AfterReadNanoseconds);
            }
        }

        if (transmit)
            _turn.Run();
        if (receive)
            _backend.ReceiveReady();
    }

    /// <summary>Returns true if there may be something to send.</summary>
    private bool WriteByte(int offset, byte value)
    {
        switch (offset)
        {
            case Command when (value & CommandReset) != 0:
                Reset();
                return false;
            case InterruptStatus or InterruptStatus + 1:
                _causes &= (ushort)~(value << 8 * (offset - InterruptStatus));
                return false;
            case TransmitPoll:
                if ((value & PollSoftwareInterrupt) != 0)
                    _causes |= SoftwareInterrupt;
                _polls |= (byte)(value & (PollNormal | PollHigh));
                return _polls != 0;
            case Config1 or Config3 or Config4 when EepromMode != EepromModeUnlock:
                return false;
            default:
                _registers.Write(offset, value);

                // The size's upper part comes with the ownership.
                return offset is >= TransmitStatus and < TransmitAddress && (offset & 3) == 1;
        }
    }

    /// <summary>What follows from a write beyond the bits themselves.</summary>
    private void FollowRanges(int start, int end)
    {
        bool Touches(int register, int length) => start < register + length && end > register;
        if (IsPlusTransmit)
        {
            if (Touches(DumpCounters, sizeof(uint)))
                Dump();
            if (Touches(NormalRing, sizeof(ulong)))
                _nextNormal = 0;
            if (Touches(HighRing, sizeof(ulong)))
                _nextHigh = 0;
        }
        else if (Touches(TransmitStatus, TransmitStatuses * sizeof(uint)))
        {
            BeginStatuses(start, end);
        }

        if (Touches(ReceiveRing, sizeof(ulong)))
            _receiver.NextDescriptor = 0;
        if (Touches(EepromCommand, 1))
            DriveEeprom();
        if (Touches(TimerCount, sizeof(uint)))
            _timerStart = _clock.Nanoseconds;
        if (Touches(TimerCount, sizeof(uint)) || Touches(TimerInterrupt, sizeof(uint)))
            ArmTimer();
        if (Touches(BasicControl, sizeof(ushort)))
            FollowTransceiver();
    }

    /// <summary>A frame that is given to the card has no outcome yet.</summary>
    private void BeginStatuses(int start, int end)
    {
        for (var i = 0; i < TransmitStatuses; i++)
        {
            var register = TransmitStatus + i * sizeof(uint);
            if (start < register + sizeof(uint) && end > register)
                _registers.Put(register, _registers.Dword(register) & StatusWritable);
        }
    }

    private void DriveEeprom()
    {
        var control = _registers[EepromCommand];
        if (EepromMode == EepromModeLoad)
        {
            _registers.LoadAddress(_mac);
            _registers[EepromCommand] = 0;
        }

        var isDriven = EepromMode == EepromModePins;
        _eeprom.Drive(isDriven && (control & EepromSelect) != 0, (control & EepromClock) != 0, (control & EepromIn) != 0);
    }

    private void FollowTransceiver()
    {
        var control = _registers.Word(BasicControl);
        if ((control & (BasicReset | BasicRestart)) == 0)
            return;
        if ((control & BasicReset) != 0)
            _registers.ResetTransceiver();
        else
            _registers.Put(BasicControl, (ushort)(control & ~BasicRestart));
        _causes |= LinkChange;
    }

    private void Dump()
    {
        const uint dump = 1 << 3;
        const ulong addressMask = ~0x3Ful;
        var control = _registers.Dword(DumpCounters);
        if ((control & dump) == 0)
            return;
        Span<byte> block = stackalloc byte[Rtl8139Counters.Length];
        _counters.Dump(block);
        if (!_disposed && Function.IsBusMaster)
            DmaMemory.Write(_memory, _registers.Qword(DumpCounters) & addressMask, block);
        _registers.Put(DumpCounters, control & ~dump);
    }

    private void Reset()
    {
        _registers.Reset();
        _causes = 0;
        _overflowFrom = 0;
        _receiver.NextDescriptor = 0;
        _counters.Clear();
        _timer.Cancel();
        _timerStart = _clock.Nanoseconds;
        RestartTransmitter();
    }

    private void RestartTransmitter()
    {
        _nextStatus = 0;
        _nextNormal = 0;
        _nextHigh = 0;
        _polls = 0;
        _transmitterIsStale = true;
    }

    private void ChooseLoopback() => _loopsBack =
        (_registers.Dword(TransmitConfig) & TransmitLoopback) == TransmitLoopback || (_registers.Word(BasicControl) & BasicLoopback) != 0;

    private void DriveInterrupt() => Function.SetInterrupt((_causes & _registers.Word(InterruptMask)) != 0);

    private uint TimerNow => (uint)((Int128)(_clock.Nanoseconds - _timerStart) * TimerHertz / NanosecondsPerSecond);

    private static long TicksToNanoseconds(long ticks) => (long)((Int128)ticks * NanosecondsPerSecond / TimerHertz);

    /// <summary>The next time that TCTR is what TimerInt says; zero says never.</summary>
    private void ArmTimer()
    {
        var wanted = _registers.Dword(TimerInterrupt);
        if (wanted == 0)
        {
            _timer.Cancel();
            return;
        }

        // Whole turns of the counter, then what is left; rounded up, so that it is there when the timer comes.
        var ticks = (long)((Int128)(_clock.Nanoseconds - _timerStart) * TimerHertz / NanosecondsPerSecond);
        var left = (long)(uint)(wanted - (uint)ticks);
        if (left == 0)
            left = 1L << 32;
        _timer.Arm(_timerStart + TicksToNanoseconds(ticks + left) + 1);
    }

    private void OnTimer()
    {
        lock (_lock)
        {
            if (_disposed || _registers.Dword(TimerInterrupt) == 0)
                return;
            _causes |= TimeOut;
            ArmTimer();
            DriveInterrupt();
        }
    }

    private void OnRetry()
    {
        lock (_lock)
        {
            if (_disposed || !_starved)
                return;
        }

        _backend.ReceiveReady();
        lock (_lock)
            DriveInterrupt();
    }

    private void OnTransmitted()
    {
        lock (_lock)
            DriveInterrupt();
        _backend.Flush();
    }

    /// <summary>Sends a buffer, or takes a descriptor. False if there is none.</summary>
    private bool TransmitOne()
    {
        bool isPlus;
        lock (_lock)
        {
            if (_transmitterIsStale)
                _transmitter.Reset();
            _transmitterIsStale = false;
            if (_disposed || (_registers[Command] & CommandTransmit) == 0 || !Function.IsBusMaster)
                return false;
            isPlus = IsPlusTransmit;
        }

        return isPlus ? TakeDescriptor() : SendBuffer();
    }

    private bool SendBuffer()
    {
        int number;
        uint status, address;
        lock (_lock)
        {
            number = _nextStatus;
            status = _registers.Dword(TransmitStatus + number * sizeof(uint));
            address = _registers.Dword(TransmitAddress + number * sizeof(uint));
            if ((status & StatusOwn) != 0)
                return false;
        }

        _transmitter.SendBuffer(address, (int)(status & StatusSize));
        lock (_lock)
        {
            // A reset meanwhile has forgotten it.
            if (_transmitterIsStale || _disposed)
                return true;
            _registers.Put(TransmitStatus + number * sizeof(uint), status | StatusOwn | StatusOk);
            _nextStatus = (number + 1) % TransmitStatuses;
            _causes |= TransmitOk;
        }

        return true;
    }

    private unsafe bool TakeDescriptor()
    {
        byte ring;
        int index;
        ulong address;
        lock (_lock)
        {
            if (_polls == 0)
                return false;
            ring = (_polls & PollHigh) != 0 ? PollHigh : PollNormal;

            // Before the descriptor is read, so that a poll that comes meanwhile is not lost.
            _polls &= (byte)~ring;
            index = ring == PollHigh ? _nextHigh : _nextNormal;
            address = (_registers.Qword(ring == PollHigh ? HighRing : NormalRing) & ~0xFFul) + (ulong)index * DescriptorLength;

            // What could not be given back would be sent for ever.
            if (_memory.TryGetRam(address, DescriptorLength, out var length) == null || length < DescriptorLength)
            {
                _causes |= SystemError;
                return _polls != 0;
            }
        }

        var control = DmaMemory.Read<uint>(_memory, address);
        if ((control & DescriptorOwn) == 0)
        {
            lock (_lock)
            {
                _causes |= NoTransmitDescriptor;
                return _polls != 0;
            }
        }

        var isSent = _transmitter.Take(control, DmaMemory.Read<uint>(_memory, address + sizeof(uint)), DmaMemory.Read<ulong>(_memory, address + 2 * sizeof(uint)));
        lock (_lock)
        {
            if (_transmitterIsStale || _disposed)
                return true;
            _polls |= ring;
            const uint kept = DescriptorEnd | DescriptorFirst | DescriptorLast;
            DmaMemory.Write(_memory, address, control & kept);
            var next = (control & DescriptorEnd) != 0 ? 0 : (index + 1) % MostDescriptors;
            if (ring == PollHigh)
                _nextHigh = next;
            else
                _nextNormal = next;
            if (isSent)
                _causes |= TransmitOk;
        }

        return true;
    }

    private unsafe void Send(Span<byte> frame, in FrameOffload offload)
    {
        _turn.Spend(frame.Length);
        lock (_lock)
        {
            _counters.Transmitted();
            if (_loopsBack)
            {
                _receiver.TryReceive(frame, verified: false, ref _causes);
                return;
            }
        }

        fixed (byte* first = frame)
        {
            var segment = new IoSegment(first, (nuint)frame.Length);
            _backend.Send(new ReadOnlySpan<IoSegment>(in segment), offload);
        }
    }
}
