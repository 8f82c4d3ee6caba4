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
    private readonly CfiFlash _flash;
    private readonly List<(int Offset, int Length)> _changes = [];

    public CfiFlashTests()
    {
        _region = _memory.Allocate(Size);
        _region.Bytes.Fill(0xFF);
        _flash = new CfiFlash(_memory, _region, Address, (offset, length) => _changes.Add((offset, length)));
        _flash.Map(_bus);
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
        Assert.Equal(0u, _bus.Read(Address, 1));
    }

    /// <summary>How OVMF tells flash from RAM and ROM: status cleared, then read, must be 0, which is neither a command nor what was there.</summary>
    [Fact]
    public void A_status_that_was_cleared_reads_0_until_something_is_programmed()
    {
        _bus.Write(Address, 1, 0x50);
        Assert.Equal(0xFF, _memory.Read<byte>(Address));
        _bus.Write(Address, 1, 0x70);
        Assert.Equal(0u, _bus.Read(Address, 1));
        _bus.Write(Address, 1, 0xFF);
        Program(Address, 0x12);
        _bus.Write(Address, 1, 0x50);
        _bus.Write(Address, 1, 0x20);
        _bus.Write(Address, 1, 0xD0);
        Assert.Equal(0x80u, _bus.Read(Address, 1));
    }

    [Fact]
    public void What_was_programmed_last_is_told_when_the_guest_stops()
    {
        _bus.Write(Address + 9, 1, 0x40);
        _bus.Write(Address + 9, 1, 0x77);
        Assert.Empty(_changes);
        _flash.Flush();
        _flash.Flush();
        Assert.Equal([(9, 1)], _changes);
    }

    [Fact]
    public void A_program_command_under_way_goes_on_after_a_restore()
    {
        _bus.Write(Address, 1, 0x40);
        CfiFlashState state = _flash.Save();
        _bus.Write(Address, 1, 0x34);
        _bus.Write(Address, 1, 0xFF);
        _changes.Clear();

        _flash.Restore(state);
        Assert.Null(_memory.Find(Address));
        _bus.Write(Address + 1, 1, 0x12);
        _bus.Write(Address, 1, 0xFF);
        Assert.Equal(0x1234, _memory.Read<ushort>(Address));

        // What was there when the state was taken is not what the file has now.
        Assert.Equal([(0, (int)Size)], _changes);
        Assert.Throws<InvalidDataException>(() => _flash.Restore(state with { Mode = 0x12 }));
        Assert.Throws<InvalidDataException>(() => _flash.Restore(state with { Pending = 0x12 }));
        Assert.Throws<InvalidDataException>(() => _flash.Restore(state with { Mode = 0xFF }));
        Assert.Throws<InvalidDataException>(() => _flash.Restore(state with { Version = 2 }));
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
