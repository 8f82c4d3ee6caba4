using Vivarium.Devices.Host;

namespace Vivarium.Devices;

/// <summary>
/// One vCPU's side of the KVM paravirtual interface: its registers and the structures in guest RAM that they name.
/// Everything here belongs to the vCPU's thread.
/// </summary>
public sealed class ParavirtualCpu : IDisposable
{
    /// <summary>How often steal time is brought up to date; finding it out costs a system call.</summary>
    private const long StealInterval = 10_000_000;

    /// <summary>MSR_KVM_POLL_CONTROL after power-up: the host may poll before it lets a halted vCPU sleep.</summary>
    private const ulong PollAllowed = 1;

    /// <summary>KVM_MIGRATION_READY, which guests without encrypted memory begin with.</summary>
    private const ulong MigrationReady = 1;

    private readonly ParavirtualPlatform _platform;
    private readonly SystemTime _systemTime;
    private readonly StealTime _stealTime;
    private readonly PvEoi _eoi;
    private ThreadRunDelay? _runDelay;
    private ulong _pollControl = PollAllowed;
    private ulong _migrationControl = MigrationReady;
    private long _nextAccount;

    /// <param name="apic">The vCPU's local APIC.</param>
    /// <param name="tscOffset">What the vCPU's TSC is ahead of the host's.</param>
    public ParavirtualCpu(ParavirtualPlatform platform, LocalApic apic, Func<ulong> tscOffset)
    {
        _platform = platform;
        Apic = apic;
        TscOffset = tscOffset;
        _systemTime = new SystemTime(platform.Memory, platform.Clock);
        _stealTime = new StealTime(platform.Memory);
        _eoi = new PvEoi(platform.Memory);
        apic.PvEoi = _eoi;
        platform.Add(this);
    }

    /// <summary>Another vCPU kicks this one out of its HLT, or out of the next. Called on any thread.</summary>
    public Action? UnhaltRequested { get; set; }

    /// <summary>Whether the host may poll for events before the halted vCPU's thread sleeps: the guest polls itself where it says no.</summary>
    public bool MayPoll => (_pollControl & PollAllowed) != 0;

    internal LocalApic Apic { get; }

    internal Func<ulong> TscOffset { get; }

    /// <summary>Tells what the vCPU's thread has waited for a host CPU until now, in nanoseconds; without it, the host is asked.</summary>
    public Func<long>? RunDelay { get; init; }

    /// <summary>Whether a model-specific register belongs here.</summary>
    public static bool OwnsMsr(uint index) =>
        index is KvmMsr.WallClockOld or KvmMsr.SystemTimeOld or (>= KvmMsr.First and <= KvmMsr.Last);

    /// <summary>RDMSR. False: #GP.</summary>
    public bool ReadMsr(uint index, out ulong value)
    {
        ulong? register = index switch
        {
            KvmMsr.WallClock or KvmMsr.WallClockOld => _platform.WallClock.Value,
            KvmMsr.SystemTime or KvmMsr.SystemTimeOld => _systemTime.Value,
            KvmMsr.StealTime => _stealTime.Value,
            KvmMsr.EoiEnable => _eoi.Value,
            KvmMsr.PollControl => _pollControl,
            KvmMsr.MigrationControl => _migrationControl,
            _ => null,
        };
        value = register.GetValueOrDefault();
        return register is not null;
    }

    /// <summary>WRMSR. False: #GP, nothing changed.</summary>
    public bool WriteMsr(uint index, ulong value)
    {
        switch (index)
        {
            case KvmMsr.WallClock or KvmMsr.WallClockOld:
                _platform.WallClock.Write(value);
                return true;
            case KvmMsr.SystemTime or KvmMsr.SystemTimeOld:
                _systemTime.Write(value, TscOffset());
                return true;
            case KvmMsr.StealTime:
                return _stealTime.Write(value, ReadRunDelay());
            case KvmMsr.EoiEnable:
                Apic.SettleEoi();
                return _eoi.Write(value);
            case KvmMsr.PollControl when value <= PollAllowed:
                _pollControl = value;
                return true;
            case KvmMsr.MigrationControl when value <= MigrationReady:
                _migrationControl = value;
                return true;
            default:
                return false;
        }
    }

    /// <summary>VMCALL or VMMCALL with its arguments as they count in the caller's mode.</summary>
    /// <returns>What goes to RAX: 0 or more, or a negated error.</returns>
    public long Hypercall(ulong number, ulong a0, ulong a1, ulong a2, ulong a3, bool is64Bit, int cpl) =>
        _platform.Call(this, number, a0, a1, a2, a3, is64Bit, cpl);

    /// <summary>The guest has set its TSC.</summary>
    public void TscMoved() => _systemTime.Publish(TscOffset(), stopped: false);

    /// <summary>Before guest code runs, each time.</summary>
    public void EnterGuest()
    {
        if (_systemTime.IsStale)
            _systemTime.Publish(TscOffset(), stopped: true);
        if (!_stealTime.IsEnabled)
            return;
        var now = _platform.MachineClock.Nanoseconds;
        if (now < _nextAccount)
            return;
        _nextAccount = now + StealInterval;
        _stealTime.Account(ReadRunDelay());
    }

    /// <summary>Before the halted vCPU's thread sleeps.</summary>
    public void BeginSleep() => _stealTime.BeginSleep();

    /// <summary>After it slept, before guest code runs. True: the vCPU's cached translations must be forgotten first.</summary>
    public bool EndSleep() => _stealTime.EndSleep();

    /// <summary>INIT: the guest no longer minds what the registers name. On the vCPU's thread.</summary>
    public void Reset()
    {
        _systemTime.Write(0, 0);
        _ = _stealTime.Write(0, 0);
        _eoi.Reset();
    }

    public ParavirtualCpuState Save() => new()
    {
        SystemTime = _systemTime.Value,
        StealTime = _stealTime.Value,
        EoiEnable = _eoi.Value,
        PollControl = _pollControl,
        MigrationControl = _migrationControl,
    };

    /// <summary>Takes a saved state; guest memory and the platform are restored before, the local APIC after.</summary>
    public void Restore(ParavirtualCpuState state)
    {
        StateFormat.Require(
            state.Version == ParavirtualCpuState.CurrentVersion && state.PollControl <= PollAllowed && state.MigrationControl <= MigrationReady
            && _eoi.Write(state.EoiEnable),
            "paravirtual interface");
        _systemTime.Restore(state.SystemTime);
        _stealTime.Restore(state.StealTime, 0);
        _pollControl = state.PollControl;
        _migrationControl = state.MigrationControl;
    }

    public void Dispose() => _runDelay?.Dispose();

    private long ReadRunDelay() => RunDelay?.Invoke() ?? (_runDelay ??= new ThreadRunDelay()).Read();
}
