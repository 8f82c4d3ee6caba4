namespace Vivarium.Engine;

/// <summary>
/// A hypercall as the guest made it, in the registers that KVM's interface uses (the kernel's documentation,
/// "KVM hypercalls"). Outside 64-bit code the values are cut to 32 bits.
/// </summary>
/// <param name="Number">RAX.</param>
/// <param name="A0">RBX.</param>
/// <param name="A1">RCX.</param>
/// <param name="A2">RDX.</param>
/// <param name="A3">RSI.</param>
/// <param name="Is64Bit">Made by 64-bit code, where a word has 64 bits.</param>
/// <param name="Cpl">The caller's privilege level.</param>
public readonly record struct Hypercall(ulong Number, ulong A0, ulong A1, ulong A2, ulong A3, bool Is64Bit, int Cpl);
