using System.Runtime.CompilerServices;
using Vivarium.Memory;

namespace Vivarium.Devices;

/// <summary>
/// The KVM paravirtual interface of a machine: what its vCPUs share, and the hypercalls (the kernel's documentation,
/// "KVM hypercalls"). The CPUID leaves that announce it are the CPU model's.
/// </summary>
public sealed unsafe class ParavirtualPlatform
{
    /// <summary>KVM_CLOCK_PAIRING_WALLCLOCK.</summary>
    private const ulong PairingWallClock = 0;

    // struct kvm_clock_pairing.
    private const int PairingSize = 64;
    private const int PairingSeconds = 0;
    private const int PairingNanoseconds = 8;
    private const int PairingTsc = 16;

    // The interrupt command of KVM_HC_SEND_IPI has the format of the local APIC's (SDM vol. 3A, 11.6.1).
    private const ulong CommandLogical = 1 << 11;
    private const ulong CommandShorthand = 3 << 18;
    private const int CommandModeShift = 8;

    private readonly ApicBus _apics;
    private ParavirtualCpu[] _cpus = [];

    /// <param name="clock">The machine's clock, paused, with the TSC's frequency set.</param>
    /// <param name="hostTsc">Reads the host's TSC.</param>
    public ParavirtualPlatform(GuestMemory memory, MachineClock clock, ApicBus apics, Func<ulong> hostTsc)
    {
        Memory = memory;
        MachineClock = clock;
        Clock = new KvmClock(clock, hostTsc);
        WallClock = new WallClock(memory, Clock);
        _apics = apics;
    }

    public KvmClock Clock { get; }

    internal GuestMemory Memory { get; }

    internal MachineClock MachineClock { get; }

    internal WallClock WallClock { get; }

    public ParavirtualPlatformState Save() => new() { Clock = Clock.Save(), WallClock = WallClock.Value };

    /// <summary>Takes a saved state; the machine's clock is paused.</summary>
    public void Restore(ParavirtualPlatformState state)
    {
        StateFormat.Require(state.Version == ParavirtualPlatformState.CurrentVersion && state.Clock is not null, "paravirtual interface");
        Clock.Restore(state.Clock!);
        WallClock.Restore(state.WallClock);
    }

    internal void Add(ParavirtualCpu cpu) => _cpus = [.. _cpus, cpu];

    /// <summary>Does what a guest asks; the answer, negative for a refusal, is the hypercall's result.</summary>
    internal long Call(ParavirtualCpu caller, ulong number, ulong a0, ulong a1, ulong a2, ulong a3, bool is64Bit, int cpl)
    {
        if (cpl != 0)
            return HypercallError.NotPermitted;
        switch ((HypercallNumber)number)
        {
            case HypercallNumber.VapicPollIrq:
                // For processors without a virtual local APIC: the exit itself was what the guest wanted.
                return 0;
            case HypercallNumber.KickCpu:
                Find(a1)?.UnhaltRequested?.Invoke();
                return 0;
            case HypercallNumber.ClockPairing:
                return PairClocks(caller, a0, a1);
            case HypercallNumber.SendIpi:
                return SendIpi(a0, a1, a2, a3, is64Bit);
            case HypercallNumber.SchedYield:
                // The host knows best which of its threads waits for this CPU.
                if (Find(a0) is { } other && other != caller)
                    Thread.Yield();
                return 0;
            default:
                return HypercallError.Unknown;
        }
    }

    private ParavirtualCpu? Find(ulong apicId)
    {
        foreach (var cpu in _cpus)
        {
            if (cpu.Apic.Id == apicId)
                return cpu;
        }

        return null;
    }

    private long PairClocks(ParavirtualCpu caller, ulong address, ulong clockType)
    {
        if (clockType != PairingWallClock)
            return HypercallError.NotSupported;
        var area = new GuestArea(Memory, address, PairingSize);
        var host = area.Host;
        if (host == null)
            return HypercallError.Fault;
        var (unix, tsc) = Clock.Pair();
        var (seconds, nanoseconds) = Math.DivRem(unix, MachineClock.NanosecondsPerSecond);
        new Span<byte>(host, PairingSize).Clear();
        Unsafe.WriteUnaligned(host + PairingSeconds, seconds);
        Unsafe.WriteUnaligned(host + PairingNanoseconds, nanoseconds);
        Unsafe.WriteUnaligned(host + PairingTsc, tsc + caller.TscOffset());
        area.Written(host);
        return 0;
    }

    /// <summary>KVM_HC_SEND_IPI: to the APIC IDs from <paramref name="first"/> on whose bits are set in two words.</summary>
    /// <returns>How many local APICs took it.</returns>
    private long SendIpi(ulong low, ulong high, ulong first, ulong command, bool is64Bit)
    {
        if ((command & (CommandLogical | CommandShorthand)) != 0)
            return HypercallError.Invalid;
        var wordSize = is64Bit ? 64 : 32;
        var message = new ApicMessage((byte)command, (DeliveryMode)((command >> CommandModeShift) & 7), false, 0, false);
        return _apics.SendToSet(message, low, (uint)first) + _apics.SendToSet(message, high, (uint)first + (ulong)wordSize);
    }
}
