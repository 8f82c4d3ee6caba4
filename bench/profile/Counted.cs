using System.Reflection.Metadata;
using System.Reflection.PortableExecutable;

namespace Vivarium.Profile;

/// <summary>The counters of all runs, and the methods that they belong to.</summary>
internal sealed class Counted
{
    private readonly Dictionary<(string Name, int IlSize), MethodProfile> _methods = [];

    /// <summary>Adds what was counted in one more run. Of a method that was counted in two ways, what says more is kept.</summary>
    public void Add(MethodProfile profile)
    {
        (string, int) key = (profile.Name, profile.IlSize);
        if (!_methods.TryGetValue(key, out MethodProfile? known))
        {
            _methods.Add(key, profile);
        }
        else if (known.Counters.Select(Place).SequenceEqual(profile.Counters.Select(Place)))
        {
            _methods[key] = known with { Counters = [.. known.Counters.Zip(profile.Counters, (a, b) => a with { Value = (int)Math.Min((long)a.Value + b.Value, int.MaxValue) })] };
        }
        else if (Sum(profile) > Sum(known))
        {
            _methods[key] = profile;
        }
    }

    /// <summary>
    /// The methods of an assembly that were counted. A method is known by its name and the length of its IL: two that have both in
    /// common are left out, and so are generic ones, of which each instance would be counted by itself.
    /// </summary>
    public IEnumerable<(MethodDefinitionHandle Method, MethodProfile Profile)> In(PEReader image, MetadataReader assembly) =>
        from method in assembly.MethodDefinitions
        let definition = assembly.GetMethodDefinition(method)
        where definition.RelativeVirtualAddress != 0 && !IsGeneric(assembly, definition)
        let length = image.GetMethodBody(definition.RelativeVirtualAddress).GetILReader().Length
        group method by (Name: $"{NameOf(assembly, definition.GetDeclaringType())}.{assembly.GetString(definition.Name)}", length) into same
        where same.Count() == 1 && _methods.ContainsKey(same.Key)
        select (same.Single(), _methods[same.Key]);

    private static (int Kind, int IlOffset, int Other) Place(Counter counter) => (counter.Kind, counter.IlOffset, counter.Other);

    private static long Sum(MethodProfile profile) => profile.Counters.Sum(counter => (long)counter.Value);

    private static bool IsGeneric(MetadataReader assembly, MethodDefinition method) =>
        method.GetGenericParameters().Count != 0 || assembly.GetTypeDefinition(method.GetDeclaringType()).GetGenericParameters().Count != 0;

    /// <summary>As the runtime writes it: types in types behind a plus sign.</summary>
    private static string NameOf(MetadataReader assembly, TypeDefinitionHandle handle)
    {
        TypeDefinition type = assembly.GetTypeDefinition(handle);
        string name = assembly.GetString(type.Name);
        if (!type.GetDeclaringType().IsNil)
        {
            return $"{NameOf(assembly, type.GetDeclaringType())}+{name}";
        }

        string space = assembly.GetString(type.Namespace);
        return space.Length == 0 ? name : $"{space}.{name}";
    }
}
