using System.Buffers.Binary;

namespace Vivarium.Devices;

/// <summary>How commands are fetched and completed (NVMe 1.4, 4.1, 7.2.1 and 7.2.3).</summary>
public sealed partial class NvmeController
{
    private const int CompletionLength = 16;

    private void RingDoorbell(int doorbell, uint value)
    {
        var id = doorbell / 2;
        var isCompletion = (doorbell & 1) != 0;
        lock (_lock)
        {
            if (id >= Queues || (isCompletion ? _completions[id] is null : _submissions[id] is null))
            {
                if ((_status & Ready) != 0)
                    RaiseEvent(ErrorEvent, WriteToInvalidDoorbell, ErrorLog);
                return;
            }

            if (value >= (isCompletion ? _completions[id]!.Size : _submissions[id]!.Size))
            {
                RaiseEvent(ErrorEvent, InvalidDoorbellValue, ErrorLog);
                return;
            }

            if (isCompletion)
            {
                _completions[id]!.Head = value;
                DriveLine();
            }
            else
            {
                _submissions[id]!.Tail = value;
            }
        }

        if (!isCompletion)
        {
            Serve(id);
            return;
        }

        // There is room again for completions of queues that had to wait for it.
        for (var i = 0; i < Queues; i++)
        {
            if (Volatile.Read(ref _submissions[i]) is { } queue && queue.Completions.Id == id && queue.Head != queue.Tail)
                Serve(i);
        }
    }

    private void ServeAll()
    {
        for (var i = 0; i < Queues; i++)
            Serve(i);
    }

    /// <summary>Carries out the commands of a queue, unless another thread does.</summary>
    private void Serve(int id)
    {
        NvmeSubmissionQueue? queue;
        lock (_lock)
        {
            queue = _submissions[id];
            if (queue is null || queue.IsServed)
                return;
            queue.IsServed = true;
        }

        while (TryFetch(queue, out var command))
        {
            if (id == 0)
                ExecuteAdmin(queue, command);
            else
                ExecuteIo(queue, command);
        }
    }

    /// <summary>Takes the next command, whose completion has a place kept for it. False: the queue is no longer served.</summary>
    private bool TryFetch(NvmeSubmissionQueue queue, out NvmeCommand command)
    {
        Span<byte> entry = stackalloc byte[NvmeCommand.Length];
        command = default;
        lock (_lock)
        {
            if (queue.IsDeleted || queue.Head == queue.Tail || !queue.Completions.HasRoom || !Function.IsBusMaster || (_status & (Ready | Fatal)) != Ready)
            {
                queue.IsServed = false;
                return false;
            }

            if (!_memory.TryRead(queue.Address + queue.Head * NvmeCommand.Length, entry))
            {
                _status |= Fatal;
                queue.IsServed = false;
                return false;
            }

            queue.Head = (queue.Head + 1) % queue.Size;
            queue.Completions.Reserved++;
            _outstanding++;
            command = new NvmeCommand(entry);
            return true;
        }
    }

    private void Complete(NvmeSubmissionQueue queue, ushort commandId, NvmeStatus status, uint result = 0)
    {
        lock (_lock)
        {
            _outstanding--;
            queue.Completions.Reserved--;
            Post(queue, commandId, status, result);
            FinishStop();
        }
    }

    /// <summary>Puts an entry into the completion queue, which has room for it, unless the queue is gone. The lock is held.</summary>
    private void Post(NvmeSubmissionQueue queue, ushort commandId, NvmeStatus status, uint result)
    {
        const int phaseBit = 16, statusShift = 17, lastDword = 12;
        if (queue.IsDeleted)
            return;
        var completions = queue.Completions;
        Span<byte> entry = stackalloc byte[CompletionLength];
        BinaryPrimitives.WriteUInt32LittleEndian(entry, result);
        BinaryPrimitives.WriteUInt32LittleEndian(entry[4..], 0);
        BinaryPrimitives.WriteUInt32LittleEndian(entry[8..], queue.Head | (uint)queue.Id << 16);
        BinaryPrimitives.WriteUInt32LittleEndian(entry[lastDword..], commandId | (completions.Phase ? 1u << phaseBit : 0) | (uint)status << statusShift);

        // The phase tag is what the guest looks at, so that it goes last.
        var address = completions.Address + completions.Tail * CompletionLength;
        if (!_memory.TryWrite(address, entry[..lastDword]) || !_memory.TryWrite(address + lastDword, entry[lastDword..]))
        {
            _status |= Fatal;
            return;
        }

        completions.Tail = (completions.Tail + 1) % completions.Size;
        if (completions.Tail == 0)
            completions.Phase = !completions.Phase;
        if (!completions.Interrupts)
            return;
        Function.MsiX!.Signal(completions.Vector);
        DriveLine();
    }

    /// <summary>
    /// Has another thread bring all writes to the host's disk, and then call <paramref name="done"/> under the lock. The lock
    /// may be held.
    /// </summary>
    private void FlushLater(Action<NvmeController, NvmeSubmissionQueue?, FlushResult> done, NvmeSubmissionQueue? queue, ushort commandId)
    {
        lock (_lock)
            _outstanding++;
        ThreadPool.UnsafeQueueUserWorkItem(
            static work =>
            {
                var status = work.Controller.Flush();
                lock (work.Controller._lock)
                {
                    work.Controller._outstanding--;
                    work.Done(work.Controller, work.Queue, new FlushResult(work.CommandId, status));
                    work.Controller.FinishStop();
                }
            },
            (Controller: this, Done: done, Queue: queue, CommandId: commandId),
            preferLocal: false);
    }

    private readonly record struct FlushResult(ushort CommandId, NvmeStatus Status);

    /// <summary>A command that ends with a flush: it stays under way until then.</summary>
    private void CompleteAfterFlush(NvmeSubmissionQueue queue, ushort commandId) => FlushLater(
        static (controller, queue, result) =>
        {
            controller._outstanding--;
            queue!.Completions.Reserved--;
            controller.Post(queue, result.CommandId, result.Status, 0);
        },
        queue,
        commandId);

    private NvmeStatus Flush()
    {
        try
        {
            _backend.Flush();
            return NvmeStatus.Success;
        }
        catch (Exception e)
        {
            Failed?.Invoke(e.Message);
            return NvmeStatus.WriteFault;
        }
    }
}
