using System.Text;
using System.Text.Json;
using Vivarium.Cli.Machines;
using Xunit;

namespace Vivarium.Cli.Tests;

/// <summary>machine.json is written by hand and read by the serializer: both must have the same in mind.</summary>
public sealed class MachineRecordWriterTests
{
    private static MachineRecord Full => TestRecords.Running("full") with
    {
        Stage = MachineStage.Ended,
        Guest = "/tmp/\"vmlinuz\" für <ältere> PCs",
        Started = new DateTimeOffset(2026, 11, 28, 12, 34, 56, 789, TimeSpan.FromHours(1)),
        Background = true,
        Disks = [new DiskRecord("a,b.img", "raw", ReadOnly: true, Overlay: false), new DiskRecord("c.qcow2", "qcow2", ReadOnly: false, Overlay: true)],
        Networks = ["user", "tap:tap0"],
        Forwards = [new ForwardRecord("tcp", "127.0.0.1", 2222, 22)],
        Ssh = new SshRecord("root", "127.0.0.1", 2222, "/tmp/key", "ssh-ed25519 AAAA"),
        Log = "/tmp/viv.log",
        Ended = new EndRecord(1, "the guest\nwas lost"),
    };

    [Fact]
    public void The_record_is_the_serializers()
    {
        MachineRecord bare = TestRecords.Running("bare");
        foreach (MachineRecord record in (ReadOnlySpan<MachineRecord>)[bare, Full, Full with { Ssh = new SshRecord("u", "a", 1, null, null) }, bare with { Stage = MachineStage.Starting }])
        {
            string expected = JsonSerializer.Serialize(record, MachineJson.Default.MachineRecord);
            Assert.Equal(expected, Encoding.UTF8.GetString(MachineRecordWriter.ToUtf8(record)));
        }
    }

    /// <summary>Whoever adds a property must give it a value in <see cref="Full"/>, and with that to the writer.</summary>
    [Fact]
    public void The_full_record_has_every_property()
    {
        using JsonDocument full = JsonDocument.Parse(MachineRecordWriter.ToUtf8(Full));
        Assert.Equal(typeof(MachineRecord).GetProperties().Length, full.RootElement.EnumerateObject().Count());
        Assert.Equal(typeof(SshRecord).GetProperties().Length, full.RootElement.GetProperty("ssh").EnumerateObject().Count());
    }
}
