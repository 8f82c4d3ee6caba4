using System.Buffers.Binary;
using System.Text;
using Vivarium.Memory;

namespace Vivarium.Devices.Tests;

/// <summary>The firmware configuration device, as firmware asks it: byte by byte, and by requests in memory.</summary>
public sealed class FwCfgTests : IDisposable
{
    private const ulong Request = 0x1000;
    private const ulong Target = 0x2000;
    private const uint Error = 1, ReadItem = 2, Skip = 4, Select = 8, WriteItem = 16;

    private readonly GuestMemory _memory = new(1 << 20);
    private readonly PortBus _ports = new();

    public FwCfgTests()
    {
        _memory.AddSlot(0, 1 << 18);
        var files = new Dictionary<string, ReadOnlyMemory<byte>>
        {
            ["etc/second"] = "0123456789"u8.ToArray(),
            ["etc/first"] = new byte[] { 0xAA },
        };
        new FwCfg(_memory, 3, () => files).Map(_ports);
    }

    public void Dispose() => _memory.Dispose();

    [Fact]
    public void ItemsAreReadByteByByteAndEndInZeros()
    {
        Assert.Equal("QEMU\0\0", Encoding.ASCII.GetString(Bytes(0, 6)));
        Assert.Equal([3, 0, 0, 0], Bytes(1, 4));
        Assert.Equal([3, 0], Bytes(5, 2));
        Assert.Equal([0, 0], Bytes(0x3FFF, 2));
    }

    [Fact]
    public void TheDirectoryNamesFilesAndTheirItems()
    {
        var directory = Bytes(0x19, 4 + (2 * 64));
        Assert.Equal(2, BinaryPrimitives.ReadInt32BigEndian(directory));
        Assert.Equal("etc/first", Name(directory, 0));
        Assert.Equal("etc/second", Name(directory, 1));
        Assert.Equal(10, BinaryPrimitives.ReadInt32BigEndian(directory.AsSpan(4 + 64)));
        var item = BinaryPrimitives.ReadUInt16BigEndian(directory.AsSpan(4 + 64 + 4));
        Assert.Equal("0123456789", Encoding.ASCII.GetString(Bytes(item, 10)));
    }

    [Fact]
    public void ARequestSelectsSkipsAndCopies()
    {
        Assert.Equal("QEMU"u8, BitConverter.GetBytes(_ports.Read(0x514, 4)));
        Assert.Equal(0u, Ask(Select | Skip | (0x21u << 16), 4, 0));
        Assert.Equal(0u, Ask(ReadItem, 8, Target));
        Span<byte> copied = stackalloc byte[8];
        _memory.Read(Target, copied);
        Assert.Equal("456789\0\0", Encoding.ASCII.GetString(copied));
    }

    [Theory]
    [InlineData(ReadItem, 16u, 0x4_0000ul)]
    [InlineData(ReadItem, uint.MaxValue, Target)]
    [InlineData(ReadItem, 64u, 0x3_FFF0ul)]
    [InlineData(ReadItem, 16u, ulong.MaxValue)]
    [InlineData(WriteItem, 1u, Target)]
    public void WhatCannotBeIsAnError(uint control, uint length, ulong target) =>
        Assert.Equal(Error, Ask(control | Select | (0x21u << 16), length, target));

    /// <summary>50,000 random accesses, half of them with requests in memory.</summary>
    [Fact]
    public void NonsenseIsSurvived()
    {
        var random = new Random(3);
        Span<byte> noise = stackalloc byte[16];
        for (var i = 0; i < 50_000; i++)
        {
            random.NextBytes(noise);
            if (random.Next(2) == 0)
            {
                // Short lengths, so that the time goes into cases and not into copying.
                noise[4] = noise[5] = 0;
                _memory.Write(Request, noise);
                Send(random.Next(4) == 0 ? (ulong)random.NextInt64() : Request);
            }

            var port = (ushort)(0x510 + random.Next(12));
            var size = 1 << random.Next(3);
            _ports.Write(port, size, (uint)random.Next());
            _ports.Read(port, size);
        }
    }

    private static string Name(byte[] directory, int index) => Encoding.ASCII.GetString(directory, 4 + (index * 64) + 8, 56).TrimEnd('\0');

    private byte[] Bytes(ushort item, int count)
    {
        _ports.Write(0x510, 2, item);
        return [.. Enumerable.Range(0, count).Select(_ => (byte)_ports.Read(0x511, 1))];
    }

    private uint Ask(uint control, uint length, ulong target)
    {
        Span<byte> request = stackalloc byte[16];
        BinaryPrimitives.WriteUInt32BigEndian(request, control);
        BinaryPrimitives.WriteUInt32BigEndian(request[4..], length);
        BinaryPrimitives.WriteUInt64BigEndian(request[8..], target);
        _memory.Write(Request, request);
        Send(Request);
        return BinaryPrimitives.ReverseEndianness(_memory.Read<uint>(Request));
    }

    private void Send(ulong address)
    {
        _ports.Write(0x514, 4, BinaryPrimitives.ReverseEndianness((uint)(address >> 32)));
        _ports.Write(0x518, 4, BinaryPrimitives.ReverseEndianness((uint)address));
    }
}
