namespace Vivarium.Engine.Software.Privileged;

/// <summary>INT n and IRET in virtual-8086 mode with CR4.VME: interrupts that stay in the 8086 program, and the virtual interrupt flag (SDM vol. 3A, 20.3.3).</summary>
internal static unsafe class VirtualModeExtensions
{
    private const uint BitmapBaseField = 0x66;
    private const int RedirectionBytes = 32;
    private const uint TssMinimumLimit = 0x67;
    private const int AllIopl = 3;

    /// <summary>INT n (table 20-2): true if it was redirected to the 8086 program's own handler. Throws #GP where the monitor must decide.</summary>
    public static bool TryRedirect(SoftwareVcpu cpu, int vector)
    {
        bool privileged = Iopl(cpu) == AllIopl;
        if ((cpu.S->Cr4 & Cr4Bits.Vme) == 0 || IsIntercepted(cpu, vector))
        {
            return privileged ? false : throw GuestException.Protection();
        }

        NativeState* s = cpu.S;
        ulong flags = cpu.Rflags;
        ulong masked = RflagsBits.If;
        if (!privileged)
        {
            ulong virtualIf = (flags & RflagsBits.Vif) != 0 ? RflagsBits.If : 0;
            flags = (flags & ~RflagsBits.If) | virtualIf | RflagsBits.Iopl;
            masked = RflagsBits.Vif;
        }

        uint pointer = (uint)cpu.Load((uint)vector * 4, 4);
        ReadOnlySpan<ulong> frame = [flags, s->Cs.Selector, cpu.NextRip];
        cpu.SetStackPointer(cpu.PushFrame(cpu.CurrentStack(0), frame, 2));
        s->Cs = InterruptReturn.Virtual8086Segment((ushort)(pointer >> 16));
        s->SystemFlags &= ~(masked | RflagsBits.Tf);
        cpu.NextRip = (ushort)pointer;
        cpu.UpdateMode();
        return true;
    }

    /// <summary>IRET with IOPL below 3: only the 16-bit form, with IF standing for VIF. Returns the flags after it.</summary>
    public static ulong ReturnFlags(SoftwareVcpu cpu, ulong image, int size)
    {
        bool setsIf = (image & RflagsBits.If) != 0;
        if (size != 2 || (cpu.S->Cr4 & Cr4Bits.Vme) == 0 || (image & RflagsBits.Tf) != 0
            || (setsIf && (cpu.S->SystemFlags & RflagsBits.Vip) != 0))
        {
            throw GuestException.Protection();
        }

        const ulong writable = ushort.MaxValue & ~(RflagsBits.If | RflagsBits.Iopl);
        ulong flags = (cpu.Rflags & ~(writable | RflagsBits.Vif)) | (image & writable);
        return setsIf ? flags | RflagsBits.Vif : flags;
    }

    private static int Iopl(SoftwareVcpu cpu) => (int)(cpu.S->SystemFlags >> RflagsBits.IoplShift) & AllIopl;

    /// <summary>The bit in the TSS's interrupt redirection bitmap, which ends where the I/O permission bitmap begins.</summary>
    private static bool IsIntercepted(SoftwareVcpu cpu, int vector)
    {
        NativeState* s = cpu.S;
        if (s->Tr.Limit < TssMinimumLimit)
        {
            throw GuestException.Protection();
        }

        long at = (long)cpu.LoadSystem(s->Tr.Base + BitmapBaseField, 2) - RedirectionBytes + (vector >> 3);
        if (at < 0 || at > s->Tr.Limit)
        {
            throw GuestException.Protection();
        }

        return (cpu.LoadSystem(s->Tr.Base + (ulong)at, 1) >> (vector & 7) & 1) != 0;
    }
}
