namespace Vivarium.Devices;

/// <summary>
/// What a local APIC tells its processor. Called on any thread, devices' locks and the interrupt lock held or not: an
/// implementation may only set flags and wake threads (<c>IVcpu.RequestInterrupt</c>, <c>RequestNmi</c>, <c>Kick</c>).
/// </summary>
public interface ILocalApicEvents
{
    /// <summary>An interrupt can be fetched with <see cref="LocalApic.AcknowledgeInterrupt"/>.</summary>
    void InterruptRequested();

    void NmiRequested();

    /// <summary>
    /// INIT: the processor's thread is to call <see cref="LocalApic.Initialize"/>, go to the processor's INIT state and wait for a
    /// start-up message.
    /// </summary>
    void InitRequested();

    /// <summary>SIPI: a processor in wait-for-SIPI starts in real mode at <paramref name="vector"/> * 4096; any other ignores it.</summary>
    void StartupRequested(byte vector);
}
