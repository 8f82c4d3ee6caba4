namespace Vivarium.Firmware.Boot;

/// <summary>A file that a multiboot kernel gets beside itself, with a text that usually names it.</summary>
public sealed class BootModule : IDisposable
{
    private readonly ImageFile _file;

    private BootModule(ImageFile file, string text)
    {
        _file = file;
        Text = text;
    }

    /// <summary>What the kernel is told of the module: the file's name and what was given with it.</summary>
    public string Text { get; }

    /// <summary>Size in bytes.</summary>
    public ulong Length => _file.Length;

    /// <summary>Opens a module.</summary>
    /// <param name="path">The file.</param>
    /// <param name="arguments">What the kernel is told after its name; may be empty.</param>
    /// <exception cref="BootException">The file cannot be read.</exception>
    public static BootModule Load(string path, string arguments = "")
    {
        if (arguments.Contains('\0'))
        {
            throw new BootException($"the arguments of the module {path} contain a zero character; remove it");
        }

        ImageFile file = ImageFile.Open(path, "module");
        return new BootModule(file, arguments.Length == 0 ? path : $"{path} {arguments}");
    }

    public void Dispose() => _file.Dispose();

    internal byte[] Read() => _file.ReadPart(0, Length);
}
