namespace Vivarium.Devices;

/// <summary>The controller's state record.</summary>
public sealed partial class NvmeController
{
    public NvmeState Save()
    {
        Quiesce();
        lock (_lock)
        {
            return new()
            {
                Function = Function.Save(),
                Configuration = _configuration,
                Status = _status,
                InterruptMask = _interruptMask,
                AdminAttributes = _adminAttributes,
                AdminSubmissionBase = _adminSubmissionBase,
                AdminCompletionBase = _adminCompletionBase,
                Features = [.. _features],
                EventRequests = [.. _eventRequests],
                Completions = [.. _completions.OfType<NvmeCompletionQueue>().Select(queue =>
                    new NvmeCompletionQueueState(queue.Id, queue.Address, queue.Size, queue.Vector, queue.Interrupts, queue.Head, queue.Tail, queue.Phase))],
                Submissions = [.. _submissions.OfType<NvmeSubmissionQueue>().Select(queue =>
                    new NvmeSubmissionQueueState(queue.Id, queue.Address, queue.Size, queue.Completions.Id, queue.Head, queue.Tail))],
            };
        }
    }

    public void Restore(NvmeState state)
    {
        const uint most = 4096;
        StateFormat.Require(state is { Version: NvmeState.CurrentVersion, Function: not null, Features.Length: Features, EventRequests.Length: <= MaxEventRequests }
            && state.Completions.All(queue => queue.Id < Queues && queue.Size is >= 2 and <= most && queue.Head < queue.Size && queue.Tail < queue.Size && queue.Vector < Queues)
            && state.Submissions.All(queue => queue.Id < Queues && queue.Size is >= 2 and <= most && queue.Head < queue.Size && queue.Tail < queue.Size
                && state.Completions.Any(other => other.Id == queue.Completions)), "NVMe controller");
        lock (_lock)
        {
            _configuration = state.Configuration & ConfigurationWritable;
            _status = state.Status & (Ready | Fatal | ShutdownStatusMask);
            _interruptMask = state.InterruptMask;
            _adminAttributes = state.AdminAttributes;
            _adminSubmissionBase = state.AdminSubmissionBase;
            _adminCompletionBase = state.AdminCompletionBase;
            state.Features.CopyTo(_features, 0);
            ForgetEvents();
            foreach (var request in state.EventRequests)
                _eventRequests.Enqueue(request);
            Array.Clear(_completions);
            Array.Clear(_submissions);
            foreach (var queue in state.Completions)
            {
                _completions[queue.Id] = new NvmeCompletionQueue(queue.Id, queue.Address, queue.Size, queue.Vector, queue.Interrupts)
                {
                    Head = queue.Head,
                    Tail = queue.Tail,
                    Phase = queue.Phase,
                };
            }

            foreach (var queue in state.Submissions)
            {
                var completions = _completions[queue.Completions]!;
                completions.Users++;
                _submissions[queue.Id] = new NvmeSubmissionQueue(queue.Id, queue.Address, queue.Size, completions) { Head = queue.Head, Tail = queue.Tail };
            }

            DriveLine();
        }

        // Last, as it may let commands go on.
        Function.Restore(state.Function!);
    }
}
