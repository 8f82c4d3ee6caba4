using System.Numerics;

namespace Vivarium.Devices;

/// <summary>
/// A processor's local APIC in xAPIC and x2APIC mode, with its timer (SDM vol. 3A, chapter 11). Its MMIO page moves with
/// IA32_APIC_BASE and differs per processor, so it is not on the <see cref="MmioBus"/>: ask <see cref="OwnsMmio"/> first.
/// </summary>
/// <remarks>
/// There is no lock. The registers, <see cref="Deadlines"/> and everything else that is public belong to the processor's
/// own thread (or to whoever set the machine up, before it runs). Messages come from any thread: they set bits of IRR and
/// TMR atomically, or go to <see cref="ILocalApicEvents"/>. A sender sets its bit and then looks at the processor's priority; the
/// processor lowers its priority and then looks for bits; a full fence lies between on both sides, so that one of them sees it.
/// </remarks>
public sealed class LocalApic : IMmioDevice
{
    public const ulong DefaultAddress = 0xFEE0_0000;
    public const ulong Size = 0x1000;

    /// <summary>The timer's input clock in Hz before the divider: the core crystal clock of CPUID leaf 15H.</summary>
    public const long TimerFrequency = MachineClock.NanosecondsPerSecond;

    public const uint ApicBaseMsr = 0x1B;
    public const uint TscDeadlineMsr = 0x6E0;
    public const uint FirstX2ApicMsr = 0x800;
    public const uint LastX2ApicMsr = 0x8FF;

    // IA32_APIC_BASE.
    private const ulong BaseBootstrap = 1 << 8;
    private const ulong BaseX2Apic = 1 << 10;
    private const ulong BaseEnable = 1 << 11;
    private const ulong BaseAddressMask = 0x000F_FFFF_FFFF_F000;

    /// <summary>Registers by their offset in the MMIO page; the x2APIC MSR is 0x800 + offset / 16.</summary>
    private enum Register
    {
        Id = 0x020,
        Version = 0x030,
        TaskPriority = 0x080,
        ProcessorPriority = 0x0A0,
        Eoi = 0x0B0,
        LogicalDestination = 0x0D0,
        DestinationFormat = 0x0E0,
        SpuriousVector = 0x0F0,
        InService = 0x100,
        TriggerMode = 0x180,
        Requests = 0x200,
        ErrorStatus = 0x280,
        LvtCmci = 0x2F0,
        InterruptCommandLow = 0x300,
        InterruptCommandHigh = 0x310,
        LvtTimer = 0x320,
        LvtThermal = 0x330,
        LvtPerformance = 0x340,
        LvtLint0 = 0x350,
        LvtLint1 = 0x360,
        LvtError = 0x370,
        InitialCount = 0x380,
        CurrentCount = 0x390,
        DivideConfiguration = 0x3E0,
        SelfIpi = 0x3F0,
    }

    private const int BankSize = 0x80;

    /// <summary>An integrated APIC (0x14) whose highest LVT entry is number 6 (CMCI).</summary>
    private const uint VersionValue = 0x0006_0014;

    private const uint SpuriousEnable = 1 << 8;
    private const uint SpuriousWritable = 0x3FF;
    private const uint SpuriousX2Writable = SpuriousWritable;
    private const uint FormatFixedBits = 0x0FFF_FFFF;
    private const uint FormatFlat = 0xF;
    private const int XIdShift = 24;
    private const int LowestUsableVector = 16;

    // Local vector table entries, in the order of the state record.
    private const int Cmci = 0;
    private const int Timer = 1;
    private const int Thermal = 2;
    private const int Performance = 3;
    private const int Lint0 = 4;
    private const int Lint1 = 5;
    private const int Error = 6;
    private const int LvtEntries = 7;

    private const int LvtModeShift = 8;
    private const uint LvtRemoteIrr = 1 << 14;
    private const uint LvtLevelTriggered = 1 << 15;
    private const uint LvtMasked = 1 << 16;
    private const int TimerModeShift = 17;
    private const uint TimerOneShot = 0;
    private const uint TimerPeriodic = 1;
    private const uint TimerTscDeadline = 2;

    private const uint VectorMask = 0xFF;
    private const uint MonitorLvtWritable = 0x107FF;
    private const uint TimerLvtWritable = 0x700FF;
    private const uint LintLvtWritable = 0x1A7FF;
    private const uint ErrorLvtWritable = 0x100FF;
    private const uint DeliveryStatusBit = 1 << 12;

    // Interrupt command register.
    private const ulong CommandLogical = 1 << 11;
    private const ulong CommandAssert = 1 << 14;
    private const ulong CommandLevelTriggered = 1 << 15;
    private const int CommandShorthandShift = 18;
    private const ulong CommandLowWritable = 0x000C_CFFF;
    private const ulong CommandX2Writable = 0xFFFF_FFFF_0000_0000 | CommandLowWritable;
    private const int CommandDestinationShift = 32;
    private const int CommandXDestinationShift = 56;

    // Error status register.
    private const uint ErrorSendIllegalVector = 1 << 5;
    private const uint ErrorReceiveIllegalVector = 1 << 6;
    private const uint ErrorIllegalRegister = 1 << 7;

    private const uint DivideWritable = 0xB;

    /// <summary>A periodic timer does not fire more often than this; a guest cannot keep the host busy with it.</summary>
    private const long ShortestPeriod = 20_000;

    /// <summary>The longest count there is at the slowest pace: a count cannot have begun longer before power-on.</summary>
    private const long EarliestTimerStart = 1L << 39;

    private readonly ApicBus _bus;
    private readonly MachineClock _clock;
    private readonly ClockTimer _timer;
    private readonly uint _id;
    private readonly uint[] _requests = new uint[8];
    private readonly uint[] _inService = new uint[8];
    private readonly uint[] _triggerMode = new uint[8];
    private readonly uint[] _lvt = new uint[LvtEntries];

    private ulong _base;
    private byte _taskPriority;
    private uint _logicalDestination;
    private uint _destinationFormat;
    private uint _spuriousVector;
    private uint _errorStatus;
    private uint _pendingErrors;
    private ulong _command;
    private uint _initialCount;
    private uint _divideConfiguration;
    private long _timerStart;
    private long _timerDeadline = MachineClock.Never;
    private ulong _tscDeadline;
    private volatile bool _externalRequested;

    /// <summary>The guest may end the interrupt in service by <see cref="PvEoi"/>; whether it has is found out when it matters.</summary>
    private volatile bool _eoiOffered;

    /// <param name="id">The APIC ID. The processor with ID 0 is the bootstrap processor.</param>
    public LocalApic(uint id, ApicBus bus, MachineClock clock)
    {
        _id = id;
        _bus = bus;
        _clock = clock;
        Deadlines = new DeadlineQueue(clock);
        _timer = Deadlines.CreateTimer(OnTimer);
        _base = DefaultAddress | BaseEnable | (id == 0 ? BaseBootstrap : 0);
        ResetRegisters();
        bus.Add(this);
    }

    public uint Id => _id;

    public ILocalApicEvents? Events { get; set; }

    /// <summary>The timer's deadline: the processor's thread waits for it.</summary>
    public DeadlineQueue Deadlines { get; }

    /// <summary>Reads this processor's TSC; set before the machine starts. Without it, it is the clock's.</summary>
    public Func<ulong>? TscReader { get; set; }

    /// <summary>By which the guest may end interrupts without an access to this APIC.</summary>
    internal PvEoi? PvEoi { get; set; }

    /// <summary>True when <see cref="AcknowledgeInterrupt"/> has a vector to give.</summary>
    public bool HasInterrupt => HasExternalInterrupt() || HighestDeliverable() >= 0;

    /// <summary>CR8: bits 7:4 of the task-priority register.</summary>
    public byte TaskPriority
    {
        get => (byte)(Volatile.Read(ref _taskPriority) >> 4);
        set
        {
            TakeOfferedEoi();
            Volatile.Write(ref _taskPriority, (byte)(value << 4));
            TellIfDeliverable();
        }
    }

    /// <summary>Where the MMIO page is now; only meaningful while <see cref="OwnsMmio"/> says that there is one.</summary>
    public ulong MmioBase => Volatile.Read(ref _base) & BaseAddressMask;

    /// <summary>Software-enabled: accepts ordinary interrupts.</summary>
    internal bool IsEnabled => IsHardwareEnabled && (Volatile.Read(ref _spuriousVector) & SpuriousEnable) != 0;

    /// <summary>The processor-priority register (SDM vol. 3A, 11.8.3.1).</summary>
    internal byte ProcessorPriority
    {
        get
        {
            var inService = Highest(_inService);
            var serviceClass = inService < 0 ? 0 : inService & 0xF0;
            var taskPriority = Volatile.Read(ref _taskPriority);
            return (taskPriority & 0xF0) >= serviceClass ? taskPriority : (byte)serviceClass;
        }
    }

    private bool IsHardwareEnabled => (Volatile.Read(ref _base) & BaseEnable) != 0;

    private bool IsX2Apic => (Volatile.Read(ref _base) & BaseX2Apic) != 0;

    private ulong Tsc => TscReader is { } read ? read() : _clock.Tsc;

    private uint TimerMode => (_lvt[Timer] >> TimerModeShift) & 3;

    /// <summary>Nanoseconds per count: the divider, because the input clock ticks once a nanosecond.</summary>
    private long Divider => 1L << (int)((((_divideConfiguration & 3) | ((_divideConfiguration >> 1) & 4)) + 1) & 7);

    /// <summary>True if an access to <paramref name="gpa"/> by this processor is for this APIC and not for the bus.</summary>
    public bool OwnsMmio(ulong gpa)
    {
        var apicBase = Volatile.Read(ref _base);
        return (apicBase & (BaseEnable | BaseX2Apic)) == BaseEnable && (gpa & ~(Size - 1)) == (apicBase & BaseAddressMask);
    }

    /// <summary>
    /// What firmware leaves on the bootstrap processor for systems that do not know of APICs: enabled, the 8259 through
    /// LINT0, NMI through LINT1 (MultiProcessor Specification 1.4, 3.6.2.2).
    /// </summary>
    public void EnterVirtualWireMode()
    {
        _spuriousVector = SpuriousEnable | 0x0F;
        _lvt[Lint0] = (uint)DeliveryMode.ExtInt << LvtModeShift;
        _lvt[Lint1] = (uint)DeliveryMode.Nmi << LvtModeShift;
        TellIfDeliverable();
    }

    /// <summary>
    /// What INIT makes of the registers; the APIC ID and IA32_APIC_BASE stay (SDM vol. 3A, 11.4.7.1). The processor's thread calls
    /// it when it has been told of an INIT.
    /// </summary>
    public void Initialize() => ResetRegisters();

    /// <summary>The vector that the processor takes now, which is in service afterwards; -1 if there is none.</summary>
    public int AcknowledgeInterrupt()
    {
        SettleEoi();
        var vector = -1;
        if (HasExternalInterrupt())
        {
            var asked = _externalRequested;
            _externalRequested = false;
            vector = _bus.Pic!.Acknowledge(evenIfGone: asked);
        }

        if (vector < 0)
        {
            vector = HighestDeliverable();
            if (vector >= 0)
            {
                Set(_inService, vector);
                ClearShared(_requests, vector);
                OfferEoi(vector);
            }
        }

        // Whatever is still there is told anew: the processor may have forgotten the request that brought it here.
        if (vector >= 0)
            TellIfDeliverable();
        return vector;
    }

    public ulong ReadMmio(ulong offset, int size)
    {
        TakeOfferedEoi();
        var register = (Register)(offset & ~0xFUL);
        var value = register is Register.InterruptCommandHigh
            ? (uint)(_command >> CommandDestinationShift)
            : ReadRegister(register);
        var shift = (int)(offset & 0xF) * 8;
        return shift >= 32 ? 0 : value >> shift;
    }

    public void WriteMmio(ulong offset, int size, ulong value)
    {
        TakeOfferedEoi();

        // Registers are written whole (SDM vol. 3A, 11.4.1); anything else has no defined effect.
        if ((offset & 0xF) == 0 && size >= 4)
            WriteMmioRegister((Register)offset, (uint)value);
    }

    /// <summary>RDMSR of IA32_APIC_BASE, IA32_TSC_DEADLINE and 0x800-0x8FF. False: #GP.</summary>
    public bool ReadMsr(uint index, out ulong value)
    {
        TakeOfferedEoi();
        switch (index)
        {
            case ApicBaseMsr:
                value = _base;
                return true;
            case TscDeadlineMsr:
                value = TimerMode == TimerTscDeadline ? _tscDeadline : 0;
                return true;
            default:
                return ReadX2Apic(index, out value);
        }
    }

    /// <summary>WRMSR of the same. False: #GP.</summary>
    public bool WriteMsr(uint index, ulong value)
    {
        TakeOfferedEoi();
        switch (index)
        {
            case ApicBaseMsr:
                return WriteBase(value);
            case TscDeadlineMsr:
                WriteTscDeadline(value);
                return true;
            default:
                return WriteX2Apic(index, value);
        }
    }

    /// <summary>Finds out whether the guest has taken an offered end of interrupt, and takes the offer back if not.</summary>
    internal void SettleEoi()
    {
        TakeOfferedEoi();
        if (_eoiOffered)
        {
            _eoiOffered = false;
            PvEoi!.Withdraw();
        }
    }

    /// <summary>The guest has set its time-stamp counter: the deadline comes sooner or later.</summary>
    public void TscMoved()
    {
        if (TimerMode == TimerTscDeadline && _tscDeadline != 0)
            RestartTimer();
    }

    /// <summary>The 8259's output has changed. On any thread.</summary>
    internal void SetLint0(bool level)
    {
        if (!level)
            return;
        if (IsHardwareEnabled)
            SignalUnmasked(Lint0);
        else if (HasExternalInterrupt())
            Events?.InterruptRequested();
    }

    /// <summary>On any thread.</summary>
    internal void SignalLint1()
    {
        if (IsHardwareEnabled)
            SignalUnmasked(Lint1);
    }

    /// <summary>Does a destination name this processor? (SDM vol. 3A, 11.6.2 and 11.12.10)</summary>
    internal bool IsAddressedBy(uint destination, bool logical)
    {
        if (destination == ApicBus.Broadcast)
            return true;
        if (!IsHardwareEnabled)
            return !logical && destination == _id;
        if (IsX2Apic)
        {
            return logical
                ? destination >> 16 == _logicalDestination >> 16 && (destination & _logicalDestination & 0xFFFF) != 0
                : destination == _id;
        }

        if (!logical)
            return destination == _id;
        var mine = Volatile.Read(ref _logicalDestination) >> XIdShift;
        if (Volatile.Read(ref _destinationFormat) >> 28 == FormatFlat)
            return (destination & mine) != 0;
        var cluster = (destination >> 4) & 0xF;
        return (cluster == 0xF || cluster == mine >> 4) && (destination & mine & 0xF) != 0;
    }

    /// <summary>Takes a message; false if it was refused. On any thread.</summary>
    internal bool Accept(in ApicMessage message)
    {
        switch (message.Mode)
        {
            case DeliveryMode.Fixed or DeliveryMode.LowestPriority:
                if (!IsEnabled)
                    return false;
                if (message.Vector < LowestUsableVector)
                    RecordError(ErrorReceiveIllegalVector);
                else
                    Request(message.Vector, message.LevelTriggered);
                return true;
            case DeliveryMode.Nmi:
                Events?.NmiRequested();
                return true;
            case DeliveryMode.Init:
                Events?.InitRequested();
                return true;
            case DeliveryMode.Startup:
                Events?.StartupRequested(message.Vector);
                return true;
            case DeliveryMode.ExtInt:
                _externalRequested = true;
                Events?.InterruptRequested();
                return true;
            default:
                return false;
        }
    }

    /// <summary>The state; not while the processor runs.</summary>
    public LocalApicState Save() => new()
    {
        ApicBase = _base,
        Id = _id,
        TaskPriority = _taskPriority,
        LogicalDestination = _logicalDestination,
        DestinationFormat = _destinationFormat,
        SpuriousVector = _spuriousVector,
        InService = [.. _inService],
        TriggerMode = [.. _triggerMode],
        Requests = [.. _requests],
        ErrorStatus = _errorStatus,
        PendingErrors = _pendingErrors,
        InterruptCommand = _command,
        LocalVectorTable = [.. _lvt],
        InitialCount = _initialCount,
        DivideConfiguration = _divideConfiguration,
        TimerStart = _timerStart,
        TimerDeadline = _timerDeadline,
        TscDeadline = _tscDeadline,
        ExternalRequested = _externalRequested,
        EoiOffered = _eoiOffered,
    };

    /// <summary>Takes a saved state and arms the timer; the clock is restored before.</summary>
    public void Restore(LocalApicState state)
    {
        StateFormat.Require(
            state.Version == LocalApicState.CurrentVersion && state.Id == _id
            && state.InService is { Length: 8 } && state.TriggerMode is { Length: 8 } && state.Requests is { Length: 8 }
            && state.LocalVectorTable is { Length: LvtEntries }
            && state.TimerStart >= -EarliestTimerStart && state.TimerStart <= _clock.Nanoseconds && state.TimerDeadline >= 0,
            "local APIC");
        _base = state.ApicBase & (BaseAddressMask | BaseBootstrap | BaseX2Apic | BaseEnable);
        _taskPriority = state.TaskPriority;
        _logicalDestination = state.LogicalDestination;
        _destinationFormat = state.DestinationFormat | FormatFixedBits;
        _spuriousVector = state.SpuriousVector & SpuriousWritable;
        state.InService.CopyTo(_inService, 0);
        state.TriggerMode.CopyTo(_triggerMode, 0);
        state.Requests.CopyTo(_requests, 0);
        _errorStatus = state.ErrorStatus;
        _pendingErrors = state.PendingErrors;
        _command = state.InterruptCommand;
        for (var entry = 0; entry < LvtEntries; entry++)
            _lvt[entry] = state.LocalVectorTable[entry] & (WritableLvt(entry) | LvtRemoteIrr);
        _initialCount = state.InitialCount;
        _divideConfiguration = state.DivideConfiguration & DivideWritable;
        _timerStart = state.TimerStart;
        _timerDeadline = state.TimerDeadline;
        _tscDeadline = state.TscDeadline;
        _externalRequested = state.ExternalRequested;
        _eoiOffered = state.EoiOffered && PvEoi is not null;
        if (_initialCount == 0 && TimerMode != TimerTscDeadline)
            _timerDeadline = MachineClock.Never;
        _timer.Cancel();
        ArmTimer();
        TellIfDeliverable();
    }

    /// <summary>The values after power-up or INIT; the APIC ID and IA32_APIC_BASE stay (SDM vol. 3A, 11.4.7).</summary>
    private void ResetRegisters()
    {
        _taskPriority = 0;
        _logicalDestination = IsX2Apic ? X2LogicalId(_id) : 0;
        _destinationFormat = 0xFFFF_FFFF;
        _spuriousVector = 0xFF;
        Array.Clear(_requests);
        Array.Clear(_inService);
        Array.Clear(_triggerMode);
        Array.Fill(_lvt, LvtMasked);
        _errorStatus = 0;
        _pendingErrors = 0;
        _command = 0;
        _externalRequested = false;
        _eoiOffered = false;
        _initialCount = 0;
        _divideConfiguration = 0;
        _timerStart = 0;
        _tscDeadline = 0;
        StopTimer();
    }

    /// <summary>Tells the processor to ask, after a change of its own by which a waiting request may have become deliverable.</summary>
    private void TellIfDeliverable()
    {
        Interlocked.MemoryBarrier();
        if (HasInterrupt)
            Events?.InterruptRequested();
    }

    /// <summary>The 8259 asks, and its line reaches the processor: around a disabled APIC, or through LINT0 as ExtINT.</summary>
    private bool HasExternalInterrupt()
    {
        if (_bus.Pic is not { } pic)
            return false;
        if (_externalRequested)
            return true;
        if (!pic.Output)
            return false;
        if (!IsHardwareEnabled)
            return (_base & BaseBootstrap) != 0;
        var lint0 = Volatile.Read(ref _lvt[Lint0]);
        return (lint0 & LvtMasked) == 0 && LvtMode(lint0) == DeliveryMode.ExtInt;
    }

    private int HighestDeliverable()
    {
        var request = Highest(_requests);
        return request >= 0 && (request & 0xF0) > (ProcessorPriority & 0xF0) && IsEnabled ? request : -1;
    }

    /// <summary>Sets a request. On any thread.</summary>
    private void Request(byte vector, bool levelTriggered)
    {
        if (levelTriggered)
            SetShared(_triggerMode, vector);
        else if (Test(_triggerMode, vector))
            ClearShared(_triggerMode, vector);
        SetShared(_requests, vector);

        // Behind an offered end of interrupt the guest may be ready without having said so: the processor comes to see.
        if (_eoiOffered || (vector & 0xF0) > (ProcessorPriority & 0xF0))
            Events?.InterruptRequested();
    }

    private static DeliveryMode LvtMode(uint entry) => (DeliveryMode)((entry >> LvtModeShift) & 7);

    private static bool IsLevel(uint entry) => (entry & LvtLevelTriggered) != 0 && LvtMode(entry) == DeliveryMode.Fixed;

    /// <summary>LINT0 or LINT1 is asserted. On any thread.</summary>
    private void SignalUnmasked(int lint)
    {
        var entry = Volatile.Read(ref _lvt[lint]);
        if ((entry & LvtMasked) != 0)
            return;
        var level = IsLevel(entry);
        if (level && (Interlocked.Or(ref _lvt[lint], LvtRemoteIrr) & LvtRemoteIrr) != 0)
            return;

        // ExtINT is a level that HasExternalInterrupt looks at.
        if (LvtMode(entry) == DeliveryMode.ExtInt)
            Events?.InterruptRequested();
        else
            Accept(new ApicMessage((byte)entry, LvtMode(entry), false, _id, level));
    }

    private void EndOfInterrupt()
    {
        var vector = Highest(_inService);
        if (vector < 0)
            return;
        Clear(_inService, vector);
        if (Test(_triggerMode, vector))
        {
            var lint0 = _lvt[Lint0];
            if ((lint0 & LvtRemoteIrr) != 0 && (byte)lint0 == vector)
            {
                Interlocked.And(ref _lvt[Lint0], ~LvtRemoteIrr);
                if (_bus.Pic is { Output: true })
                    SignalUnmasked(Lint0);
            }

            _bus.EndOfInterrupt((byte)vector);
        }

        TellIfDeliverable();
    }

    /// <summary>Lets the guest end an interrupt without telling, where the end does not matter at once: to an I/O APIC, or to what waits behind.</summary>
    private void OfferEoi(int vector)
    {
        if (PvEoi is null || Test(_triggerMode, vector) || Highest(_requests) >= 0 || !PvEoi.Offer())
            return;
        _eoiOffered = true;
        Interlocked.MemoryBarrier();

        // Senders set their request and look at the offer; this side does the reverse.
        if (Highest(_requests) >= 0)
            SettleEoi();
    }

    private void TakeOfferedEoi()
    {
        if (_eoiOffered && PvEoi!.IsTaken)
        {
            _eoiOffered = false;
            EndOfInterrupt();
        }
    }

    private void RecordError(uint error)
    {
        Interlocked.Or(ref _pendingErrors, error);
        var entry = Volatile.Read(ref _lvt[Error]);
        if ((entry & LvtMasked) == 0 && (entry & VectorMask) >= LowestUsableVector && IsEnabled)
            Request((byte)entry, false);
    }

    private uint ReadRegister(Register register)
    {
        if (register is >= Register.InService and < Register.InService + BankSize)
            return _inService[(register - Register.InService) >> 4];
        if (register is >= Register.TriggerMode and < Register.TriggerMode + BankSize)
            return _triggerMode[(register - Register.TriggerMode) >> 4];
        if (register is >= Register.Requests and < Register.Requests + BankSize)
            return _requests[(register - Register.Requests) >> 4];
        var entry = LvtEntry(register);
        if (entry >= 0)
            return _lvt[entry];
        switch (register)
        {
            case Register.Id:
                return IsX2Apic ? _id : _id << XIdShift;
            case Register.Version:
                return VersionValue;
            case Register.TaskPriority:
                return _taskPriority;
            case Register.ProcessorPriority:
                return ProcessorPriority;
            case Register.LogicalDestination:
                return _logicalDestination;
            case Register.DestinationFormat:
                return _destinationFormat;
            case Register.SpuriousVector:
                return _spuriousVector;
            case Register.ErrorStatus:
                return _errorStatus;
            case Register.InterruptCommandLow:
                return (uint)_command;
            case Register.InitialCount:
                return _initialCount;
            case Register.CurrentCount:
                return CurrentCount();
            case Register.DivideConfiguration:
                return _divideConfiguration;
            case Register.Eoi:
                return 0;
            default:
                RecordError(ErrorIllegalRegister);
                return 0;
        }
    }

    private void WriteMmioRegister(Register register, uint value)
    {
        switch (register)
        {
            case Register.Id:
                // Read-only, as on all processors with x2APIC: CPUID and the ACPI tables tell of the ID too.
                break;
            case Register.LogicalDestination:
                _logicalDestination = value & 0xFF00_0000;
                break;
            case Register.DestinationFormat:
                _destinationFormat = value | FormatFixedBits;
                break;
            case Register.InterruptCommandHigh:
                _command = (uint)_command | ((ulong)(value & 0xFF00_0000) << CommandDestinationShift);
                break;
            case Register.InterruptCommandLow:
                _command = (_command & ~(ulong)uint.MaxValue) | (value & CommandLowWritable);
                SendCommand(ApicBus.Widen((byte)(_command >> CommandXDestinationShift)));
                break;
            case Register.SelfIpi:
                RecordError(ErrorIllegalRegister);
                break;
            default:
                if (!WriteRegister(register, value))
                    RecordError(ErrorIllegalRegister);
                break;
        }
    }

    /// <summary>The registers that both modes write alike; false for one that is not writable.</summary>
    private bool WriteRegister(Register register, uint value)
    {
        switch (register)
        {
            case Register.TaskPriority:
                _taskPriority = (byte)value;
                TellIfDeliverable();
                return true;
            case Register.Eoi:
                SettleEoi();
                EndOfInterrupt();
                return true;
            case Register.SpuriousVector:
                WriteSpuriousVector(value);
                return true;
            case Register.ErrorStatus:
                _errorStatus = Interlocked.Exchange(ref _pendingErrors, 0);
                return true;
            case Register.InitialCount:
                WriteInitialCount(value);
                return true;
            case Register.DivideConfiguration:
                WriteDivideConfiguration(value);
                return true;
            default:
                var entry = LvtEntry(register);
                if (entry < 0)
                    return false;
                WriteLvt(entry, value);
                return true;
        }
    }

    private void WriteSpuriousVector(uint value)
    {
        _spuriousVector = value & SpuriousWritable;
        if ((value & SpuriousEnable) != 0)
        {
            TellIfDeliverable();
            return;
        }

        for (var entry = 0; entry < LvtEntries; entry++)
            Interlocked.Or(ref _lvt[entry], LvtMasked);
        _timer.Cancel();
    }

    private static int LvtEntry(Register register) => register switch
    {
        Register.LvtCmci => Cmci,
        Register.LvtTimer => Timer,
        Register.LvtThermal => Thermal,
        Register.LvtPerformance => Performance,
        Register.LvtLint0 => Lint0,
        Register.LvtLint1 => Lint1,
        Register.LvtError => Error,
        _ => -1,
    };

    private static uint WritableLvt(int entry) => entry switch
    {
        Timer => TimerLvtWritable,
        Lint0 or Lint1 => LintLvtWritable,
        Error => ErrorLvtWritable,
        _ => MonitorLvtWritable,
    };

    private void WriteLvt(int entry, uint value)
    {
        var modeBefore = TimerMode;
        value &= WritableLvt(entry);
        if ((_spuriousVector & SpuriousEnable) == 0)
            value |= LvtMasked;
        uint before;
        do
        {
            before = Volatile.Read(ref _lvt[entry]);
        }
        while (Interlocked.CompareExchange(ref _lvt[entry], value | (before & LvtRemoteIrr), before) != before);
        if (entry == Timer)
        {
            var mode = TimerMode;
            if (mode != modeBefore && (mode == TimerTscDeadline || modeBefore == TimerTscDeadline))
            {
                // Changing to or from TSC-deadline mode disarms the timer (SDM vol. 3A, 11.5.4.1).
                _initialCount = 0;
                _tscDeadline = 0;
                StopTimer();
            }

            RestartTimer();
        }
        else if (entry == Lint0 && _bus.Pic is { Output: true } && (IsLevel(value) || LvtMode(value) == DeliveryMode.ExtInt))
        {
            SignalUnmasked(Lint0);
        }
    }

    /// <summary>ICR: an interrupt to other processors (SDM vol. 3A, 11.6.1).</summary>
    private void SendCommand(uint destination)
    {
        var mode = (DeliveryMode)((_command >> LvtModeShift) & 7);
        var shorthand = (DestinationShorthand)((_command >> CommandShorthandShift) & 3);
        var vector = (byte)_command;
        if (mode is DeliveryMode.Fixed or DeliveryMode.LowestPriority && vector < LowestUsableVector)
        {
            RecordError(ErrorSendIllegalVector);
            return;
        }

        if (mode is DeliveryMode.Reserved or DeliveryMode.ExtInt)
            return;

        // INIT level de-assert only synchronises arbitration IDs on processors of old.
        if (mode == DeliveryMode.Init && (_command & (CommandAssert | CommandLevelTriggered)) == CommandLevelTriggered)
            return;

        var message = new ApicMessage(vector, mode, (_command & CommandLogical) != 0, destination, false);
        switch (shorthand)
        {
            case DestinationShorthand.None:
                _bus.Deliver(message);
                break;
            case DestinationShorthand.Self:
                Accept(message);
                break;
            case DestinationShorthand.AllIncludingSelf:
                _bus.DeliverToAll(message, null);
                break;
            case DestinationShorthand.AllExcludingSelf:
                _bus.DeliverToAll(message, this);
                break;
        }
    }

    private bool WriteBase(ulong value)
    {
        if ((value & ~(BaseAddressMask | BaseBootstrap | BaseX2Apic | BaseEnable)) != 0)
            return false;
        var before = _base & (BaseEnable | BaseX2Apic);
        var after = value & (BaseEnable | BaseX2Apic);

        // The allowed changes of mode: SDM vol. 3A, 11.12.5. x2APIC is left only by switching the APIC off, and
        // entered only from xAPIC.
        var allowed = after switch
        {
            BaseX2Apic => false,
            BaseEnable => before != (BaseEnable | BaseX2Apic),
            BaseEnable | BaseX2Apic => before != 0,
            _ => true,
        };
        if (!allowed)
            return false;

        Volatile.Write(ref _base, (value & ~BaseBootstrap) | (_base & BaseBootstrap));
        if (after == 0 && before != 0)
        {
            ResetRegisters();
        }
        else if (after == (BaseEnable | BaseX2Apic) && before == BaseEnable)
        {
            _logicalDestination = X2LogicalId(_id);
        }

        TellIfDeliverable();
        return true;
    }

    /// <summary>The logical x2APIC ID is derived from the ID (SDM vol. 3A, 11.12.10.2).</summary>
    private static uint X2LogicalId(uint id) => (id >> 4 << 16) | (1u << (int)(id & 0xF));

    private bool ReadX2Apic(uint index, out ulong value)
    {
        value = 0;
        if (!IsX2Apic || index is < FirstX2ApicMsr or > LastX2ApicMsr)
            return false;
        var register = (Register)((index - FirstX2ApicMsr) << 4);
        switch (register)
        {
            case Register.InterruptCommandLow:
                value = _command;
                return true;
            case Register.Eoi or Register.SelfIpi or Register.DestinationFormat or Register.InterruptCommandHigh:
                return false;
            case Register.Id or Register.Version or Register.TaskPriority or Register.ProcessorPriority
                or Register.LogicalDestination or Register.SpuriousVector or Register.ErrorStatus
                or Register.InitialCount or Register.CurrentCount or Register.DivideConfiguration
                or (>= Register.InService and < Register.ErrorStatus):
                value = ReadRegister(register);
                return true;
            default:
                if (LvtEntry(register) < 0)
                    return false;
                value = ReadRegister(register);
                return true;
        }
    }

    private bool WriteX2Apic(uint index, ulong value)
    {
        if (!IsX2Apic || index is < FirstX2ApicMsr or > LastX2ApicMsr)
            return false;
        var register = (Register)((index - FirstX2ApicMsr) << 4);
        if (register == Register.InterruptCommandLow)
        {
            if ((value & ~(CommandX2Writable | DeliveryStatusBit)) != 0)
                return false;
            _command = value & CommandX2Writable;
            SendCommand((uint)(value >> CommandDestinationShift));
            return true;
        }

        ulong? writable = register switch
        {
            Register.TaskPriority or Register.SelfIpi => VectorMask,
            Register.Eoi or Register.ErrorStatus => 0UL,
            Register.SpuriousVector => SpuriousX2Writable,
            Register.InitialCount => uint.MaxValue,
            Register.DivideConfiguration => DivideWritable,
            _ when LvtEntry(register) is >= 0 and var entry => WritableLvt(entry) | DeliveryStatusBit | LvtRemoteIrr,
            _ => null,
        };
        if (writable is not { } mask || (value & ~mask) != 0)
            return false;
        if (register != Register.SelfIpi)
            return WriteRegister(register, (uint)value);
        if (value < LowestUsableVector)
            RecordError(ErrorSendIllegalVector);
        else
            Accept(new ApicMessage((byte)value, DeliveryMode.Fixed, false, _id, false));
        return true;
    }

    private void WriteInitialCount(uint value)
    {
        if (TimerMode == TimerTscDeadline)
            return;
        _initialCount = value;
        _timerStart = _clock.Nanoseconds;
        RestartTimer();
    }

    private void WriteDivideConfiguration(uint value)
    {
        // The count goes on from where it is, at the new pace.
        var done = (long)(_initialCount - CurrentCount());
        _divideConfiguration = value & DivideWritable;
        if (_initialCount == 0 || TimerMode == TimerTscDeadline || _timerDeadline == MachineClock.Never)
            return;
        _timerStart = _clock.Nanoseconds - done * Divider;
        RestartTimer();
    }

    private void WriteTscDeadline(ulong value)
    {
        if (TimerMode != TimerTscDeadline)
            return;
        _tscDeadline = value;
        RestartTimer();
    }

    private uint CurrentCount()
    {
        if (_initialCount == 0 || TimerMode == TimerTscDeadline)
            return 0;
        var ticks = (_clock.Nanoseconds - _timerStart) / Divider;
        if (TimerMode == TimerPeriodic)
            return _initialCount - (uint)(ticks % _initialCount);
        return ticks >= _initialCount ? 0 : _initialCount - (uint)ticks;
    }

    private void StopTimer()
    {
        _timerDeadline = MachineClock.Never;
        _timer.Cancel();
    }

    /// <summary>Works out when the timer fires next from what is programmed now.</summary>
    private void RestartTimer()
    {
        StopTimer();
        var now = _clock.Nanoseconds;
        if (TimerMode == TimerTscDeadline)
        {
            if (_tscDeadline != 0)
                _timerDeadline = _clock.NanosecondsAtTsc(_tscDeadline, Tsc);
        }
        else if (_initialCount != 0)
        {
            var period = _initialCount * Divider;
            var elapsed = now - _timerStart;
            if (TimerMode == TimerPeriodic)
                _timerDeadline = _timerStart + (elapsed / period + 1) * period;
            else if (elapsed < period)
                _timerDeadline = _timerStart + period;
        }

        ArmTimer();
    }

    /// <summary>A masked timer counts, but there is nothing to wake up for.</summary>
    private void ArmTimer()
    {
        if (_timerDeadline != MachineClock.Never && (_lvt[Timer] & LvtMasked) == 0)
            _timer.Arm(_timerDeadline);
    }

    private void OnTimer()
    {
        var now = _clock.Nanoseconds;
        if (now < _timerDeadline || (_lvt[Timer] & LvtMasked) != 0)
            return;
        if (TimerMode == TimerTscDeadline)
        {
            if (_tscDeadline == 0)
                return;

            // The TSC is the truth; the conversion to guest time may have been off by a little.
            var tsc = Tsc;
            if (unchecked((long)(_tscDeadline - tsc)) > 0)
            {
                _timerDeadline = Math.Max(_clock.NanosecondsAtTsc(_tscDeadline, tsc), now + 1);
                ArmTimer();
                return;
            }

            _tscDeadline = 0;
            _timerDeadline = MachineClock.Never;
        }
        else if (TimerMode == TimerPeriodic)
        {
            var period = _initialCount * Divider;
            var next = _timerStart + ((now - _timerStart) / period + 1) * period;
            _timerDeadline = Math.Max(next, now + ShortestPeriod);
            ArmTimer();
        }
        else
        {
            _timerDeadline = MachineClock.Never;
        }

        var vector = (byte)_lvt[Timer];
        if (!IsEnabled)
            return;
        if (vector < LowestUsableVector)
            RecordError(ErrorReceiveIllegalVector);
        else
            Request(vector, false);
    }

    private static int Highest(uint[] bank)
    {
        for (var i = 7; i >= 0; i--)
        {
            if (bank[i] != 0)
                return i * 32 + BitOperations.Log2(bank[i]);
        }

        return -1;
    }

    private static void SetShared(uint[] bank, int vector) => Interlocked.Or(ref bank[vector >> 5], 1u << vector);

    private static void ClearShared(uint[] bank, int vector) => Interlocked.And(ref bank[vector >> 5], ~(1u << vector));

    private static void Set(uint[] bank, int vector) => bank[vector >> 5] |= 1u << vector;

    private static void Clear(uint[] bank, int vector) => bank[vector >> 5] &= ~(1u << vector);

    private static bool Test(uint[] bank, int vector) => (bank[vector >> 5] & (1u << vector)) != 0;
}
