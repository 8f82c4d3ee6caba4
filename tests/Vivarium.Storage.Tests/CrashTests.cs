using System.Diagnostics;
using System.Globalization;
using System.Runtime.InteropServices;
using Vivarium.Storage.Tools;

namespace Vivarium.Storage.Tests;

/// <summary>A process that writes and flushes is killed at some moment: the image is sound and holds everything flushed.</summary>
public sealed class CrashTests : IDisposable
{
    internal const string VictimOption = "--write-until-killed";

    private const int BlockSize = 4096;
    private const int Length = 64 << 20;
    private const int RequestsPerFlush = 24;

    private readonly TemporaryFolder _folder = new();

    public CrashTests() => Qemu.Require();

    public static TheoryData<string, int> Images => new()
    {
        { "compat=1.1", 1 },
        { "compat=1.1", 2 },
        { "compat=0.10,cluster_size=4k", 3 },
        { "cluster_size=512", 4 },
        { "cluster_size=4k,refcount_bits=64", 5 },
        { "lazy_refcounts=on,cluster_size=8k", 6 },
        { "cluster_size=2M", 7 },
        { "backing", 8 },
        { "backing", 9 },
    };

    [Theory]
    [MemberData(nameof(Images))]
    public void HoldsWhatWasFlushed(string options, int seed)
    {
        string path = _folder["disk"];
        if (options == "backing")
        {
            Qemu.Img("create", "-q", "-f", "raw", _folder["base"], $"{Length}");
            Qemu.Img("create", "-q", "-f", "qcow2", "-b", "base", "-F", "raw", path);
        }
        else
        {
            Qemu.Img("create", "-q", "-f", "qcow2", "-o", options, path, $"{Length}");
        }

        int durable = RunAndKill(path, seed);
        bool isLazy = options.Contains("lazy", StringComparison.Ordinal);
        if (!isLazy)
        {
            Qemu.CheckSound(path);
        }

        using (DiskImage image = DiskImage.Open(path))
        {
            Verify(image, seed, durable);
        }

        if (isLazy)
        {
            Qemu.Check(path);
        }
        else
        {
            CheckReport report = DiskTool.Check(path, repair: true);
            Assert.Equal((0, 0, 0), (report.Corruptions, report.Leaks, report.CorruptionsRepaired));
            Qemu.Check(path);
        }
    }

    public void Dispose() => _folder.Dispose();

    /// <summary>The victim: never returns.</summary>
    internal static void WriteUntilKilled(string path, int seed)
    {
        using DiskImage image = DiskImage.Open(path);
        using Stream output = Console.OpenStandardOutput();
        ulong[] block = new ulong[BlockSize / sizeof(ulong)];
        int number = 0;
        foreach (Request request in Requests(seed))
        {
            number++;
            long offset = (long)request.Block * BlockSize;
            switch (request.Kind)
            {
                case RequestKind.Write:
                    Array.Fill(block, (ulong)number);
                    for (int i = 0; i < request.Count; i++)
                    {
                        image.Write(offset + ((long)i * BlockSize), MemoryMarshal.AsBytes<ulong>(block));
                    }

                    break;
                case RequestKind.Zero:
                    image.WriteZeroes(offset, (long)request.Count * BlockSize, mayUnmap: number % 2 == 0);
                    break;
                case RequestKind.Flush:
                    image.Flush();
                    output.Write([.. System.Text.Encoding.ASCII.GetBytes(number.ToString(CultureInfo.InvariantCulture)), (byte)'\n']);
                    break;
            }
        }
    }

    private static int RunAndKill(string path, int seed)
    {
        var start = new ProcessStartInfo(Environment.ProcessPath!) { RedirectStandardOutput = true };
        if (Path.GetFileNameWithoutExtension(Environment.ProcessPath) == "dotnet")
        {
            start.ArgumentList.Add("exec");
            start.ArgumentList.Add(typeof(CrashTests).Assembly.Location);
        }

        start.ArgumentList.Add(VictimOption);
        start.ArgumentList.Add(path);
        start.ArgumentList.Add(seed.ToString(CultureInfo.InvariantCulture));
        using Process victim = Process.Start(start)!;

        // The moment is in terms of work, and within it at random.
        var random = new Random(seed);
        int durable = 0;
        for (int flushes = random.Next(20, 60); flushes > 0; flushes--)
        {
            durable = int.Parse(victim.StandardOutput.ReadLine()!, CultureInfo.InvariantCulture);
        }

        Thread.SpinWait(random.Next(0, 200_000));
        victim.Kill();
        while (victim.StandardOutput.ReadLine() is { } line)
        {
            durable = int.Parse(line, CultureInfo.InvariantCulture);
        }

        victim.WaitForExit();
        return durable;
    }

    /// <summary>Every word of every block is what was last written before the flush, or something written after it.</summary>
    private static void Verify(DiskImage image, int seed, int durable)
    {
        const int Slack = 20_000;
        var flushed = new ulong[Length / BlockSize];
        var later = new HashSet<(int Block, ulong Value)>();
        int number = 0;
        foreach (Request request in Requests(seed).Take(durable + Slack))
        {
            number++;
            if (request.Kind == RequestKind.Flush)
            {
                continue;
            }

            ulong value = request.Kind == RequestKind.Zero ? 0 : (ulong)number;
            for (int i = 0; i < request.Count; i++)
            {
                if (number <= durable)
                {
                    flushed[request.Block + i] = value;
                }
                else
                {
                    later.Add((request.Block + i, value));
                }
            }
        }

        ulong[] words = new ulong[BlockSize / sizeof(ulong)];
        for (int block = 0; block < flushed.Length; block++)
        {
            image.Read((long)block * BlockSize, MemoryMarshal.AsBytes(words.AsSpan()));
            foreach (ulong word in words)
            {
                Assert.True(word == flushed[block] || later.Contains((block, word)), $"block {block} has {word}, flushed was {flushed[block]}, durable requests {durable}");
            }
        }
    }

    private static IEnumerable<Request> Requests(int seed)
    {
        var random = new Random(seed);
        for (int number = 1; ; number++)
        {
            int count = random.Next(4) == 0 ? random.Next(1, 60) : 1;
            int block = random.Next((Length / BlockSize) - count);
            int kind = random.Next(10);
            yield return number % RequestsPerFlush == 0 ? new Request(RequestKind.Flush, 0, 0)
                : new Request(kind == 0 ? RequestKind.Zero : RequestKind.Write, block, count);
        }
    }

    private enum RequestKind
    {
        Write,
        Zero,
        Flush,
    }

    private readonly record struct Request(RequestKind Kind, int Block, int Count);
}
