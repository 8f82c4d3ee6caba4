using Vivarium.Engine.Tracing;

namespace Vivarium.Engine;

/// <summary>One virtual processor. <see cref="Run"/> and the state calls belong to one thread; the rest may be called from any.</summary>
public interface IVcpu : IDisposable
{
    int Index { get; }

    /// <summary>Enters the guest and runs it until the monitor is needed.</summary>
    void Run(out VmExit exit);

    /// <summary>Makes <see cref="Run"/> return <see cref="ExitReason.Cancelled"/> soon, also from a guest busy loop. If the vCPU is not running, the next Run returns at once.</summary>
    void Kick();

    /// <summary>Says that <see cref="IVcpuBus.AcknowledgeInterrupt"/> may have something; the engine asks as soon as the guest can take an interrupt.</summary>
    void RequestInterrupt();

    /// <summary>Queues a non-maskable interrupt.</summary>
    void RequestNmi();

    /// <summary>Ends a HLT without an interrupt: the one that the vCPU is in, or else its next.</summary>
    void RequestUnhalt();

    /// <summary>Makes the vCPU forget every cached translation before it runs another instruction; if it is running, soon.</summary>
    void RequestTlbFlush();

    /// <summary>True when there is what ends a HLT: an interrupt was requested that the guest can take, an NMI is queued, or <see cref="RequestUnhalt"/> was called.</summary>
    bool HasPendingEvent { get; }

    /// <summary>Copies the whole architectural state out. Not while <see cref="Run"/> runs.</summary>
    void GetState(CpuState state);

    /// <summary>Replaces the whole architectural state. Not while <see cref="Run"/> runs.</summary>
    void SetState(CpuState state);

    /// <summary>
    /// What <see cref="Run"/> is to stop for from now on, for a debugger's sake; null for nothing. Another vCPU that is running
    /// may pass a new breakpoint once more. Not while <see cref="Run"/> runs.
    /// </summary>
    void SetGuestDebug(GuestDebug? debug);

    /// <summary>
    /// Where the paging structures, as they stand, map a linear address, whatever the rights: no accessed or dirty flag is set.
    /// False: nowhere. Not while <see cref="Run"/> runs.
    /// </summary>
    bool TryTranslate(ulong linear, out ulong gpa);

    /// <summary>The guest's time-stamp counter now, as RDTSC would read it. Callable from any thread.</summary>
    ulong Tsc { get; }

    /// <summary>
    /// What <see cref="Tsc"/> is ahead of the host's counter, modulo 2^64: equal on processors whose counters are in step. Not
    /// while <see cref="Run"/> runs.
    /// </summary>
    ulong TscOffset { get; set; }

    /// <summary>Counters since creation.</summary>
    VcpuStatistics Statistics { get; }

    /// <summary>
    /// Begins, or ends, to keep <see cref="VcpuStatistics.Times"/> and <see cref="VcpuStatistics.Sites"/>, which slows the vCPU
    /// down a little. What was measured before stays. From any thread.
    /// </summary>
    void Measure(bool on);

    /// <summary>
    /// Begins to tell a buffer what it asks for, instead of the buffer before; null ends it. From any thread; a vCPU that runs
    /// may add a last record to the buffer before.
    /// </summary>
    void Trace(TraceBuffer? buffer);
}
