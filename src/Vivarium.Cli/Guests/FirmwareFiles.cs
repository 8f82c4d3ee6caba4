namespace Vivarium.Cli.Guests;

/// <summary>Where firmware is found: installed on this host, or in Debian's packages, which are then unpacked into the cache.</summary>
internal sealed record FirmwareFiles(string Package, string Folder)
{
    public static readonly FirmwareFiles SeaBios = new("seabios", "usr/share/seabios");
    public static readonly FirmwareFiles NetworkRoms = new("ipxe-qemu", "usr/lib/ipxe/qemu");
    public static readonly FirmwareFiles Ovmf = new("ovmf", "usr/share/OVMF");

    /// <summary>The path of one of the package's files.</summary>
    public string Obtain(GuestCache cache, string file)
    {
        string installed = Path.Combine("/", Folder, file);
        return File.Exists(installed) ? installed : Path.Combine(Fetched(cache), Folder, file);
    }

    private string Fetched(GuestCache cache)
    {
        string entry = $"firmware/{Package}";
        return cache.Find(entry) ?? Waiting.Show($"fetching {Package}", tell => cache.GetOrCreate(
            entry, false, step => tell(step, true), folder => new DebianPackages(cache, null, step => tell(step, true)).Unpack(Package, folder)));
    }
}
