using System.Reflection;
using System.Reflection.Metadata;
using System.Reflection.PortableExecutable;
using Vivarium.Guests.Tests;
using Xunit;

namespace Vivarium.Cli.Tests;

/// <summary>The profile that the native viv is compiled with.</summary>
public sealed class ProfileTests
{
    private const BindingFlags Any = BindingFlags.Public | BindingFlags.NonPublic | BindingFlags.Instance | BindingFlags.Static | BindingFlags.DeclaredOnly;

    /// <summary>Methods come and go; when the profile speaks of too many that are no more, it wants to be made anew.</summary>
    [Fact]
    public void Nine_in_ten_methods_of_the_profile_are_still_there()
    {
        using var image = new PEReader(File.OpenRead(Path.Combine(Repository.Root, "src", "Vivarium.Cli", "viv.mibc")));
        MetadataReader profile = image.GetMetadataReader();
        MemberReference[] methods = [.. profile.MemberReferences.Select(profile.GetMemberReference)];
        string[] gone = [.. methods.Where(method => !Exists(profile, method)).Select(method => $"{TypeOf(profile, method.Parent).Name}.{profile.GetString(method.Name)}")];
        Assert.True(methods.Length > 1000);
        Assert.True(gone.Length * 10 <= methods.Length, $"run bench/profile/run; no more there are {string.Join(", ", gone)}");
    }

    private static bool Exists(MetadataReader profile, MemberReference method)
    {
        (string assembly, string type) = TypeOf(profile, method.Parent);
        string name = profile.GetString(method.Name);
        return Assembly.Load(assembly).GetType(type) is { } owner
            && (owner.GetMethods(Any).Any(found => found.Name == name) || owner.GetConstructors(Any).Any(found => found.Name == name));
    }

    private static (string Assembly, string Name) TypeOf(MetadataReader profile, EntityHandle handle)
    {
        TypeReference type = profile.GetTypeReference((TypeReferenceHandle)handle);
        string name = profile.GetString(type.Name);
        if (type.ResolutionScope.Kind == HandleKind.TypeReference)
        {
            (string assembly, string outer) = TypeOf(profile, type.ResolutionScope);
            return (assembly, $"{outer}+{name}");
        }

        string space = profile.GetString(type.Namespace);
        return (
            profile.GetString(profile.GetAssemblyReference((AssemblyReferenceHandle)type.ResolutionScope).Name),
            space.Length == 0 ? name : $"{space}.{name}");
    }
}
