using System.Buffers.Binary;
using Vivarium.Engine.Software.Host;
using Vivarium.Engine.Software.Persisted;
using Xunit;

namespace Vivarium.Engine.Tests.Persisted;

/// <summary>What is read of a file of translations is what stands there, wherever it stands and however often the windows change.</summary>
public sealed unsafe class FileWindowsTests : IDisposable
{
    /// <summary>More than fits into the windows at once, and no whole number of them.</summary>
    private const int Length = (5 << 20) + 12_344;

    private readonly string _path = Path.GetTempFileName();

    public FileWindowsTests()
    {
        var bytes = new byte[Length];
        for (int i = 0; i < Length; i += 8)
        {
            BinaryPrimitives.WriteInt64LittleEndian(bytes.AsSpan(i), i);
        }

        File.WriteAllBytes(_path, bytes);
    }

    public void Dispose() => File.Delete(_path);

    [Fact]
    public void EveryPlaceIsReadAsItIs()
    {
        using FileWindows windows = Open();
        var random = new Random(7);
        for (int i = 0; i < 5_000; i++)
        {
            if (i % 1000 == 999)
            {
                windows.Release();
            }

            // Half of the time near the last one, as the entries of one boot are.
            long offset = random.Next(Length / 8) * 8L;
            for (int near = 0; near < 3; near++, offset = Math.Max(0, offset - random.Next(4096 / 8) * 8))
            {
                byte* at = windows.At(offset, out long available);
                Assert.True(at != null);
                Assert.InRange(available, Math.Min(4096, Length - offset), Length - offset);
                Assert.Equal(offset, *(long*)at);
                Assert.Equal(offset + available - 8, *(long*)(at + available - 8));
            }
        }
    }

    [Fact]
    public void WhatWasFoundStaysWhileFewOthersAreLookedAt()
    {
        using FileWindows windows = Open();
        byte* first = windows.At(16, out _);
        for (long offset = 0; offset < 50 << 14; offset += 1 << 14)
        {
            _ = windows.At(offset, out _);
        }

        Assert.Equal(16, *(long*)first);
    }

    [Fact]
    public void AFileThatWasCutOffIsNotBelieved()
    {
        using FileWindows windows = Open();
        using (FileStream file = File.OpenWrite(_path))
        {
            file.SetLength(1 << 20);
        }

        Assert.True(windows.At(0, out _) != null);
        Assert.True(windows.At(2 << 20, out _) == null);
        Assert.True(windows.At(0, out _) != null);
    }

    private FileWindows Open()
    {
        int fd = LinuxHost.Open(_path, LinuxHost.OpenReadOnly | LinuxHost.OpenCloseOnExec, 0);
        Assert.True(fd >= 0);
        return new FileWindows(fd, Length);
    }
}
