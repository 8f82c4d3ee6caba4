namespace Vivarium.Engine;

/// <summary>The kind of processor that a guest sees.</summary>
public sealed class CpuModel
{
    /// <summary>Largest standard-format XSAVE area of any model: legacy, header, AVX, AVX-512, PKRU (SDM vol. 1, 13.4-13.5).</summary>
    public const int MaxXsaveSize = 2816;

    /// <summary>The names that <c>--cpu</c> takes, the default first.</summary>
    public static IReadOnlyList<string> Names { get; } = ["x86-64-v3", "x86-64-v2", "x86-64-v4", "host"];
}
