namespace Vivarium.Devices;

/// <summary>The admin command set (NVMe 1.4, 5): queues, features, events. Carried out under the lock.</summary>
public sealed partial class NvmeController
{
    private const byte DeleteSubmissionQueue = 0x00;
    private const byte CreateSubmissionQueue = 0x01;
    private const byte GetLogPageCommand = 0x02;
    private const byte DeleteCompletionQueue = 0x04;
    private const byte CreateCompletionQueue = 0x05;
    private const byte IdentifyCommand = 0x06;
    private const byte AbortCommand = 0x08;
    private const byte SetFeaturesCommand = 0x09;
    private const byte GetFeaturesCommand = 0x0A;
    private const byte AsynchronousEventRequest = 0x0C;

    /// <summary>Events that the host may wait for at a time.</summary>
    private const int MaxEventRequests = 4;

    // Asynchronous events (5.2): type, information, log page.
    private const uint ErrorEvent = 0;
    private const uint WriteToInvalidDoorbell = 0;
    private const uint InvalidDoorbellValue = 1;

    private readonly Queue<ushort> _eventRequests = new();
    private readonly Queue<uint> _events = new();

    /// <summary>An error event has been told, and its log page not been read since.</summary>
    private bool _errorEventMasked;

    private void ExecuteAdmin(NvmeSubmissionQueue queue, in NvmeCommand command)
    {
        NvmeStatus status;
        uint result = 0;
        lock (_lock)
        {
            if (command.Opcode == AsynchronousEventRequest)
            {
                WaitForEvent(queue, command.Id);
                return;
            }

            status = command.IsFusedOrScattered ? NvmeStatus.InvalidField : ExecuteAdmin(command, out result);
        }

        if (status == NvmeStatus.Success && command.Opcode == SetFeaturesCommand && (command.Dword10 & 0xFF) == WriteCacheFeature && !HasWriteCache)
        {
            // What is in the cache must be safe before the host may rely on there being none.
            CompleteAfterFlush(queue, command.Id);
            return;
        }

        if (status != NvmeStatus.Success)
            NoteError(queue.Id, command, status);
        Complete(queue, command.Id, status, result);
    }

    private NvmeStatus ExecuteAdmin(in NvmeCommand command, out uint result)
    {
        result = 0;
        switch (command.Opcode)
        {
            case DeleteSubmissionQueue:
                return DeleteSubmissions(command);
            case CreateSubmissionQueue:
                return CreateSubmissions(command);
            case DeleteCompletionQueue:
                return DeleteCompletions(command);
            case CreateCompletionQueue:
                return CreateCompletions(command);
            case IdentifyCommand:
                return Identify(command);
            case GetLogPageCommand:
                return GetLogPage(command);
            case SetFeaturesCommand:
                return SetFeature(command, out result);
            case GetFeaturesCommand:
                return GetFeature(command, out result);
            case AbortCommand:
                // Commands are done too fast for that: it was not aborted.
                result = 1;
                return NvmeStatus.Success;
            default:
                return NvmeStatus.InvalidOpcode;
        }
    }

    private NvmeStatus CreateCompletions(in NvmeCommand command)
    {
        const uint contiguous = 1, interrupts = 2, entrySize = 4;
        var id = command.Dword10 & 0xFFFF;
        var size = (command.Dword10 >> 16) + 1;
        var vector = command.Dword11 >> 16;
        if (id is 0 or > IoQueues || _completions[id] is not null)
            return NvmeStatus.InvalidQueueId;
        if (size is < 2 or > MaxEntries || (_configuration >> CompletionSizeShift & SizeMask) != entrySize)
            return NvmeStatus.InvalidQueueSize;
        if ((command.Dword11 & contiguous) == 0)
            return NvmeStatus.InvalidField;
        if (command.Prp1 % PageSize != 0)
            return NvmeStatus.InvalidPrpOffset;
        if (vector >= Queues)
            return NvmeStatus.InvalidInterruptVector;
        _completions[id] = new NvmeCompletionQueue((ushort)id, command.Prp1, size, (ushort)vector, (command.Dword11 & interrupts) != 0);
        return NvmeStatus.Success;
    }

    private NvmeStatus CreateSubmissions(in NvmeCommand command)
    {
        const uint contiguous = 1, entrySize = 6;
        var id = command.Dword10 & 0xFFFF;
        var size = (command.Dword10 >> 16) + 1;
        var completions = command.Dword11 >> 16;
        if (completions is 0 or > IoQueues || _completions[completions] is not { } target)
            return NvmeStatus.CompletionQueueInvalid;
        if (id is 0 or > IoQueues || _submissions[id] is not null)
            return NvmeStatus.InvalidQueueId;
        if (size is < 2 or > MaxEntries || (_configuration >> SubmissionSizeShift & SizeMask) != entrySize)
            return NvmeStatus.InvalidQueueSize;
        if ((command.Dword11 & contiguous) == 0)
            return NvmeStatus.InvalidField;
        if (command.Prp1 % PageSize != 0)
            return NvmeStatus.InvalidPrpOffset;
        target.Users++;
        _submissions[id] = new NvmeSubmissionQueue((ushort)id, command.Prp1, size, target);
        return NvmeStatus.Success;
    }

    /// <summary>What was fetched from the queue already ends unheard.</summary>
    private NvmeStatus DeleteSubmissions(in NvmeCommand command)
    {
        var id = command.Dword10 & 0xFFFF;
        if (id is 0 or > IoQueues || _submissions[id] is not { } queue)
            return NvmeStatus.InvalidQueueId;
        queue.IsDeleted = true;
        queue.Completions.Users--;
        _submissions[id] = null;
        return NvmeStatus.Success;
    }

    private NvmeStatus DeleteCompletions(in NvmeCommand command)
    {
        var id = command.Dword10 & 0xFFFF;
        if (id is 0 or > IoQueues || _completions[id] is not { } queue)
            return NvmeStatus.InvalidQueueId;
        if (queue.Users != 0)
            return NvmeStatus.InvalidQueueDeletion;
        _completions[id] = null;
        DriveLine();
        return NvmeStatus.Success;
    }

    /// <summary>The request waits, and keeps no place in the completion queue: it takes one when there is an event.</summary>
    private void WaitForEvent(NvmeSubmissionQueue queue, ushort commandId)
    {
        _outstanding--;
        queue.Completions.Reserved--;
        if (_eventRequests.Count == MaxEventRequests)
            Post(queue, commandId, NvmeStatus.EventRequestLimitExceeded, 0);
        else
            _eventRequests.Enqueue(commandId);
        TellEvents();
        FinishStop();
    }

    private void RaiseEvent(uint type, uint information, uint logPage)
    {
        if (_errorEventMasked || _events.Count != 0)
            return;
        _events.Enqueue(type | information << 8 | logPage << 16);
        TellEvents();
    }

    private void TellEvents()
    {
        while (_events.Count != 0 && _eventRequests.Count != 0 && _submissions[0] is { } queue && queue.Completions.HasRoom)
        {
            _errorEventMasked = true;
            Post(queue, _eventRequests.Dequeue(), NvmeStatus.Success, _events.Dequeue());
        }
    }

    private void ForgetEvents()
    {
        _eventRequests.Clear();
        _events.Clear();
        _errorEventMasked = false;
    }
}
