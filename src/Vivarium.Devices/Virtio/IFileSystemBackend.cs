namespace Vivarium.Devices;

/// <summary>Who answers a file system's requests. Called on several threads at once, without any lock; throws nothing.</summary>
public interface IFileSystemBackend
{
    /// <summary>
    /// Serves one FUSE request. False, with nothing done, if it could have to wait and <paramref name="mayWait"/> is not set:
    /// then it comes again on a thread that has time.
    /// </summary>
    /// <param name="request">What the guest asks, which it can change at any time.</param>
    /// <param name="answer">The room for the answer.</param>
    /// <param name="mayWait">The calling thread is no vCPU's.</param>
    /// <param name="written">The answer's length in bytes; 0 for what has none.</param>
    bool TryServe(ReadOnlySpan<IoSegment> request, ReadOnlySpan<IoSegment> answer, bool mayWait, out uint written);

    /// <summary>The guest has forgotten everything. No request is under way.</summary>
    void Reset();
}
