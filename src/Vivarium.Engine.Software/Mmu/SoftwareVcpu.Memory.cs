using Iced.Intel;

namespace Vivarium.Engine.Software;

// Memory as the emulated instruction families see it.
internal sealed unsafe partial class SoftwareVcpu
{
    /// <summary>Reads 1, 2, 4 or 8 bytes at a linear address with the current privilege; page-crossing and MMIO are fine. Throws <see cref="GuestException"/> (#PF, #GP) with CR2 set.</summary>
    public ulong Load(ulong linear, int size) => throw new NotImplementedException();

    public void Store(ulong linear, int size, ulong value) => throw new NotImplementedException();

    /// <summary>As <see cref="Load"/>, as an implicit supervisor access (descriptor tables, TSS).</summary>
    public ulong LoadSystem(ulong linear, int size) => throw new NotImplementedException();

    public void StoreSystem(ulong linear, int size, ulong value) => throw new NotImplementedException();

    /// <summary>Reads or writes a larger operand (FXSAVE, XSAVE, descriptor pairs): all pages are checked before the first byte moves.</summary>
    public void LoadBytes(ulong linear, Span<byte> buffer) => throw new NotImplementedException();

    public void StoreBytes(ulong linear, ReadOnlySpan<byte> data) => throw new NotImplementedException();

    /// <summary>Checks that the whole range could be accessed, faulting as the access would, without touching it.</summary>
    public void Probe(ulong linear, int size, Access access) => throw new NotImplementedException();

    /// <summary>The operand's offset in its segment, address size applied.</summary>
    public ulong EffectiveAddress(in Instruction instruction) => throw new NotImplementedException();

    /// <summary>The operand's linear address after all segment checks for an access of <paramref name="size"/> bytes. Throws #GP/#SS.</summary>
    public ulong LinearAddress(in Instruction instruction, int size, Access access) => throw new NotImplementedException();

    /// <summary>Segment base + offset after all checks (canonical in 64-bit mode; limit, type, presence otherwise).</summary>
    public ulong SegmentedAddress(int segment, ulong offset, int size, Access access) => throw new NotImplementedException();

    /// <summary>Forgets all translations (non-global only if <paramref name="keepGlobal"/>), and with them the jump caches.</summary>
    public void FlushTlb(bool keepGlobal) => throw new NotImplementedException();

    /// <summary>Forgets the translation of one page (INVLPG).</summary>
    public void FlushPage(ulong linear) => throw new NotImplementedException();
}
