namespace Vivarium.Storage;

/// <summary>
/// A disk image cannot be used as asked: it is malformed, needs what is not supported, is in use, or is not there.
/// <see cref="Exception.Message"/> is one sentence that names the file, the cause and, where there is one, the way out. An
/// <see cref="IOException"/> of any other type is an error of the host: a full disk, a failing device.
/// </summary>
public sealed class DiskImageException : IOException
{
    public DiskImageException(string sentence)
        : base(sentence)
    {
    }

    public DiskImageException(string sentence, Exception cause)
        : base(sentence, cause)
    {
    }
}
