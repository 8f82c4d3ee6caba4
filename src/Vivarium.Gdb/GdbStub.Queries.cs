using System.Text;

namespace Vivarium.Gdb;

// 'H', 'q...', 'Q...'.
internal sealed partial class GdbStub
{
    /// <summary>A thread's number, from 1: our processors from 0. 0 (any) and -1 (all) come out as -1.</summary>
    private bool TryTakeThread(ref PacketCursor cursor, out int processor)
    {
        processor = -1;
        if (cursor.Take("-1"u8))
        {
            return true;
        }

        if (!cursor.TryTakeNumber(_target.Processors.Count, out int thread))
        {
            return false;
        }

        processor = thread - 1;
        return true;
    }

    private void ChooseThread(PacketCursor cursor)
    {
        if (!cursor.TryTake(out byte purpose) || !TryTakeThread(ref cursor, out int processor) || !cursor.AtEnd)
        {
            _ = _reply.Error(ErrorNumber.NoSuchThread);
            return;
        }

        switch ((char)purpose)
        {
            case 'g':
                _general = processor < 0 ? _general : processor;
                _ = _reply.Ok();
                break;
            case 'c':
                _continued = processor;
                _ = _reply.Ok();
                break;
            default:
                _ = _reply.Error(ErrorNumber.Invalid);
                break;
        }
    }

    private void HandleQuery(ReadOnlySpan<byte> packet)
    {
        var cursor = new PacketCursor(packet);
        if (cursor.Take("qSupported"u8))
        {
            _tellsBreakpointKind = cursor.Rest.IndexOf("swbreak+"u8) >= 0;
            _ = _reply.Text("PacketSize="u8).Number(MaxPacketData)
                .Text(";qXfer:features:read+;vContSupported+;QStartNoAckMode+;swbreak+;hwbreak+"u8);
        }
        else if (Is(packet, "QStartNoAckMode"u8))
        {
            NoAcknowledgements = true;
            _ = _reply.Ok();
        }
        else if (cursor.Take("qXfer:features:read:"u8))
        {
            ReadDescription(cursor);
        }
        else if (Is(packet, "qC"u8))
        {
            _ = _reply.Text("QC"u8).Number((ulong)_stop.Processor + 1);
        }
        else if (Is(packet, "qAttached"u8) || cursor.Take("qAttached:"u8))
        {
            // The machine was there before: GDB detaches at its end, and does not kill.
            _ = _reply.Text("1"u8);
        }
        else if (Is(packet, "qfThreadInfo"u8))
        {
            for (int i = 0; i < _target.Processors.Count; i++)
            {
                _ = _reply.Text(i == 0 ? "m"u8 : ","u8).Number((ulong)i + 1);
            }
        }
        else if (Is(packet, "qsThreadInfo"u8))
        {
            _ = _reply.Text("l"u8);
        }
        else if (cursor.Take("qThreadExtraInfo,"u8))
        {
            _ = TryTakeThread(ref cursor, out int processor) && processor >= 0 && cursor.AtEnd
                ? _reply.Bytes(Encoding.UTF8.GetBytes($"CPU {processor} [{Describe(processor)}]"))
                : _reply.Error(ErrorNumber.NoSuchThread);
        }
        else if (Is(packet, "qqemu.PhyMemMode"u8))
        {
            _ = _reply.Text(_physical ? "1"u8 : "0"u8);
        }
        else if (cursor.Take("Qqemu.PhyMemMode:"u8))
        {
            bool valid = cursor.TryTakeNumber(1, out int physical) && cursor.AtEnd;
            _physical = valid ? physical == 1 : _physical;
            _ = valid ? _reply.Ok() : _reply.Error(ErrorNumber.Invalid);
        }
        else if (cursor.Take("qRcmd,"u8))
        {
            RunMonitorCommand(cursor.Rest);
        }
    }

    private string Describe(int processor)
        => !_target.IsStarted(processor) ? "waits for start-up" : _processors[processor].Halted ? "halted" : "running";

    private static bool Is(ReadOnlySpan<byte> packet, ReadOnlySpan<byte> name) => packet.SequenceEqual(name);

    /// <summary>qXfer:features:read:ANNEX:OFFSET,LENGTH.</summary>
    private void ReadDescription(PacketCursor cursor)
    {
        if (!cursor.TakeUntil(':').SequenceEqual("target.xml"u8)
            || !cursor.TryTakeNumber(int.MaxValue, out int offset) || !cursor.Take(',') || !cursor.TryTakeNumber(out ulong length) || !cursor.AtEnd)
        {
            _ = _reply.Error(ErrorNumber.Invalid);
            return;
        }

        ReadOnlySpan<byte> rest = _registers.Description.AsSpan(Math.Min(offset, _registers.Description.Length));
        int part = (int)Math.Min(length, (ulong)Math.Min(rest.Length, MaxPacketData / 2));
        _ = _reply.Text(part == rest.Length ? "l"u8 : "m"u8).Binary(rest[..part]);
    }
}
