using System.Runtime.InteropServices;
using System.Text;

namespace Vivarium.Network.Host;

/// <summary>A TAP interface through /dev/net/tun (Linux, Documentation/networking/tuntap.rst), with a header before each frame.</summary>
internal sealed unsafe partial class LinuxTap : IDisposable
{
    private const string Device = "/dev/net/tun";
    private const int OpenReadWrite = 2;
    private const int OpenNonBlocking = 0x800;
    private const int OpenCloexec = 0x80000;

    private const int NameLength = 16;
    private const nuint SetInterface = 0x400454CA;
    private const nuint SetOffload = 0x400454D0;
    private const short FlagTap = 0x0002;
    private const short FlagNoPacketInformation = 0x1000;
    private const short FlagVirtioHeader = 0x4000;
    private const short FlagMultiQueue = 0x0100;
    private const uint OffloadChecksum = 1;
    private const uint OffloadTso4 = 2;
    private const uint OffloadTso6 = 4;

    private const int OperationNotPermitted = 1;
    private const int PermissionDenied = 13;
    private const int Busy = 16;

    /// <summary>struct ifreq, as far as TUNSETIFF reads it.</summary>
    [StructLayout(LayoutKind.Sequential, Size = 40)]
    private struct InterfaceRequest
    {
        public fixed byte Name[NameLength];
        public short Flags;
    }

    private LinuxTap(int fd) => Fd = fd;

    public int Fd { get; }

    /// <exception cref="NetworkException">There is no such TAP interface, or it cannot be used.</exception>
    public static LinuxTap Open(string name)
    {
        // The kernel would create a missing interface for root, which helps nobody who mistyped a name.
        var folder = $"/sys/class/net/{name}";
        if (!Directory.Exists(folder))
            throw new NetworkException($"There is no network interface '{name}' on this host; create it with 'ip tuntap add dev {name} mode tap user $USER'.");
        var kind = ReadFlags($"{folder}/tun_flags");
        if ((kind & FlagTap) == 0)
            throw new NetworkException($"The network interface '{name}' is no TAP interface; create one with 'ip tuntap add dev tap0 mode tap user $USER' and use that.");
        var fd = OpenFile(Device, OpenReadWrite | OpenNonBlocking | OpenCloexec);
        if (fd < 0)
            throw new NetworkException(Explain(name, Marshal.GetLastPInvokeError()));
        var request = new InterfaceRequest { Flags = (short)(FlagTap | FlagNoPacketInformation | FlagVirtioHeader | kind & FlagMultiQueue) };
        Encoding.UTF8.GetBytes(name, new Span<byte>(request.Name, NameLength - 1));
        if (Ioctl(fd, SetInterface, (nint)(&request)) < 0)
        {
            var error = Marshal.GetLastPInvokeError();
            _ = LinuxPoll.Close(fd);
            throw new NetworkException(Explain(name, error));
        }
        var tap = new LinuxTap(fd);
        tap.SetOffloads(NetworkOffloads.None);
        return tap;
    }

    /// <summary>What the host may leave to the reader of frames; the host takes all of it from the writer.</summary>
    public void SetOffloads(NetworkOffloads accepted)
    {
        uint bits = 0;
        if (accepted.HasFlag(NetworkOffloads.Checksum))
        {
            bits |= OffloadChecksum
                | (accepted.HasFlag(NetworkOffloads.Tso4) ? OffloadTso4 : 0)
                | (accepted.HasFlag(NetworkOffloads.Tso6) ? OffloadTso6 : 0);
        }
        _ = Ioctl(Fd, SetOffload, (nint)bits);
    }

    /// <summary>Reads a header with its frame; false when there is none, with <paramref name="gone"/> when there never will be.</summary>
    public bool TryRead(Span<byte> buffer, out int length, out bool gone)
    {
        const int Interrupted = 4;
        const int Again = 11;
        fixed (byte* first = buffer)
            length = (int)Read(Fd, first, (nuint)buffer.Length);
        gone = length < 0 && Marshal.GetLastPInvokeError() is not (Interrupted or Again);
        return length >= 0;
    }

    public bool TryWrite(ReadOnlySpan<byte> bytes)
    {
        fixed (byte* first = bytes)
            return Write(Fd, first, (nuint)bytes.Length) == bytes.Length;
    }

    public void Dispose() => _ = LinuxPoll.Close(Fd);

    private static int ReadFlags(string path)
    {
        try
        {
            return Convert.ToInt32(File.ReadAllText(path).Trim(), 16);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or FormatException)
        {
            return 0;
        }
    }

    private static string Explain(string name, int error) => error switch
    {
        Busy => $"The TAP interface '{name}' is in use by another program; stop that one or use another interface.",
        PermissionDenied or OperationNotPermitted =>
            $"You may not use the TAP interface '{name}'; let root make it yours with 'ip tuntap add dev {name} mode tap user $USER'.",
        _ => $"The TAP interface '{name}' cannot be opened (error {error} of the host); see whether {Device} is there and 'modprobe tun' helps.",
    };

    [LibraryImport("libc", EntryPoint = "open", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int OpenFile(string path, int flags);

    [LibraryImport("libc", EntryPoint = "ioctl", SetLastError = true)]
    private static partial int Ioctl(int fd, nuint request, nint argument);

    [LibraryImport("libc", EntryPoint = "read", SetLastError = true)]
    private static partial nint Read(int fd, byte* buffer, nuint length);

    [LibraryImport("libc", EntryPoint = "write", SetLastError = true)]
    private static partial nint Write(int fd, byte* buffer, nuint length);
}
