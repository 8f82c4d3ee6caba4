using Vivarium.Oracle.Generate;

namespace Vivarium.Oracle;

/// <summary>The fixed contents that memory has before a case patches it.</summary>
internal static class CaseMemory
{
    public static byte[] ReadOnlyContent { get; } = Make(CaseWindow.ReadOnlySize, 0x5EED_0001);

    public static byte[] DataContent { get; } = Make(CaseWindow.DataSize, 0x5EED_0002);

    private static byte[] Make(int size, ulong seed)
    {
        var bytes = new byte[size];
        var random = new Rng(seed);
        for (int at = 0; at < size; at++)
        {
            bytes[at] = (byte)random.Next();
        }

        return bytes;
    }
}
