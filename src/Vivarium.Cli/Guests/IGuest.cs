namespace Vivarium.Cli.Guests;

/// <summary>A guest that viv knows by name.</summary>
internal interface IGuest
{
    string Name { get; }

    string Description { get; }

    /// <summary>The Debian packages that it is made of, for a list.</summary>
    string Packages { get; }

    bool IsCached(GuestCache cache);

    /// <summary>The guest's files: from the cache, or made into it while the user is told what is going on.</summary>
    /// <param name="cache">Where they are kept.</param>
    /// <param name="rebuild">Make them again even if they are there.</param>
    /// <exception cref="InvalidInputException">They cannot be had; the message says why and what to do instead.</exception>
    /// <exception cref="InterruptedException">A signal came while they were being made; nothing half-made is left.</exception>
    BootSet Obtain(GuestCache cache, bool rebuild = false);
}
