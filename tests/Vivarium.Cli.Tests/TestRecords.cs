using Vivarium.Cli.Machines;

namespace Vivarium.Cli.Tests;

internal static class TestRecords
{
    public static MachineRecord Running(string name) => new()
    {
        Name = name,
        Pid = 4711,
        Stage = MachineStage.Running,
        Guest = "linux",
        Started = DateTimeOffset.UnixEpoch,
        Memory = 512ul << 20,
        Cpus = 1,
    };
}
