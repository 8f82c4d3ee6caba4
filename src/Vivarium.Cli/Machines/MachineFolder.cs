using System.Text.Json;
using Microsoft.Win32.SafeHandles;
using Vivarium.Cli.Machines.Host;

namespace Vivarium.Cli.Machines;

/// <summary>The folder of a machine that this process runs. Its lock is held until disposal, or until the process is gone.</summary>
internal sealed class MachineFolder : IDisposable
{
    private const int LargestRecord = 1 << 20;

    private readonly MachineRegistry _registry;
    private readonly FileLock _held;
    private bool _keep;

    internal MachineFolder(MachineRegistry registry, string name, string path, FileLock held)
    {
        _registry = registry;
        _held = held;
        Name = name;
        FullPath = path;
    }

    public string Name { get; }

    public string FullPath { get; }

    public string Socket => Path.Combine(FullPath, MachineEntry.SocketFile);

    public string Log => Path.Combine(FullPath, MachineEntry.LogFile);

    /// <summary>Writes machine.json; readers see the old one or the new one, whole.</summary>
    public void Write(MachineRecord record)
    {
        string file = Path.Combine(FullPath, MachineEntry.RecordFile);
        string work = file + ".new";
        File.Delete(work);

        // A new file, not an old one made empty: ext4 writes that one to the disk when it is closed.
        using (SafeFileHandle handle = File.OpenHandle(work, FileMode.CreateNew, FileAccess.Write))
        {
            RandomAccess.Write(handle, MachineRecordWriter.ToUtf8(record), 0);
        }

        File.Move(work, file, overwrite: true);
        _keep = record.Ended is not null;
    }

    /// <summary>A copy of a private key for as long as the machine lives: the original may be made again meanwhile.</summary>
    public string KeepKey(string keyFile)
    {
        string copy = Path.Combine(FullPath, MachineEntry.KeyFile);
        File.Copy(keyFile, copy, overwrite: true);
        File.SetUnixFileMode(copy, UnixFileMode.UserRead | UnixFileMode.UserWrite);
        return copy;
    }

    /// <summary>The record in a machine's folder; null if there is none (yet), or none that can be read.</summary>
    public static MachineRecord? Read(string folder)
    {
        try
        {
            var file = new FileInfo(Path.Combine(folder, MachineEntry.RecordFile));
            return file.Exists && file.Length <= LargestRecord
                ? JsonSerializer.Deserialize(File.ReadAllBytes(file.FullName), MachineJson.Default.MachineRecord)
                : null;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or JsonException)
        {
            return null;
        }
    }

    /// <summary>Removes the folder, or lets only its lock go if the machine's end is to be remembered.</summary>
    public void Dispose() => _registry.Release(FullPath, _held, _keep);
}
