using System.Net.Sockets;

namespace Vivarium.Devices.Tests;

/// <summary>
/// Drivers that write anything: random rings, descriptors, indirect tables, registers and notifications. Whatever they
/// do, nothing is thrown, no call fails to return, and nothing is written but what descriptors offer and rings hold.
/// </summary>
public sealed class VirtqueueFuzzTests(ITestOutputHelper output) : IDisposable
{
    private const int Cases = 5_000;

    // The memory: rings and tables, what buffers may be written to between two canaries, and what may only be read.
    private const ulong Rings = VirtioMachine.HighRamStart;
    private const int RingBytes = 0x8000;
    private const ulong Tables = Rings + 0x5_0000;
    private const int TableBytes = 0x800;
    private const ulong CanaryBefore = Rings + 0x20_0000;
    private const int CanaryBytes = 0x1000;
    private const ulong Writable = CanaryBefore + CanaryBytes;
    private const int WritableBytes = 0x1_0000;
    private const ulong CanaryAfter = Writable + WritableBytes;

    private readonly VirtioMachine _machine = new();
    private readonly byte[] _seen = new byte[CanaryBytes];
    private readonly byte[] _canary = new byte[CanaryBytes];
    private int _broken;
    private int _header = 16;
    private int _sector = 512;

    public static TheoryData<Transport, bool, bool> Ways() => new()
    {
        { Transport.PciMsiX, false, false },
        { Transport.PciMsiX, true, false },
        { Transport.PciIntX, false, true },
        { Transport.Mmio, true, true },
    };

    public void Dispose() => _machine.Dispose();

    [Theory]
    [MemberData(nameof(Ways))]
    public void Block_survives_5_000_random_drivers(Transport transport, bool packed, bool rewriting)
    {
        var disk = new WatchedDisk(_machine.Memory);
        var device = new VirtioBlock(_machine.Memory, disk, "fuzz", queues: 2) { Broken = _ => _broken++ };
        Run(_machine.Plug(device, transport), packed, rewriting, queues: 2, PutBlockHeader, _ => { });
        Assert.True(disk.Requests > Cases / 10, $"only {disk.Requests} requests reached the disk");
        Assert.False(disk.Strayed);
        output.WriteLine($"{disk.Requests} requests reached the disk");
    }

    [Theory]
    [MemberData(nameof(Ways))]
    public void Console_survives_5_000_random_drivers(Transport transport, bool packed, bool rewriting)
    {
        var sink = new CountingSink();
        VirtioConsolePort[] ports = [new(sink), new(sink, "a name", isConsole: false)];
        var device = new VirtioConsole(_machine.Memory, ports) { Broken = _ => _broken++ };
        var input = new byte[3000];
        new Random(3).NextBytes(input);
        Run(_machine.Plug(device, transport), packed, rewriting, queues: 6, PutControl, random =>
        {
            ports[random.Next(2)].Receive(input.AsSpan(0, random.Next(input.Length)));
            if (random.Next(4) == 0)
                device.Resize((ushort)random.Next(200), (ushort)random.Next(200));
        });
        Assert.True(sink.Bytes > Cases, $"only {sink.Bytes} bytes came out");
        output.WriteLine($"{sink.Bytes} bytes came out");
    }

    [Theory]
    [MemberData(nameof(Ways))]
    public void Network_card_survives_5_000_random_drivers(Transport transport, bool packed, bool rewriting)
    {
        var network = new TestNetwork(_machine.Memory) { KeepsFrames = false };
        var device = new VirtioNet(_machine.Memory, network, [2, 0, 0, 0, 0, 1]) { Broken = _ => _broken++ };
        var frame = new byte[70_000];
        new Random(3).NextBytes(frame);
        var received = 0;
        Run(_machine.Plug(device, transport), packed, rewriting, queues: 3, PutPacketHeader, random =>
        {
            // Not always: buffers too small to receive into break the device before it has sent anything.
            for (var i = random.Next(-8, 4); i > 0; i--)
                received += network.Bring(frame.AsSpan(0, random.Next(random.Next(8) == 0 ? frame.Length : 3000)), new() { Flags = (byte)random.Next(4) }) ? 1 : 0;
        });
        Assert.True(network.SentCount > Cases / 10, $"only {network.SentCount} frames were sent");
        Assert.False(network.Strayed);
        output.WriteLine($"{network.SentCount} frames were sent, {received} taken");
    }

    [Theory]
    [MemberData(nameof(Ways))]
    public void Entropy_survives_5_000_random_drivers(Transport transport, bool packed, bool rewriting)
    {
        var device = new VirtioRng(_machine.Memory) { Broken = _ => _broken++ };
        Run(_machine.Plug(device, transport), packed, rewriting, queues: 1, (_, _) => { }, _ => { });
        Assert.NotEqual(new byte[WritableBytes], _machine.Get(Writable, WritableBytes));
    }

    [Theory]
    [MemberData(nameof(Ways))]
    public void Sockets_survive_5_000_random_drivers(Transport transport, bool packed, bool rewriting)
    {
        _header = VsockPacket.HeaderLength;
        var path = Path.Combine(Directory.CreateTempSubdirectory("vsock-").FullName, "v");
        using var sockets = VsockSockets.Open(path);
        var device = new VirtioVsock(_machine.Memory, VsockGuest.Cid, sockets) { Broken = _ => _broken++ };
        using var listener = NewSocket();
        listener.Bind(new UnixDomainSocketEndPoint($"{path}_1"));
        listener.Listen(64);
        listener.Blocking = false;
        var clients = new Queue<Socket>();
        var accepted = 0;
        var data = new byte[20_000];
        new Random(4).NextBytes(data);
        try
        {
            Run(_machine.Plug(device, transport), packed, rewriting, queues: 3, PutVsockHeader, random =>
            {
                PutVsockHeader(random, Writable);
                if (random.Next(4) == 0)
                {
                    var client = NewSocket();
                    client.Connect(new UnixDomainSocketEndPoint(path));
                    client.Blocking = false;
                    clients.Enqueue(client);
                    Send(client, System.Text.Encoding.ASCII.GetBytes(random.Next(9) == 0 ? "nonsense\n" : $"CONNECT {random.Next(3)}\n"));
                }

                if (listener.Poll(0, SelectMode.SelectRead))
                {
                    clients.Enqueue(listener.Accept());
                    clients.Last().Blocking = false;
                    accepted++;
                }

                if (clients.Count != 0)
                    Send(clients.Last(), data.AsSpan(0, random.Next(data.Length)));
                if (clients.Count > 8)
                    clients.Dequeue().Dispose();
            });
        }
        finally
        {
            foreach (var client in clients)
                client.Dispose();
            _machine.Dispose();
            Directory.Delete(Path.GetDirectoryName(path)!, recursive: true);
        }

        Assert.True(accepted > Cases / 200, $"only {accepted} connections came from the guest");
        output.WriteLine($"{accepted} connections came from the guest");

        static Socket NewSocket() => new(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);

        static void Send(Socket client, ReadOnlySpan<byte> bytes) => client.Send(bytes, SocketFlags.None, out _);
    }

    [Theory]
    [MemberData(nameof(Ways))]
    public void Balloon_survives_5_000_random_drivers(Transport transport, bool packed, bool rewriting)
    {
        _sector = 4096;
        var device = new VirtioBalloon(_machine.Memory) { Broken = _ => _broken++ };
        var driver = _machine.Plug(device, transport);
        Run(driver, packed, rewriting, queues: 5, PutPages, random =>
        {
            switch (random.Next(4))
            {
                case 0:
                    device.Target = (ulong)random.NextInt64();
                    break;
                case 1:
                    device.RequestStatistics();
                    break;
                case 2:
                    if (device.RequestHints())
                        _machine.Memory.Write(Writable, driver.ReadConfig(8, 4));
                    break;
                default:
                    device.Save();
                    break;
            }
        });
        output.WriteLine($"bytes given back: {device.Inflated} {device.Reported} {device.Hinted}");
        Assert.True(device.Inflated > 0 && device.Reported > 0 && device.Hinted > 0);
    }

    [Theory]
    [MemberData(nameof(Ways))]
    public void File_system_survives_5_000_random_drivers(Transport transport, bool packed, bool rewriting)
    {
        var files = new TestFileSystem(_machine.Memory);
        var device = new VirtioFs(_machine.Memory, files, "fuzz") { Broken = _ => _broken++ };
        byte[] first = [0, 0, 0, TestFileSystem.Silent, TestFileSystem.Slow];
        Run(_machine.Plug(device, transport), packed, rewriting, queues: 2, (random, address) => _machine.Memory.Write(address, first[random.Next(first.Length)]), _ => { });
        Assert.True(files.Requests > Cases / 10, $"only {files.Requests} requests were served");
        Assert.False(files.Strayed);
        Assert.False(files.ResetTooEarly);
        output.WriteLine($"{files.Requests} requests were served");
    }

    /// <param name="rewriting">Buffers may lie over rings and tables, so that the device itself changes them. Then anything in RAM may be hit.</param>
    private void Run(VirtioDriver driver, bool packed, bool rewriting, int queues, Action<Random, ulong> putHeader, Action<Random> host)
    {
        var random = new Random(12345);
        random.NextBytes(_canary);
        _machine.Memory.Write(CanaryBefore, _canary);
        _machine.Memory.Write(CanaryAfter, _canary);
        var rom = _machine.Get(VirtioMachine.RomStart, (int)(VirtioMachine.HighRamStart - VirtioMachine.RomStart));
        var used = 0;
        for (var i = 0; i < Cases; i++)
        {
            var features = VirtioFeatures.Version1 | (ulong)random.NextInt64() & driver.DeviceFeatures & ~VirtioFeatures.RingPacked
                | (packed ? VirtioFeatures.RingPacked : 0);
            if (random.Next(8) != 0)
                features |= VirtioFeatures.IndirectDesc;
            Assert.True(driver.Negotiate(features));
            var sizes = new int[queues];
            for (var queue = 0; queue < queues; queue++)
            {
                // Powers of two mostly; a packed ring may have any size.
                var size = 1 << random.Next(7);
                sizes[queue] = packed && random.Next(2) == 0 ? random.Next(1, 65) : size;
                FillQueue(random, queue, sizes[queue], packed, rewriting, putHeader);
                var ring = RingOf(queue);
                driver.SetQueue(queue, sizes[queue], ring, ring + 0x1000, ring + 0x2000);
                driver.EnableQueue(queue);
            }

            driver.Start();
            for (var step = random.Next(1, 6); step > 0; step--)
            {
                driver.Notify(random.Next(queues + 1));
                host(random);
                Disturb(random, driver, random.Next(queues), sizes, packed, rewriting);
            }

            for (var queue = 0; queue < queues; queue++)
                used += packed ? 0 : _machine.Memory.Read<ushort>(RingOf(queue) + 0x2002) != 0 ? 1 : 0;
            while (driver.TakeInterrupt() != 0)
            {
            }

            if (!rewriting)
            {
                Assert.True(IsIntact(CanaryBefore), $"case {i} wrote before the buffers");
                Assert.True(IsIntact(CanaryAfter), $"case {i} wrote behind the buffers");
            }
        }

        driver.Status = 0;
        Assert.True(_machine.Get(VirtioMachine.RomStart, rom.Length).AsSpan().SequenceEqual(rom), "ROM was written");
        Assert.InRange(_broken, Cases / 20, Cases - Cases / 10);
        if (!packed)
            Assert.True(used > Cases / 10, $"only {used} queues have used anything");
        output.WriteLine($"{Cases} cases, {_broken} broke the device");
    }

    private bool IsIntact(ulong canary)
    {
        _machine.Memory.Read(canary, _seen);
        return _seen.AsSpan().SequenceEqual(_canary);
    }

    private static ulong RingOf(int queue) => Rings + (ulong)(queue * RingBytes);

    private void FillQueue(Random random, int queue, int size, bool packed, bool rewriting, Action<Random, ulong> putHeader)
    {
        var ring = RingOf(queue);
        _machine.Memory.Write(ring + 0x1000, 0u);
        _machine.Memory.Write(ring + 0x2000, 0u);
        putHeader(random, Writable);

        // Most rings are nearly right, or nothing behind the checks would ever be reached.
        var wildness = random.Next(4) == 0 ? 5 : 300;
        var tables = FillTable(random, Tables, TableBytes / 16, wildness, packed, rewriting, null);
        var heads = FillTable(random, ring, size, wildness, packed, rewriting, tables);
        if (packed)
            return;
        for (var i = 0; i < size; i++)
        {
            var head = random.Next(wildness) == 0 ? random.Next(65536) : heads[random.Next(heads.Count)].First;
            _machine.Memory.Write(ring + 0x1004 + (ulong)(2 * i), (ushort)head);
        }

        _machine.Memory.Write(ring + 0x1002, (ushort)random.Next(random.Next(wildness) == 0 ? 65536 : size + 1));
    }

    /// <summary>
    /// Fills a descriptor table with chains, each a row of readable descriptors and then writable ones, and says where they
    /// are. Some descriptors are anything.
    /// </summary>
    private List<(int First, int Count)> FillTable(Random random, ulong table, int entries, int wildness, bool packed, bool rewriting, List<(int First, int Count)>? tables)
    {
        var chains = new List<(int First, int Count)>();
        var left = 0;
        var readable = 0;
        for (var i = 0; i < entries; i++)
        {
            var first = left == 0;
            if (first)
            {
                // Nearly always what all devices can serve: something to read and something to write.
                var most = Math.Min(6, entries - i);
                var odd = most == 1 || random.Next(40) == 0;
                left = random.Next(odd ? 1 : 2, most + 1);
                readable = odd ? random.Next(left + 1) : random.Next(1, left);
                chains.Add((i, left));
            }

            var wild = random.Next(wildness) == 0;
            var writable = readable-- <= 0;
            var more = --left > 0;
            var (address, length) = Place(random, writable, first, !more, wild, rewriting);
            var flags = (writable ? 2 : 0) | (more ? 1 : 0);
            if (tables is not null && first && (!more || !packed) && (!more || random.Next(2) == 0))
            {
                var (start, count) = tables[random.Next(tables.Count)];
                (address, length, flags) = (Tables + (ulong)start * 16, count * 16, 4);
            }

            // What is writable stays so: a descriptor may not offer the canaries.
            if (wild)
                flags ^= random.Next(65536) & ~2;
            if (packed)
                flags |= 1 << 7;
            var next = wild ? random.Next(65536) : tables is null ? i + 1 - chains[^1].First : i + 1;
            var at = table + (ulong)(i * 16);
            _machine.Memory.Write(at, address);
            _machine.Memory.Write(at + 8, (uint)length);
            _machine.Memory.Write(at + 12, (ushort)(packed ? i : flags));
            _machine.Memory.Write(at + 14, (ushort)(packed ? flags : next));
        }

        return chains;
    }

    private (ulong Address, int Length) Place(Random random, bool writable, bool first, bool last, bool wild, bool rewriting)
    {
        if (wild)
        {
            const ulong end = VirtioMachine.HighRamStart + VirtioMachine.RamSize;
            return random.Next(7) switch
            {
                0 => ((ulong)random.NextInt64() | 1ul << 40, random.Next()),
                1 => (ulong.MaxValue - (ulong)random.Next(16), random.Next(32)),
                2 => (end - 8, 9 + random.Next(100)),
                3 => (VirtioMachine.RomStart + (ulong)random.Next(0x1000), random.Next(1, 64)),
                4 => (VirtioMachine.MmioStart, random.Next(1, 64)),
                5 => (Writable, 0),
                _ => (VirtioMachine.RomStart - 4, 5 + random.Next(64)),
            };
        }

        if (rewriting && random.Next(4) == 0)
            return (Rings + (ulong)random.Next(4 * RingBytes), random.Next(1, 64));

        // Often what a request needs: a header, whole sectors, one byte at the end.
        if (first && !writable && random.Next(8) != 0)
            return (Writable, _header);
        var length = last && writable && random.Next(2) == 0 ? 1 : random.Next(4) == 0 ? random.Next(1, 600) : _sector * random.Next(1, 4);
        return (Writable + (ulong)random.Next(16, WritableBytes - length), length);
    }

    /// <summary>Something changes while the device runs: ring memory, or a register.</summary>
    private void Disturb(Random random, VirtioDriver driver, int queue, int[] sizes, bool packed, bool rewriting)
    {
        var ring = RingOf(queue);
        switch (random.Next(8))
        {
            case 0:
                FillQueue(random, queue, sizes[queue], packed, rewriting, (_, _) => { });
                break;
            case 1 when !packed:
                _machine.Memory.Write(ring + 0x1002, (ushort)(_machine.Memory.Read<ushort>(ring + 0x1002) + random.Next(sizes[queue] + 1)));
                break;
            case 2:
                _machine.Memory.Write(ring + 0x1000, (uint)random.Next());
                break;
            case 3:
                driver.SetQueue(queue, random.Next(65536), ring, ring + 0x1000, ring + 0x2000);
                driver.EnableQueue(queue);
                break;
            case 4:
                driver.Status = (byte)random.Next(1, 256);
                break;
            case 5:
                driver.WriteConfig(random.Next(70), 1 << random.Next(3), (uint)random.Next());
                driver.ReadConfig(random.Next(70), 1 << random.Next(3));
                break;
            case 6 when (driver.Features & VirtioFeatures.RingReset) != 0:
                driver.ResetQueue(queue);
                driver.SetQueue(queue, sizes[queue], ring, ring + 0x1000, ring + 0x2000);
                driver.EnableQueue(queue);
                break;
        }
    }

    private void PutBlockHeader(Random random, ulong address)
    {
        ReadOnlySpan<uint> types = [0, 0, 1, 1, 4, 8, 11, 13, 99];
        _machine.Memory.Write(address, types[random.Next(types.Length)]);
        _machine.Memory.Write(address + 8, random.Next(20) == 0 ? (ulong)random.NextInt64() : (ulong)random.Next(100));
    }

    private void PutControl(Random random, ulong address)
    {
        _machine.Memory.Write(address, (uint)random.Next(3));
        _machine.Memory.Write(address + 4, (ushort)random.Next(8));
        _machine.Memory.Write(address + 6, (ushort)random.Next(2));
    }

    /// <summary>A packet's header that may be agreed on, or a control command.</summary>
    private void PutPacketHeader(Random random, ulong address)
    {
        _machine.Memory.Write(address, (byte)random.Next(6));
        _machine.Memory.Write(address + 1, (byte)random.Next(6));
        _machine.Memory.Write(address + 2, random.NextInt64());
    }

    /// <summary>A packet's header that often makes sense: of few ports, and not too long.</summary>
    private void PutVsockHeader(Random random, ulong address)
    {
        var toHost = random.Next(2) == 0;
        var packet = new VsockPacket(
            (uint)random.Next(3),
            toHost ? 1 : (1u << 30) + (uint)random.Next(3000),
            (ushort)(toHost && random.Next(2) == 0 ? VsockPacket.Request : random.Next(1, 9)))
        {
            SourceCid = random.Next(20) == 0 ? 1u : VsockGuest.Cid,
            DestinationCid = random.Next(20) == 0 ? 1u : 2u,
            Type = (ushort)(random.Next(20) == 0 ? 2 : 1),
            Length = (uint)(random.Next(100) == 0 ? random.Next() : random.Next(3) == 0 ? random.Next(500) : 0),
            Flags = (uint)random.Next(4),
            BufferAllocation = (uint)(random.Next(3) == 0 ? random.Next() : 1 << 16),
            ForwardCount = (uint)(random.Next(3) == 0 ? random.Next() : 0),
        };
        _machine.Memory.Write(address, packet.ToBytes());
    }

    /// <summary>Numbers of pages of the writable buffers or of nothing; the first may be a command.</summary>
    private void PutPages(Random random, ulong address)
    {
        for (var i = 0ul; i < 16; i += 4)
            _machine.Memory.Write(address + i, random.Next(8) == 0 ? (uint)random.Next() : (uint)(Writable >> 12) + (uint)random.Next(WritableBytes >> 12));
        if (random.Next(2) == 0)
            _machine.Memory.Write(address, (uint)random.Next(40));
    }

    /// <summary>A disk that only looks where its segments lie.</summary>
    private sealed unsafe class WatchedDisk(Memory.GuestMemory memory) : IBlockBackend
    {
        /// <summary>Flushes, and what one notification leaves over, come on other threads.</summary>
        public int Requests => Volatile.Read(ref _requests);

        /// <summary>A segment was not in RAM.</summary>
        public bool Strayed { get; private set; }

        private int _requests;

        public ulong Length => 1 << 20;

        public uint LogicalBlockSize => 512;

        public uint PhysicalBlockSize => 512;

        public bool ReadOnly => false;

        public bool CanDiscard => true;

        public bool CanWriteZeroes => true;

        public void Read(ulong offset, ReadOnlySpan<IoSegment> segments) => Look(segments, fill: true);

        public void Write(ulong offset, ReadOnlySpan<IoSegment> segments) => Look(segments, fill: false);

        public void Flush() => Interlocked.Increment(ref _requests);

        public void Discard(ulong offset, ulong length) => Interlocked.Increment(ref _requests);

        public void WriteZeroes(ulong offset, ulong length, bool mayUnmap) => Interlocked.Increment(ref _requests);

        private void Look(ReadOnlySpan<IoSegment> segments, bool fill)
        {
            Interlocked.Increment(ref _requests);
            foreach (var segment in segments)
            {
                var inside = false;
                foreach (var slot in memory.Slots)
                {
                    var offset = (ulong)(segment.Address - slot.Host);
                    inside |= !slot.ReadOnly && offset < slot.Length && segment.Length <= slot.Length - offset;
                }

                Strayed |= !inside || segment.Length == 0;
                if (fill && inside)
                    segment.Span.Fill(0x5A);
            }
        }
    }

    private sealed class CountingSink : ISerialBackend
    {
        public long Bytes { get; private set; }

        public void Write(ReadOnlySpan<byte> bytes) => Bytes += bytes.Length;
    }
}
