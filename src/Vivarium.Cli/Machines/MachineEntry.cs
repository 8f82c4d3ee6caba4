namespace Vivarium.Cli.Machines;

/// <summary>A machine as another process sees it.</summary>
/// <param name="Name">Its name.</param>
/// <param name="Folder">Where it is registered.</param>
/// <param name="Record">What it has written about itself; null in the first moments of its life.</param>
internal sealed record MachineEntry(string Name, string Folder, MachineRecord? Record)
{
    public const string LockFile = "lock";
    public const string RecordFile = "machine.json";
    public const string SocketFile = "control.sock";
    public const string LogFile = "viv.log";
    public const string KeyFile = "ssh_key";
    public const string KnownHostsFile = "known_hosts";

    public string Socket => Path.Combine(Folder, SocketFile);

    /// <summary>For sentences: the name, and the process if it is known.</summary>
    public string Described => Record is null ? $"'{Name}'" : $"'{Name}' (process {Record.Pid})";
}
