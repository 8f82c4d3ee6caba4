using Vivarium.Engine;
using Vivarium.Engine.Software.Privileged;

namespace Vivarium.Engine.Software;

// The descriptor tables (SDM vol. 3A, 3.5.1).
internal sealed unsafe partial class SoftwareVcpu
{
    private const ushort TableIndicator = 4;

    public static bool IsNull(ushort selector) => (selector & 0xFFFC) == 0;

    /// <summary>A selector in an error code: index and table; <paramref name="external"/> is the EXT bit (SDM vol. 3A, 6.13).</summary>
    public static uint SelectorError(ushort selector, uint external = 0) => (selector & 0xFFFCu) | external;

    public static GuestException SelectorFault(Vector vector, ushort selector, uint external = 0)
        => new(vector, SelectorError(selector, external));

    /// <summary>Reads the descriptor that a selector names. False: the selector is beyond its table.</summary>
    internal bool TryReadDescriptor(ushort selector, out Descriptor descriptor)
    {
        ulong tableBase = S->GdtrBase;
        uint limit = S->GdtrLimit;
        if ((selector & TableIndicator) != 0)
        {
            tableBase = S->Ldtr.Base;
            limit = S->Ldtr.Limit;
            if ((S->Ldtr.Attributes & (SegmentRegister.Unusable | SegmentRegister.Present)) != SegmentRegister.Present)
            {
                descriptor = default;
                return false;
            }
        }

        if ((selector | 7u) > limit)
        {
            descriptor = default;
            return false;
        }

        ulong address = tableBase + (selector & 0xFFF8u);
        descriptor = new Descriptor(selector, address, LoadSystem(address, 8));
        return true;
    }

    /// <summary>Reads a descriptor; beyond the table is <paramref name="vector"/> with the selector.</summary>
    internal Descriptor ReadDescriptor(ushort selector, Vector vector = Vector.GeneralProtection, uint external = 0)
        => TryReadDescriptor(selector, out Descriptor descriptor) ? descriptor : throw SelectorFault(vector, selector, external);

    /// <summary>The second half of a system descriptor or gate in IA-32e mode; 0 elsewhere (SDM vol. 3A, 3.5).</summary>
    internal ulong ReadUpperHalf(in Descriptor descriptor)
    {
        if (!LongModeActive)
        {
            return 0;
        }

        uint limit = (descriptor.Selector & TableIndicator) != 0 ? S->Ldtr.Limit : S->GdtrLimit;
        if ((descriptor.Selector | 7u) + 8 > limit)
        {
            throw SelectorFault(Vector.GeneralProtection, descriptor.Selector);
        }

        ulong upper = LoadSystem(descriptor.Address + 8, 8);

        // Where a descriptor's type would stand must be 0, so that the half cannot be taken for one.
        return (upper >> 40 & 0x1F) == 0 ? upper : throw SelectorFault(Vector.GeneralProtection, descriptor.Selector);
    }

    /// <summary>Sets the accessed bit of a code or data segment that is being loaded.</summary>
    internal void MarkAccessed(in Descriptor descriptor)
    {
        if (!descriptor.IsAccessed)
        {
            SetType(descriptor, 1);
        }
    }

    /// <summary>Sets bits of the type field in memory, by a locked access (SDM vol. 3A, 9.1.2.1).</summary>
    internal void SetType(in Descriptor descriptor, uint bits) => ChangeSystem(descriptor.Address + 5, (byte)bits, 0);
}
