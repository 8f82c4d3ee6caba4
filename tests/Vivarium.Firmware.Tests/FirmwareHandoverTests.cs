using System.Buffers.Binary;
using Vivarium.Firmware.Boot;

namespace Vivarium.Firmware.Tests;

/// <summary>The ROM by which firmware starts programs that borrow Linux' format and call the BIOS.</summary>
public sealed class FirmwareHandoverTests
{
    private const int SetupLength = 5 * 512;
    private static readonly PlatformLayout Layout = new() { MemorySize = 64ul << 20 };

    [Fact]
    public void The_ROM_is_one_that_firmware_boots_from()
    {
        byte[] rom = HandOver(new BootPlan { Kernel = Kernels.Load(Program()), StartsFromFirmware = true }).Rom.ToArray();
        Assert.Equal([0x55, 0xAA], rom[..2]);
        Assert.Equal(rom.Length, rom[2] * 512);
        Assert.Equal(0, rom.Sum(value => value) & 0xFF);
        int header = U16(rom, 0x1A);
        Assert.Equal("$PnP"u8, rom.AsSpan(header, 4));
        Assert.Equal(0, rom.AsSpan(header, 32).ToArray().Sum(value => value) & 0xFF);

        // The bootstrap entry vector leads to code that begins with interrupts off.
        Assert.Equal(0xFA, rom[U16(rom, header + 0x1A)]);
    }

    [Fact]
    public void Setup_code_kernel_command_line_and_initrd_get_their_places()
    {
        byte[] image = Program();
        byte[] initrd = [9, 8, 7];
        Dictionary<uint, byte[]> memory = Carry(HandOver(new BootPlan
        {
            Kernel = Kernels.Load(image),
            CommandLine = "dhcp",
            Initrd = Initrd.FromBytes("initrd", initrd),
            StartsFromFirmware = true,
        }));

        Assert.Equal(image[SetupLength..], memory[0x10_0000]);
        Assert.Equal("dhcp\0"u8, memory[0x2_0000]);
        byte[] setup = memory[0x1_0000];
        Assert.Equal(0xFF, setup[0x210]);
        Assert.Equal(0x81, setup[0x211]);
        Assert.Equal(0x2_0000u, U32(setup, 0x228));
        Assert.Equal(initrd, memory[U32(setup, 0x218)]);
        Assert.Equal(3u, U32(setup, 0x21C));
        Assert.InRange(U16(setup, 0x224), SetupLength, 0xFFF0 - 0x200);
    }

    [Fact]
    public void It_needs_firmware_and_only_it_does()
    {
        var program = new BootPlan { Kernel = Kernels.Load(Program()) };
        Assert.Contains("run it with --virt full", Assert.Throws<BootException>(() => program.Check(Layout)).Message);
        var linux = new BootPlan { Kernel = Kernels.Load(Kernels.BzImage()), StartsFromFirmware = true };
        Assert.Contains("needs no firmware", Assert.Throws<BootException>(() => linux.Check(Layout)).Message);
    }

    [Theory]
    [InlineData(0x206, 1, "speaks Linux boot protocol 2.01")]
    [InlineData(0x211, 0, "loads low")]
    [InlineData(0x1F1, 200, "setup code has 102912 bytes")]
    [InlineData(0x1F1, 20, "its setup code alone has 10752")]
    public void A_header_that_lies_is_explained(int offset, byte value, string explanation)
    {
        byte[] image = Program();
        image[offset] = value;
        Assert.Contains(explanation, Assert.Throws<BootException>(() => Kernels.Load(image)).Message);
    }

    private static FirmwareHandover HandOver(BootPlan plan)
    {
        plan.Check(Layout);
        return plan.HandOver(Layout);
    }

    /// <summary>Does what the ROM's table asks for.</summary>
    private static Dictionary<uint, byte[]> Carry(FirmwareHandover handover)
    {
        const int table = 0x100, request = 16;
        byte[] rom = handover.Rom.ToArray();
        var memory = new Dictionary<uint, byte[]>();
        int from = 0;
        for (int at = table; ; at += request)
        {
            uint control = BinaryPrimitives.ReadUInt32BigEndian(rom.AsSpan(at));
            if (control == 0)
            {
                return memory;
            }

            Assert.Equal(at == table ? 0x11_000Au : 2u, control);
            int length = BinaryPrimitives.ReadInt32BigEndian(rom.AsSpan(at + 4));
            memory.Add((uint)BinaryPrimitives.ReadUInt64BigEndian(rom.AsSpan(at + 8)), handover.Payload.Slice(from, length).ToArray());
            from += length;
        }
    }

    /// <summary>As iPXE's: no 32-bit entry point.</summary>
    private static byte[] Program()
    {
        byte[] image = Kernels.BzImage(version: 0x0207);
        Kernels.U32(image, 0x214, 0);
        image[0x211] = 1;
        return image;
    }

    private static ushort U16(byte[] bytes, int offset) => BinaryPrimitives.ReadUInt16LittleEndian(bytes.AsSpan(offset));

    private static uint U32(byte[] bytes, int offset) => BinaryPrimitives.ReadUInt32LittleEndian(bytes.AsSpan(offset));
}
