using System.Runtime.InteropServices;
using Vivarium.Engine.Software.Translate;

namespace Vivarium.Engine.Software.Host;

/// <summary>
/// What happens when the host refuses an instruction of translated code (a divide error, a misaligned SSE operand, an
/// unmasked floating-point exception): a signal handler, itself emitted machine code because managed code cannot
/// handle such a signal, notes the fault in the state block and lets the thread go on at the exit thunk. A signal
/// raised anywhere else goes on to the handler that was there before, .NET's.
/// </summary>
internal static unsafe class FaultHandler
{
    private const int PageBytes = 4096;
    private const int SigactionBytes = 152;
    private const int FlagsOffset = 136;
    private const int RestorerOffset = 144;
    private const int SaSiginfo = 4;
    private const int SaOnStack = 0x08000000;
    private const int SaRestart = 0x10000000;

    // ucontext_t of x86-64 Linux: general registers start at 40.
    private const int UcR15 = 40 + (7 * 8);
    private const int UcRip = 40 + (16 * 8);
    private const int UcError = 40 + (19 * 8);
    private const int UcTrap = 40 + (20 * 8);
    private const int UcCr2 = 40 + (22 * 8);

    private const int R8 = 8;
    private static readonly Lock Gate = new();
    private static bool s_installed;

    /// <summary>Installs the handler, once for the process.</summary>
    public static void Install()
    {
        lock (Gate)
        {
            if (s_installed)
            {
                return;
            }

            CodeRegion.Reserve();
            ulong* previous = (ulong*)NativeMemory.AllocZeroed(64, sizeof(ulong));
            byte* handler = Emit(previous);
            ReadOnlySpan<int> signals = [LinuxHost.SigSegv, LinuxHost.SigFpe, LinuxHost.SigIll, LinuxHost.SigBus, LinuxHost.SigTrap];
            byte* action = stackalloc byte[SigactionBytes];
            foreach (int signal in signals)
            {
                new Span<byte>(action, SigactionBytes).Clear();
                Check(LinuxHost.SigAction(signal, null, action));
                previous[signal] = *(ulong*)action;
                *(ulong*)action = (ulong)handler;
                *(int*)(action + FlagsOffset) = SaSiginfo | SaOnStack | SaRestart;
                *(ulong*)(action + RestorerOffset) = 0;
                Check(LinuxHost.SigAction(signal, action, null));
            }

            s_installed = true;
        }
    }

    private static byte* Emit(ulong* previous)
    {
        byte* page = (byte*)LinuxHost.Mmap(null, PageBytes, LinuxHost.ProtRead | LinuxHost.ProtWrite,
            LinuxHost.MapPrivate | LinuxHost.MapAnonymous, -1, 0);
        if (page == (byte*)-1)
        {
            throw new InvalidOperationException("the host refuses memory for the fault handler");
        }

        var e = new Emitter();
        e.Start(page, page);

        // handler(int signal: RDI, siginfo_t*: RSI, ucontext_t*: RDX)
        e.Load(HostRegister.Rax, HostRegister.Rdx, UcRip);
        e.MovImm(HostRegister.Rcx, (ulong)CodeRegion.ReservationStart);
        e.Rr(0x29, HostRegister.Rcx, HostRegister.Rax);     // sub rax, rcx
        e.MovImm(HostRegister.Rcx, (ulong)(CodeRegion.ReservationEnd - CodeRegion.ReservationStart));
        e.Rr(0x39, HostRegister.Rcx, HostRegister.Rax);     // cmp rax, rcx
        byte* elsewhere = e.JumpForward(3);                 // jae
        e.Load(R8, HostRegister.Rdx, UcR15);
        Copy(e, UcRip, StateOffset.ExitHostPc);
        Copy(e, UcTrap, StateOffset.FaultTrap);
        Copy(e, UcError, StateOffset.FaultError);
        Copy(e, UcCr2, StateOffset.FaultAddress);
        e.Rm(0xC7, 0, R8, StateOffset.ExitCode);
        e.Dword((int)ExitCode.HostFault);
        e.Load(HostRegister.Rax, R8, StateOffset.ExitThunk);
        e.Store(HostRegister.Rdx, UcRip, HostRegister.Rax);
        e.Byte(0xC3);

        e.Land(elsewhere);
        e.MovImm(HostRegister.Rax, (ulong)previous);
        e.Rr(0x63, HostRegister.Rcx, HostRegister.Rdi);     // movsxd rcx, edi
        e.Rx(0xFF, 4, HostRegister.Rax, HostRegister.Rcx, 3, 0, wide: false); // jmp [rax + rcx*8]
        Check(LinuxHost.Mprotect(page, PageBytes, LinuxHost.ProtRead | LinuxHost.ProtExec));
        return page;
    }

    private static void Copy(Emitter e, int from, int to)
    {
        e.Load(HostRegister.Rax, HostRegister.Rdx, from);
        e.Store(R8, to, HostRegister.Rax);
    }

    private static void Check(int result)
    {
        if (result != 0)
        {
            throw new InvalidOperationException($"cannot install the fault handler: {Marshal.GetLastPInvokeErrorMessage()}");
        }
    }
}
