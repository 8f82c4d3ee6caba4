using System.Buffers;
using System.Diagnostics;
using System.Text.Json;

namespace Vivarium.Cli.Machines;

/// <summary>
/// A <see cref="MachineRecord"/> as <see cref="MachineJson"/> would write it. Every start of a machine writes one before the guest
/// runs, and what the serializer needs to know of the types first takes longer than the writing.
/// </summary>
internal static class MachineRecordWriter
{
    public static byte[] ToUtf8(MachineRecord record)
    {
        var text = new ArrayBufferWriter<byte>();
        using (var json = new Utf8JsonWriter(text, new JsonWriterOptions { Indented = true }))
        {
            Write(json, record);
        }

        return text.WrittenSpan.ToArray();
    }

    private static void Write(Utf8JsonWriter json, MachineRecord record)
    {
        json.WriteStartObject();
        json.WriteString("name"u8, record.Name);
        json.WriteNumber("pid"u8, record.Pid);
        json.WriteString("stage"u8, NameOf(record.Stage));
        json.WriteString("guest"u8, record.Guest);
        json.WriteString("started"u8, record.Started);
        json.WriteNumber("memory"u8, record.Memory);
        json.WriteNumber("cpus"u8, record.Cpus);
        json.WriteBoolean("background"u8, record.Background);
        json.WriteStartArray("disks"u8);
        foreach (DiskRecord disk in record.Disks)
        {
            json.WriteStartObject();
            json.WriteString("file"u8, disk.File);
            json.WriteString("format"u8, disk.Format);
            json.WriteBoolean("readOnly"u8, disk.ReadOnly);
            json.WriteBoolean("overlay"u8, disk.Overlay);
            json.WriteEndObject();
        }

        json.WriteEndArray();
        json.WriteStartArray("networks"u8);
        foreach (string network in record.Networks)
        {
            json.WriteStringValue(network);
        }

        json.WriteEndArray();
        json.WriteStartArray("forwards"u8);
        foreach (ForwardRecord forward in record.Forwards)
        {
            json.WriteStartObject();
            json.WriteString("protocol"u8, forward.Protocol);
            json.WriteString("address"u8, forward.Address);
            json.WriteNumber("hostPort"u8, forward.HostPort);
            json.WriteNumber("guestPort"u8, forward.GuestPort);
            json.WriteEndObject();
        }

        json.WriteEndArray();
        if (record.Ssh is { } ssh)
        {
            json.WriteStartObject("ssh"u8);
            json.WriteString("user"u8, ssh.User);
            json.WriteString("address"u8, ssh.Address);
            json.WriteNumber("port"u8, ssh.Port);
            WriteUnlessNull(json, "keyFile"u8, ssh.KeyFile);
            WriteUnlessNull(json, "hostKey"u8, ssh.HostKey);
            json.WriteEndObject();
        }

        WriteUnlessNull(json, "log"u8, record.Log);
        if (record.Ended is { } ended)
        {
            json.WriteStartObject("ended"u8);
            json.WriteNumber("status"u8, ended.Status);
            json.WriteString("reason"u8, ended.Reason);
            json.WriteEndObject();
        }

        json.WriteEndObject();
    }

    private static void WriteUnlessNull(Utf8JsonWriter json, ReadOnlySpan<byte> name, string? value)
    {
        if (value is not null)
        {
            json.WriteString(name, value);
        }
    }

    private static string NameOf(MachineStage stage) => stage switch
    {
        MachineStage.Starting => "starting",
        MachineStage.Running => "running",
        MachineStage.Ended => "ended",
        _ => throw new UnreachableException(),
    };
}
