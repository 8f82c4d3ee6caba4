using Vivarium.Firmware.Boot;

namespace Vivarium.Firmware.Tests;

public sealed class MultibootKernelTests : IDisposable
{
    private const uint LoadAddress = 0x20_0000;
    private const uint VirtualAddress = 0xC020_0000;
    private const int LoadOffset = 0x1000;
    private const int LoadSize = 0x800;
    private static readonly PlatformLayout Layout = new() { MemorySize = 64ul << 20 };

    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Theory]
    [InlineData(false, LoadAddress)]
    [InlineData(true, LoadAddress)]
    [InlineData(false, VirtualAddress)]
    public void An_ELF_kernel_starts_in_flat_protected_mode_with_the_magic_number(bool is64Bit, uint linkedAt)
    {
        using var machine = new TestMemory(Layout);
        byte[] image = ElfKernel(is64Bit, linkedAt);
        machine.Memory.Write(LoadAddress + LoadSize, 0xDEAD_BEEFul);
        EntryState entry = new BootPlan { Kernel = Kernels.Load(image) }.Place(machine.Memory, Layout);

        Assert.Equal(EntryMode.Protected32, entry.Mode);
        Assert.Equal(LoadAddress + 0x40, entry.Rip);
        Assert.Equal(0x2BAD_B002ul, entry.Rax);
        Assert.Equal(0xC09Bu, entry.Cs.Attributes);
        Assert.Equal(image[LoadOffset..], machine.Bytes(LoadAddress, LoadSize));
        Assert.Equal(0ul, machine.Memory.Read<ulong>(LoadAddress + LoadSize));
    }

    [Fact]
    public void A_kernel_can_say_itself_where_it_belongs()
    {
        using var machine = new TestMemory(Layout);
        byte[] image = PlainKernel();
        EntryState entry = new BootPlan { Kernel = Kernels.Load(image) }.Place(machine.Memory, Layout);
        Assert.Equal(LoadAddress + 0x30, entry.Rip);
        Assert.Equal(image[0x100..], machine.Bytes(LoadAddress, image.Length - 0x100));
    }

    [Fact]
    public void The_kernel_is_told_its_command_line_memory_and_modules()
    {
        using var machine = new TestMemory(Layout);
        string first = _folder.Write("first", [1, 2, 3, 4, 5]);
        string second = _folder.Write("second", new byte[5000]);
        using BootModule one = BootModule.Load(first, "with words");
        using BootModule two = BootModule.Load(second);
        EntryState entry = new BootPlan { Kernel = Kernels.Load(ElfKernel()), CommandLine = "debug=1", Modules = [one, two] }.Place(machine.Memory, Layout);

        ulong info = entry.Rbx;
        uint Field(ulong offset) => machine.Memory.Read<uint>(info + offset);
        Assert.Equal(0x24Du, Field(0));
        Assert.Equal(639u, Field(4));
        Assert.Equal((uint)((Layout.AcpiAreaStart - 0x10_0000) >> 10), Field(8));
        Assert.Equal("kernel debug=1\0", machine.Ascii(Field(16), 15));
        Assert.Equal("Vivarium\0", machine.Ascii(Field(64), 9));

        Assert.Equal(2u, Field(20));
        ulong modules = Field(24);
        uint start = machine.Memory.Read<uint>(modules);
        Assert.Equal(0u, start % 4096);
        Assert.Equal(5u, machine.Memory.Read<uint>(modules + 4) - start);
        Assert.Equal(new byte[] { 1, 2, 3, 4, 5 }, machine.Bytes(start, 5));
        string text = $"{first} with words\0";
        Assert.Equal(text, machine.Ascii(machine.Memory.Read<uint>(modules + 8), text.Length));
        Assert.Equal(5000u, machine.Memory.Read<uint>(modules + 20) - machine.Memory.Read<uint>(modules + 16));

        IReadOnlyList<E820Entry> expected = E820Map.Build(Layout);
        Assert.Equal((uint)expected.Count * 24, Field(44));
        for (int i = 0; i < expected.Count; i++)
        {
            ulong at = Field(48) + (24 * (ulong)i);
            Assert.Equal(20u, machine.Memory.Read<uint>(at));
            Assert.Equal(expected[i], new E820Entry(
                machine.Memory.Read<ulong>(at + 4), machine.Memory.Read<ulong>(at + 12), (E820Type)machine.Memory.Read<uint>(at + 20)));
        }
    }

    [Theory]
    [InlineData(0x18, 0x0000_1000u, "wants to be at 0x1000")]
    [InlineData(0x18, 0xF000_0000u, "puts it to 0xf0000000")]
    [InlineData(0x14, 0x0000_0000u, "the header itself to 0x0")]
    [InlineData(0x1C, 0xFFFF_FFFFu, "not in the file")]
    [InlineData(0x1C, 0x0010_0000u, "not in the file")]
    [InlineData(0x20, 0x0010_0000u, "ends the zeros")]
    [InlineData(0x24, 0x0010_0000u, "entry point 0x100000")]
    [InlineData(0x0C, 0x0001_0008u, "asks for features 0x8")]
    public void A_header_that_lies_is_explained(int offset, uint value, string explanation)
    {
        byte[] image = PlainKernel();
        const int header = 0x108 - 8;
        if (offset == 0x18 && value == 0x1000)
        {
            Kernels.U32(image, header + 0x14, 0x1008);
        }

        Kernels.U32(image, header + offset, value);
        if (offset == 0x0C)
        {
            Kernels.U32(image, header + 0x10, unchecked(0u - 0x1BAD_B002u - value));
        }

        Assert.Contains(explanation, Assert.Throws<BootException>(() => Kernels.Load(image)).Message);
    }

    [Fact]
    public void Too_little_memory_is_explained()
    {
        using BootModule module = BootModule.Load(_folder.Write("big", new byte[63 << 20]));
        var plan = new BootPlan { Kernel = Kernels.Load(ElfKernel()), Modules = [module] };
        Assert.Contains("and its modules; give the machine at least", Assert.Throws<BootException>(() => plan.Check(Layout)).Message);
    }

    [Fact]
    public void Modules_are_for_multiboot_kernels()
    {
        using BootModule module = BootModule.Load(_folder.Write("file", [1]));
        var plan = new BootPlan { Kernel = Kernels.Load(Kernels.BzImage()), Modules = [module] };
        Assert.Contains("modules are for multiboot kernels", Assert.Throws<BootException>(() => plan.Check(Layout)).Message);
    }

    [Fact]
    public void Damaged_kernels_of_20_000_cases_are_refused_in_words()
    {
        var random = new Random(9);
        byte[][] sound = [ElfKernel(), ElfKernel(is64Bit: true), PlainKernel()];
        using var machine = new TestMemory(Layout);
        for (int i = 0; i < 20_000; i++)
        {
            byte[] image = [.. sound[random.Next(sound.Length)]];
            for (int changes = random.Next(1, 4); changes > 0; changes--)
            {
                image[random.Next(random.Next(2) == 0 ? 0x180 : image.Length)] = (byte)random.Next(256);
            }

            try
            {
                var plan = new BootPlan { Kernel = Kernels.Load(random.Next(4) == 0 ? image[..random.Next(image.Length)] : image) };
                plan.Check(Layout);
                _ = plan.Place(machine.Memory, Layout);
            }
            catch (BootException)
            {
            }
        }
    }

    /// <summary>A header at 100h in front of 700h bytes of code, all of it to be loaded to 2 MiB.</summary>
    private static byte[] PlainKernel()
    {
        byte[] image = new byte[0x800];
        for (int i = 0x130; i < image.Length; i++)
        {
            image[i] = (byte)i;
        }

        const uint flags = 1 << 16 | 3;
        uint[] header = [0x1BAD_B002, flags, unchecked(0u - 0x1BAD_B002u - flags), LoadAddress + 8, LoadAddress, 0, LoadAddress + 0x1000, LoadAddress + 0x30];
        for (int i = 0; i < header.Length; i++)
        {
            Kernels.U32(image, 0x108 + (4 * i), header[i]);
        }

        return image;
    }

    private static byte[] ElfKernel(bool is64Bit = false, uint linkedAt = LoadAddress)
    {
        byte[] image = new byte[LoadOffset + LoadSize];
        "\u007FELF"u8.CopyTo(image);
        image[4] = (byte)(is64Bit ? 2 : 1);
        image[5] = 1;
        image[6] = 1;
        Kernels.U16(image, 16, 2);
        Kernels.U16(image, 18, (ushort)(is64Bit ? 62 : 3));
        int at = is64Bit ? 64 : 52;
        if (is64Bit)
        {
            Kernels.U64(image, 24, linkedAt + 0x40);
            Kernels.U64(image, 32, 64);
            Kernels.U16(image, 54, 56);
            Kernels.U16(image, 56, 1);
            Kernels.U32(image, at, 1);
            Kernels.U64(image, at + 8, LoadOffset);
            Kernels.U64(image, at + 16, linkedAt);
            Kernels.U64(image, at + 24, LoadAddress);
            Kernels.U64(image, at + 32, LoadSize);
            Kernels.U64(image, at + 40, 2 * LoadSize);
        }
        else
        {
            Kernels.U32(image, 24, linkedAt + 0x40);
            Kernels.U32(image, 28, 52);
            Kernels.U16(image, 42, 32);
            Kernels.U16(image, 44, 1);
            Kernels.U32(image, at, 1);
            Kernels.U32(image, at + 4, LoadOffset);
            Kernels.U32(image, at + 8, linkedAt);
            Kernels.U32(image, at + 12, LoadAddress);
            Kernels.U32(image, at + 16, LoadSize);
            Kernels.U32(image, at + 20, 2 * LoadSize);
        }

        Kernels.U32(image, LoadOffset, 0x1BAD_B002);
        Kernels.U32(image, LoadOffset + 4, 3);
        Kernels.U32(image, LoadOffset + 8, unchecked(0u - 0x1BAD_B002u - 3));
        for (int i = 16; i < LoadSize; i++)
        {
            image[LoadOffset + i] = (byte)(i * 3);
        }

        return image;
    }
}
