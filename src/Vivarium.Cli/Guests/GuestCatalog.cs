using Vivarium.Cli.Guests.Debian;

namespace Vivarium.Cli.Guests;

/// <summary>The guests that viv knows by name.</summary>
internal static class GuestCatalog
{
    public static IReadOnlyList<IGuest> All { get; } =
    [
        new DebianGuest("debian", "Debian on a disk of its own: systemd, network, SSH", ["linux-image-cloud-amd64"]),
        new LinuxGuest("linux", "Debian's cloud kernel with a busybox shell", "linux-image-cloud-amd64"),
    ];

    public static IEnumerable<string> Names => All.Select(guest => guest.Name);

    /// <exception cref="InvalidInputException">There is no such guest.</exception>
    public static IGuest Find(string name) => All.FirstOrDefault(guest => guest.Name == name)
        ?? throw new InvalidInputException($"there is no guest '{name}'; known are {string.Join(", ", Names)} (or bring your own with --kernel FILE)");
}
