using Vivarium.Cli.Guests;
using Vivarium.Cli.Guests.Debian;

namespace Vivarium.Cli.Machines;

/// <summary>
/// A named guest with a root disk of its own that is kept: <c>--persist</c>. It is a copy of what the cache holds, kernel and keys
/// included, in <c>$XDG_DATA_HOME/vivarium/machines</c> (else <c>~/.local/share/vivarium/machines</c>), so that making the cached one
/// again takes nothing from it.
/// </summary>
internal static class PersistentGuest
{
    /// <param name="guest">The guest to copy, if there is no copy of this name yet.</param>
    /// <param name="name">What the copy is called.</param>
    /// <param name="rebuild">The user wants the guest made again, which a copy that is there forbids.</param>
    /// <exception cref="InvalidInputException">There is nothing to keep, or no place for it.</exception>
    public static BootSet Obtain(IGuest guest, string name, bool rebuild)
    {
        var kept = new GuestCache(DataHome());
        string entry = $"machines/{name}";
        string? folder = kept.Find(entry);
        if (folder is not null && rebuild)
        {
            throw new InvalidInputException($"the kept disk in {folder} is not made again; leave out --rebuild, or remove that folder to start afresh");
        }

        folder ??= kept.GetOrCreate(entry, anew: false, step => Console.Error.WriteLine($"viv: {step}"), work => Copy(guest, rebuild, work));
        return DebianGuest.Describe(folder, "");
    }

    /// <summary>Only what has a disk can keep anything.</summary>
    /// <exception cref="InvalidInputException">This guest has none.</exception>
    public static void Check(IGuest guest)
    {
        if (guest is not DebianGuest)
        {
            throw new InvalidInputException($"'{guest.Name}' has no disk to keep; leave out --persist");
        }
    }

    private static void Copy(IGuest guest, bool rebuild, string work)
    {
        string origin = Path.GetDirectoryName(guest.Obtain(GuestCache.Default, rebuild).Disk)!;
        HostCommand copy = HostCommand.Run("cp", ["--archive", "--sparse=always", "--reflink=auto", "--", $"{origin}/.", work])
            ?? throw new VivariumException("there is no cp on this host to copy the root disk with");
        if (!copy.Succeeded)
        {
            throw new VivariumException($"cannot copy the root disk ({copy.Complaint}); is there room in {DataHome()}?");
        }
    }

    /// <summary>Where machines keep what is theirs.</summary>
    public static string DataHome()
    {
        string? set = Environment.GetEnvironmentVariable("XDG_DATA_HOME");
        string home = Path.IsPathRooted(set)
            ? set
            : Path.Combine(Environment.GetFolderPath(Environment.SpecialFolder.UserProfile, Environment.SpecialFolderOption.DoNotVerify), ".local", "share");
        return Path.Combine(home, "vivarium");
    }
}
