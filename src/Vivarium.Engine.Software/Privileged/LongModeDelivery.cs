using Vivarium.Engine;

namespace Vivarium.Engine.Software.Privileged;

/// <summary>
/// Delivery of a fault or an external interrupt from 64-bit code to 64-bit code of ring 0 (SDM vol. 3A, 6.14) in its usual
/// case: IDT, GDT, TSS and stack are memory that the TLB knows, and the handler's segment is as it was the last time.
/// </summary>
internal static unsafe class LongModeDelivery
{
    private const int GateSize = 16;
    private const int DescriptorSize = 8;
    private const uint Rsp0 = 4;
    private const ulong StackAlignment = 16;

    /// <summary>Present, an interrupt or a trap gate, no interrupt stack table; whatever its DPL.</summary>
    private const ulong UsualGate = 0x8E00_0000_0000;
    private const ulong GateMask = 0x9E07_0000_0000;
    private const ulong TrapGateBit = 1ul << 40;

    /// <summary>False: nothing has been done, and <see cref="ExceptionDelivery"/> is to do it with all checks.</summary>
    public static bool TryDeliver(SoftwareVcpu cpu, int vector, uint? errorCode, ulong flags)
    {
        NativeState* s = cpu.S;
        int cpl = cpu.Cpl;
        uint entry = (uint)vector * GateSize;
        if (!cpu.Code64 || cpl is 1 or 2 || entry + GateSize - 1 > s->IdtrLimit)
        {
            return false;
        }

        ulong* gate = (ulong*)cpu.FindSystem(s->IdtrBase + entry, GateSize);
        if (gate == null)
        {
            return false;
        }

        ulong low = gate[0];
        ulong handler = (low & 0xFFFF) | (low >> 32 & 0xFFFF_0000) | (gate[1] << 32);
        var selector = (ushort)(low >> 16);
        if ((low & GateMask) != UsualGate || !SoftwareVcpu.IsCanonical(handler)
            || selector != s->HandlerSelector || (selector | 7u) > s->GdtrLimit)
        {
            return false;
        }

        ulong* descriptor = (ulong*)cpu.FindSystem(s->GdtrBase + (selector & 0xFFF8u), DescriptorSize);
        if (descriptor == null || *descriptor != s->HandlerDescriptor)
        {
            return false;
        }

        ulong top = s->Gpr[4];
        if (cpl == 3)
        {
            ulong* rsp0 = s->Tr.Limit >= Rsp0 + 7 ? (ulong*)cpu.FindSystem(s->Tr.Base + Rsp0, sizeof(ulong)) : null;
            if (rsp0 == null)
            {
                return false;
            }

            top = *rsp0;
        }

        top &= ~(StackAlignment - 1);
        int size = errorCode is null ? 40 : 48;
        byte* bottom = cpu.FindWritable(top - (uint)size, size, cpl == 3 ? AddressSpace.Supervisor : cpu.DataSpace);
        if (bottom == null)
        {
            return false;
        }

        ulong* frame = (ulong*)bottom;
        if (errorCode is { } error)
        {
            *frame++ = error;
        }

        frame[0] = s->Rip;
        frame[1] = s->Cs.Selector;
        frame[2] = flags;
        frame[3] = s->Gpr[4];
        frame[4] = s->Ss.Selector;
        s->SystemFlags &= ~(RflagsBits.Tf | RflagsBits.Nt | RflagsBits.Rf | RflagsBits.Vm);
        if ((low & TrapGateBit) == 0)
        {
            s->SystemFlags &= ~RflagsBits.If;
        }

        if (cpl == 3)
        {
            s->Ss = PrivilegeStack.NullStack(0);
        }

        s->Gpr[4] = top - (uint)size;
        s->Cs = s->HandlerCs;
        s->Rip = handler;
        return true;
    }

    /// <summary>Keeps a handler's code segment that was loaded with all checks.</summary>
    public static void Remember(NativeState* s, in Descriptor descriptor, in NativeSegment segment)
    {
        const ulong accessed = 1ul << 40;
        if (descriptor.IsLong && !descriptor.IsConforming && descriptor.Dpl == 0 && (descriptor.Selector & 7) == 0)
        {
            s->HandlerSelector = descriptor.Selector;
            s->HandlerDescriptor = descriptor.Value | accessed;
            s->HandlerCs = segment;
        }
    }
}
