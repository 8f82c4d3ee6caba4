using System.Runtime.InteropServices;

namespace Vivarium.Network.Host;

/// <summary>struct SlirpCb up to version 1 of the configuration.</summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct SlirpCallbacks
{
    public delegate* unmanaged<byte*, nuint, nint, nint> SendPacket;
    public delegate* unmanaged<byte*, nint, void> GuestError;
    public delegate* unmanaged<nint, long> ClockGetNs;
    public delegate* unmanaged<delegate* unmanaged<nint, void>, nint, nint, nint> TimerNew;
    public delegate* unmanaged<nint, nint, void> TimerFree;
    public delegate* unmanaged<nint, long, nint, void> TimerMod;
    public delegate* unmanaged<int, nint, void> RegisterPollFd;
    public delegate* unmanaged<int, nint, void> UnregisterPollFd;
    public delegate* unmanaged<nint, void> Notify;
    public nint InitCompleted;
    public nint TimerNewOpaque;
}
