using System.Collections.Immutable;
using Vivarium.Engine;

namespace Vivarium.Gdb;

// 'Z' and 'z'. Software and hardware breakpoints are the same to us: neither changes memory.
internal sealed partial class GdbStub
{
    private const int MostBreakpoints = 4096;
    private const int MostWatchpoints = 64;

    /// <summary>Longer ones could make every access of the guest a slow one.</summary>
    private const int LongestWatchpoint = 1 << 20;

    private ImmutableHashSet<ulong> _breakpoints = [];
    private ImmutableHashSet<ulong> _hardwareBreakpoints = [];
    private ImmutableArray<Watchpoint> _watchpoints = [];

    private void ChangeBreakpoint(PacketCursor cursor, bool insert)
    {
        // What may follow behind ';' are conditions and commands, which we do not offer.
        if (!cursor.TryTake(out byte type) || !cursor.Take(',') || !cursor.TryTakeNumber(out ulong address) || !cursor.Take(',')
            || !cursor.TryTakeNumber(out ulong length) || !(cursor.AtEnd || cursor.Take(';')))
        {
            _ = _reply.Error(ErrorNumber.Invalid);
            return;
        }

        switch ((char)type)
        {
            case '0':
                ChangeBreakpoint(ref _breakpoints, address, insert);
                break;
            case '1':
                ChangeBreakpoint(ref _hardwareBreakpoints, address, insert);
                break;
            case '2':
                ChangeWatchpoint(address, length, WatchKind.Write, insert);
                break;
            case '3':
                ChangeWatchpoint(address, length, WatchKind.Read, insert);
                break;
            case '4':
                ChangeWatchpoint(address, length, WatchKind.Access, insert);
                break;
            default:
                // Not known: an empty reply says so.
                break;
        }
    }

    private void ChangeBreakpoint(ref ImmutableHashSet<ulong> set, ulong address, bool insert)
    {
        if (insert && set.Count == MostBreakpoints)
        {
            _ = _reply.Error(ErrorNumber.TooMany);
            return;
        }

        set = insert ? set.Add(address) : set.Remove(address);
        _ = _reply.Ok();
    }

    private void ChangeWatchpoint(ulong address, ulong length, WatchKind kind, bool insert)
    {
        if (length is 0 or > LongestWatchpoint || address + (length - 1) < address)
        {
            _ = _reply.Error(ErrorNumber.Invalid);
            return;
        }

        var watchpoint = new Watchpoint(address, length, kind);
        if (!insert)
        {
            _watchpoints = _watchpoints.Remove(watchpoint);
        }
        else if (!_watchpoints.Contains(watchpoint))
        {
            if (_watchpoints.Length == MostWatchpoints)
            {
                _ = _reply.Error(ErrorNumber.TooMany);
                return;
            }

            _watchpoints = _watchpoints.Add(watchpoint);
        }

        _ = _reply.Ok();
    }
}
