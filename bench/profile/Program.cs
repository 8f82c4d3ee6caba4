using System.Reflection.Metadata;
using System.Reflection.PortableExecutable;
using Vivarium.Profile;

int split = Array.IndexOf(args, "--");
if (split < 2 || split == args.Length - 1)
{
    Console.Error.WriteLine("Usage: Vivarium.Profile OUTPUT.mibc TEXT... -- ASSEMBLY...");
    return 2;
}

var counted = new Counted();
foreach (string text in args[1..split])
{
    foreach (MethodProfile profile in TextProfile.Read(text))
    {
        counted.Add(profile);
    }
}

var writer = new MibcWriter(Path.GetFileNameWithoutExtension(args[0]));
int sum = 0;
foreach (string path in args[(split + 1)..])
{
    using var image = new PEReader(File.OpenRead(path));
    MetadataReader assembly = image.GetMetadataReader();
    (MethodDefinitionHandle, MethodProfile)[] methods = [.. counted.In(image, assembly)];
    if (methods.Length != 0)
    {
        writer.Add(assembly, methods);
        sum += methods.Length;
    }
}

writer.Save(args[0]);
Console.WriteLine($"{args[0]}: {sum} methods");
return 0;
