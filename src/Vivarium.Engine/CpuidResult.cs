namespace Vivarium.Engine;

/// <summary>The four registers that CPUID returns.</summary>
public readonly record struct CpuidResult(uint Eax, uint Ebx, uint Ecx, uint Edx);

/// <summary>The processor state that CPUID's answer depends on.</summary>
/// <param name="ApicId">The processor's local APIC id.</param>
/// <param name="OsXsave">CR4.OSXSAVE.</param>
/// <param name="Xcr0">XCR0, for the size of the enabled state.</param>
public readonly record struct CpuidContext(uint ApicId, bool OsXsave, ulong Xcr0);
