namespace Vivarium.Guests.Tests;

/// <summary>Where this clone stands.</summary>
internal static class Repository
{
    public static string Root { get; } = Find();

    /// <summary>The launcher, which builds viv on first use.</summary>
    public static string Viv => Path.Combine(Root, "viv");

    private static string Find()
    {
        for (DirectoryInfo? folder = new(AppContext.BaseDirectory); folder is not null; folder = folder.Parent)
        {
            if (File.Exists(Path.Combine(folder.FullName, "Vivarium.slnx")))
            {
                return folder.FullName;
            }
        }

        throw new DirectoryNotFoundException("the tests run from within a clone");
    }
}
