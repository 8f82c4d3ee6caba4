namespace Vivarium.Devices;

/// <summary>What a refused hypercall answers, negated (the kernel's <c>kvm_para.h</c>).</summary>
internal static class HypercallError
{
    public const long NotPermitted = -1;
    public const long Fault = -14;
    public const long Invalid = -22;
    public const long NotSupported = -95;
    public const long Unknown = -1000;
}
