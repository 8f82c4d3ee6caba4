using System.IO.Hashing;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics.X86;
using Iced.Intel;
using Vivarium.Engine.Software.Translate;

namespace Vivarium.Engine.Software.Persisted;

/// <summary>
/// What translations must agree in to be exchanged: the build of the engine, the host's and the guest's processor, what
/// the translator was told, and where the thunks stand. A hash (XXH128) of all of it: a mistake is what it guards
/// against, not malice.
/// </summary>
internal readonly record struct Identity(ulong High, ulong Low)
{
    /// <summary>A file name of it.</summary>
    public override string ToString() => $"{High:x16}{Low:x16}";

    /// <param name="model">The guest's processor.</param>
    /// <param name="optimizations">What changes translations.</param>
    /// <param name="alignJumps">As <see cref="Translator.AlignJumps"/>.</param>
    /// <param name="thunkBytes">Bytes of all thunks.</param>
    public static unsafe Identity Of(CpuModel model, Optimizations optimizations, bool alignJumps, long thunkBytes)
    {
        var hash = new XxHash128();
        // Compiled ahead of time, the program is the build.
        if (Environment.ProcessPath is { } program && new FileInfo(program) is { Exists: true } file)
        {
            Append(hash, [(ulong)file.Length, (ulong)file.LastWriteTimeUtc.Ticks]);
        }

        if (RuntimeFeature.IsDynamicCodeCompiled)
        {
            // Otherwise its assemblies are.
            foreach (Type type in (ReadOnlySpan<Type>)[typeof(Translator), typeof(CpuModel), typeof(Decoder)])
            {
                hash.Append(type.Module.ModuleVersionId.ToByteArray());
            }
        }

        Append(hash, [(ulong)optimizations, alignJumps ? 1u : 0, (ulong)thunkBytes, (ulong)sizeof(NativeState), model.XsaveMask]);

        // Also those without a name: to list the names, the native program would search its metadata.
        for (CpuFeature feature = 0; feature < CpuModel.FeaturesEnd; feature++)
        {
            Append(hash, [model.Has(feature) ? 1u : 0, CpuModel.HostHas(feature) ? 1u : 0]);
        }

        // Who made the host's processor, and which it is.
        foreach (int leaf in (ReadOnlySpan<int>)[0, 1])
        {
            (int eax, int ebx, int ecx, int edx) = X86Base.CpuId(leaf, 0);
            Append(hash, leaf == 0 ? [(uint)eax, (uint)ebx, (uint)ecx, (uint)edx] : [(uint)eax]);
        }

        UInt128 value = hash.GetCurrentHashAsUInt128();
        return new Identity((ulong)(value >> 64), (ulong)value);
    }

    private static void Append(XxHash128 hash, ReadOnlySpan<ulong> values) => hash.Append(MemoryMarshal.AsBytes(values));
}
