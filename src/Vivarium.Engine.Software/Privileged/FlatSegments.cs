using Vivarium.Engine;

namespace Vivarium.Engine.Software.Privileged;

/// <summary>The segments that SYSCALL, SYSENTER and their returns load without looking at a descriptor: base 0, limit 4 GiB.</summary>
internal static class FlatSegments
{
    /// <summary>Present, code or data, accessed, readable or writable, G.</summary>
    private const uint Common = SegmentRegister.Present | SegmentRegister.CodeOrData | SegmentRegister.Granularity | 3;
    private const uint Executable = 8;

    public static NativeSegment Code64(ushort selector, int dpl) => Make(selector, dpl, Common | Executable | SegmentRegister.Long);

    public static NativeSegment Code32(ushort selector, int dpl) => Make(selector, dpl, Common | Executable | SegmentRegister.Big);

    public static NativeSegment Data(ushort selector, int dpl) => Make(selector, dpl, Common | SegmentRegister.Big);

    private static NativeSegment Make(ushort selector, int dpl, uint attributes) => new()
    {
        Selector = (ushort)((selector & ~3) | dpl),
        Limit = uint.MaxValue,
        Attributes = attributes | ((uint)dpl << SegmentRegister.DplShift),
    };
}
