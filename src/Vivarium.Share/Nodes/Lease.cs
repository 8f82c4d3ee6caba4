using Microsoft.Win32.SafeHandles;

namespace Vivarium.Share.Nodes;

/// <summary>A descriptor that stays open until the lease ends, whatever other requests do meanwhile.</summary>
internal readonly ref struct Lease
{
    private readonly SafeFileHandle? _descriptor;

    public Lease(SafeFileHandle descriptor)
    {
        bool isHeld = false;
        descriptor.DangerousAddRef(ref isHeld);
        _descriptor = descriptor;
    }

    public int Descriptor => (int)_descriptor!.DangerousGetHandle();

    public void Dispose() => _descriptor?.DangerousRelease();
}
