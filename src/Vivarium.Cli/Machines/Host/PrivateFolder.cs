namespace Vivarium.Cli.Machines.Host;

/// <summary>
/// A folder that only its owner can look into or change. What stands at the path already is believed only if it is a real
/// folder (no link) of this user with no rights for others: in a place like /tmp somebody else may have been there first.
/// </summary>
internal static class PrivateFolder
{
    private const UnixFileMode OwnerOnly = UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute;
    private const int TypeMask = 0xF000;
    private const int TypeFolder = 0x4000;
    private const int TypeLink = 0xA000;
    private const int OthersMask = 0x3F;
    private const int OthersWriteMask = 0x12;

    /// <summary>Makes the folder, or checks the one that is there.</summary>
    /// <exception cref="InvalidInputException">It cannot be made, or is not to be trusted.</exception>
    public static void Ensure(string path)
    {
        try
        {
            _ = Directory.CreateDirectory(path, OwnerOnly);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // A link or a file in the way is told apart below; anything else is the reason itself.
            if (!Linux.TryGetStatus(path, out _))
            {
                throw new InvalidInputException($"cannot make the folder {path} for running machines ({e.Message.TrimEnd('.')}); set XDG_RUNTIME_DIR to a folder of yours", e);
            }
        }

        if (!Linux.TryGetStatus(path, out Linux.FileStatus status) || (status.Mode & TypeMask) != TypeFolder)
        {
            string kind = (status.Mode & TypeMask) == TypeLink ? "a symbolic link" : "not a folder";
            throw new InvalidInputException($"{path}, where running machines are registered, is {kind}; remove it, or set XDG_RUNTIME_DIR to a folder of yours");
        }

        if (status.User != Linux.EffectiveUser())
        {
            throw new InvalidInputException($"{path}, where running machines are registered, belongs to another user ({status.User}); set XDG_RUNTIME_DIR to a folder of yours");
        }

        if ((status.Mode & OthersMask) != 0)
        {
            throw new InvalidInputException($"{path}, where running machines are registered, is open to other users; look who has been there, then chmod 700 {path}");
        }
    }

    /// <summary>Whether a folder is this user's and nobody else may change what is in it.</summary>
    public static bool IsOwn(string path) => Linux.TryGetStatus(path, out Linux.FileStatus status)
        && (status.Mode & TypeMask) == TypeFolder
        && status.User == Linux.EffectiveUser()
        && (status.Mode & OthersWriteMask) == 0;
}
