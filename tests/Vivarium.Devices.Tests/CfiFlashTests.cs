using Vivarium.Memory;

namespace Vivarium.Devices.Tests;

/// <summary>A flash memory as firmware drives it: commands by writes, contents by reads.</summary>
public sealed class CfiFlashTests : IDisposable
{
    private const ulong Address = 0xFFC0_0000;
    private const ulong Size = 64 << 10;

    private readonly GuestMemory _memory = new(1 << 20);
    private readonly MmioBus _bus = new();
    private readonly MemoryRegion _region;
    private readonly List<(int Offset, int Length)> _changes = [];

    public CfiFlashTests()
    {
        _region = _memory.Allocate(Size);
        _region.Bytes.Fill(0xFF);
        new CfiFlash(_memory, _region, Address, (offset, length) => _changes.Add((offset, length))).Map(_bus);
    }

    public void Dispose() => _memory.Dispose();

    [Fact]
    public void It_is_rom_until_a_command_comes()
    {
        Assert.True(_memory.Find(Address)!.ReadOnly);
        _bus.Write(Address, 1, 0x70);
        Assert.Null(_memory.Find(Address));
        Assert.Equal(0x80u, _bus.Read(Address, 1));
        _bus.Write(Address, 1, 0xFF);
        Assert.True(_memory.Find(Address)!.ReadOnly);
    }

    [Fact]
    public void Programming_clears_bits_and_an_erase_sets_them()
    {
        Program(Address + 5, 0x5A);
        Program(Address + 5, 0xF0);
        Assert.Equal(0x50, _memory.Read<byte>(Address + 5));
        _bus.Write(Address + 7, 1, 0x20);
        _bus.Write(Address + 7, 1, 0xD0);
        Assert.Equal(0x80u, _bus.Read(Address, 1));
        _bus.Write(Address, 1, 0xFF);
        Assert.Equal(0xFF, _memory.Read<byte>(Address + 5));
        Assert.Equal([(5, 1), (5, 1), (0, CfiFlash.BlockSize)], _changes);
    }

    [Fact]
    public void An_erase_that_is_not_confirmed_fails_until_the_status_is_cleared()
    {
        _bus.Write(Address, 1, 0x20);
        _bus.Write(Address, 1, 0x00);
        Assert.Equal(0xB0u, _bus.Read(Address, 1));
        _bus.Write(Address, 1, 0x50);
        Assert.Equal(0x80u, _bus.Read(Address, 1));
    }

    [Fact]
    public void It_says_what_it_is()
    {
        _bus.Write(Address, 1, 0x90);
        Assert.Equal(0x1889u, _bus.Read(Address, 2));
    }

    /// <summary>100,000 random reads and writes of all sizes.</summary>
    [Fact]
    public void Nonsense_is_survived()
    {
        var random = new Random(4);
        for (var i = 0; i < 100_000; i++)
        {
            var size = 1 << random.Next(4);
            var gpa = Address + (ulong)random.NextInt64((long)Size);
            _bus.Write(gpa, size, (ulong)random.NextInt64());
            _bus.Read(gpa, size);
        }
    }

    private void Program(ulong gpa, byte value)
    {
        _bus.Write(gpa, 1, 0x10);
        _bus.Write(gpa, 1, value);
        Assert.Equal(0x80u, _bus.Read(gpa, 1));
        _bus.Write(gpa, 1, 0xFF);
    }
}
