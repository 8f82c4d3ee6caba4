namespace Vivarium;

/// <summary>A file that a machine boots from, checked and read with errors in sentences.</summary>
internal static class BootFile
{
    /// <summary>Far above any real kernel or initrd; keeps a wrong path such as a disk image or /dev/zero from filling the host.</summary>
    private const long LargestFile = 1L << 30;

    /// <exception cref="InvalidInputException">The file cannot be one.</exception>
    public static void Check(string path, string what)
    {
        if (path.Length == 0)
        {
            throw new InvalidInputException($"the name of the {what} file is empty");
        }

        if (Directory.Exists(path))
        {
            throw new InvalidInputException($"the {what} '{path}' is a folder, not a file");
        }

        var file = new FileInfo(path);
        if (!file.Exists)
        {
            throw new InvalidInputException($"there is no {what} file '{path}'");
        }

        if (file.Attributes.HasFlag(FileAttributes.Device))
        {
            throw new InvalidInputException($"the {what} '{path}' is a device, not a file");
        }

        if (file.Length == 0)
        {
            throw new InvalidInputException($"the {what} file '{path}' is empty");
        }

        if (file.Length > LargestFile)
        {
            throw new InvalidInputException($"the {what} file '{path}' is larger than {ByteSize.Format(LargestFile)}; that is no {what}");
        }
    }

    /// <exception cref="InvalidInputException">The file cannot be read.</exception>
    public static byte[] Read(string path, string what)
    {
        Check(path, what);
        try
        {
            return File.ReadAllBytes(path);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new InvalidInputException($"cannot read the {what} file '{path}': {e.Message}", e);
        }
    }
}
