namespace Vivarium.Engine.Tests.Snippets;

/// <summary>How a snippet ended: at a HLT of its own (<see cref="Vector"/> is -1), in a handler, or by an exit.</summary>
/// <param name="Reason">Why Run returned.</param>
/// <param name="Vector">The vector whose handler was entered, or -1.</param>
/// <param name="ErrorCode">What the exception pushed, if it pushes one.</param>
/// <param name="Rip">The pushed instruction pointer; without a handler, the present one.</param>
/// <param name="Rflags">The pushed flags; without a handler, the present ones.</param>
/// <param name="Cs">The pushed CS; without a handler, the present one.</param>
/// <param name="Rsp">The stack pointer before the event.</param>
internal sealed record Stop(ExitReason Reason, int Vector, uint ErrorCode, ulong Rip, ulong Rflags, ushort Cs, ulong Rsp);
