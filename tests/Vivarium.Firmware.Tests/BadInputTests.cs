using Vivarium.Firmware.Boot;

namespace Vivarium.Firmware.Tests;

/// <summary>What a user is told about files, sizes and texts that cannot work: the cause and the way out, in one line.</summary>
public sealed class BadInputTests
{
    private static readonly PlatformLayout Layout = new() { MemorySize = 64ul << 20 };

    [Fact]
    public void A_missing_file() => Refused(
        () => KernelImage.Load("/nowhere/vmlinuz"),
        "/nowhere/vmlinuz does not exist; give the path of a kernel");

    [Fact]
    public void No_name() => Refused(() => KernelImage.Load(""), "the name of the kernel is empty; give the path of a file");

    [Fact]
    public void A_directory() => Refused(
        () => KernelImage.Load("/usr"), "/usr is a directory, not a kernel; give the path of a file");

    [Theory]
    [InlineData("/dev/null")]
    [InlineData("/dev/zero")]
    [InlineData("/proc/self/mem")]
    public void A_file_that_is_none(string path) => Assert.Throws<BootException>(() => KernelImage.Load(path));

    [Fact]
    public void A_path_that_no_system_has()
    {
        BootException refusal = Assert.Throws<BootException>(() => KernelImage.Load("a\0b"));
        Assert.Contains("cannot be opened as a kernel", refusal.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void An_empty_file()
    {
        using var folder = new TemporaryFolder();
        string path = folder.Write("empty", []);
        Refused(() => KernelImage.Load(path), $"{path} is empty; give a bzImage, an ELF vmlinux with a PVH note, or a multiboot kernel");
        Refused(() => Initrd.Load(path), $"{path} is empty; give an initrd with content or none at all");
    }

    [Fact]
    public void A_file_of_another_kind() => Refused(
        new byte[10_000],
        "kernel is not a Linux kernel: no 'HdrS' signature; give a bzImage, an ELF vmlinux with a PVH note, or a multiboot kernel");

    [Fact]
    public void A_few_bytes() => Refused(
        [1, 2, 3],
        "kernel is not a Linux kernel: it has only 3 bytes; give a bzImage, an ELF vmlinux with a PVH note, or a multiboot kernel");

    [Theory]
    [InlineData("1F8B0800", "it is compressed with gzip, unpack it first")]
    [InlineData("FD377A585A00", "it is compressed with xz, unpack it first")]
    [InlineData("28B52FFD", "it is compressed with zstd, unpack it first")]
    [InlineData("213C617263683E0A", "it is a package, unpack it first")]
    public void A_wrapped_kernel(string start, string reason)
    {
        byte[] file = new byte[1000];
        Convert.FromHexString(start).CopyTo(file, 0);
        Refused(file, $"kernel is not a Linux kernel: {reason}; give a bzImage, an ELF vmlinux with a PVH note, or a multiboot kernel");
    }

    [Theory]
    [InlineData("ARM\u0064", "ARM64")]
    [InlineData("RSC\u0005", "RISC-V")]
    public void An_image_for_another_machine(string magic, string machine)
    {
        byte[] file = new byte[1000];
        Kernels.Text(magic).CopyTo(file, 0x38);
        Refused(file,
            $"kernel is not a Linux kernel: it is an image for {machine}, this machine is x86; give a bzImage, an ELF vmlinux with a PVH note, or a multiboot kernel");
    }

    [Theory]
    [InlineData(183, "ARM64")]
    [InlineData(8, "MIPS")]
    [InlineData(4242, "machine type 4242")]
    public void An_ELF_file_for_another_machine(int machine, string name) => Refused(
        With(Kernels.Vmlinux(), image => Kernels.U16(image, 18, (ushort)machine)),
        $"kernel is an ELF file for {name}; give an x86 vmlinux");

    [Fact]
    public void A_big_endian_ELF_file() => Refused(
        With(Kernels.Vmlinux(), image => image[5] = 2),
        "kernel is an ELF file for a big-endian machine; give an x86 vmlinux");

    [Fact]
    public void An_ELF_file_of_an_unknown_class() => Refused(
        With(Kernels.Vmlinux(), image => image[4] = 7),
        "kernel is a damaged ELF file of class 7; give an intact x86 vmlinux");

    [Fact]
    public void An_ELF_file_without_program_headers() => Refused(
        With(Kernels.Vmlinux(), image => Kernels.U16(image, 56, 0)),
        "kernel is an ELF file that cannot be loaded: it has no program headers; give a linked vmlinux");

    [Fact]
    public void A_vmlinux_without_PVH_note() => Refused(
        Kernels.Vmlinux(noteType: 17),
        "kernel is an ELF file without a PVH note (XEN_ELFNOTE_PHYS32_ENTRY) or a multiboot header; give a bzImage, a vmlinux built with CONFIG_PVH, or a multiboot kernel");

    [Fact]
    public void A_vmlinux_for_impossible_memory() => Refused(
        With(Kernels.Vmlinux(), image => Kernels.U64(image, 64 + 24, ulong.MaxValue - 5)),
        "kernel is damaged: it wants 0x2000 bytes at 0xfffffffffffffffa, which no machine here has; give an intact vmlinux");

    [Fact]
    public void A_vmlinux_entered_outside_its_segments() => Refused(
        With(Kernels.Vmlinux(), image => Kernels.U64(image, 64 + 24, 0x200_0000)),
        "kernel is damaged: its PVH entry point 0x1000040 is not in any segment; give an intact vmlinux");

    [Fact]
    public void A_truncated_vmlinux()
    {
        byte[] image = Kernels.Vmlinux();
        Refused(image[..40], "kernel is truncated: its ELF header is incomplete; fetch a complete copy");
        Refused(image[..60], "kernel is truncated: its ELF header is incomplete; fetch a complete copy");
        Refused(image[..100], "kernel is truncated: its program headers lie past its end; fetch a complete copy");
        Refused(image[..1000], "kernel is truncated: a segment of 4096 bytes at 512 lies past its end; fetch a complete copy");
    }

    [Fact]
    public void A_truncated_bzImage()
    {
        byte[] image = Kernels.BzImage();
        Refused(image[..0x210], "kernel is truncated: its setup header is incomplete; fetch a complete copy");
        Refused(image[..2000], "kernel is truncated: it has 2000 bytes, its setup code alone has 2560; fetch a complete copy");
        Refused(image[..^100], "kernel is truncated: it has 6556 bytes, its header promises 6656; fetch a complete copy");
    }

    [Fact]
    public void A_bzImage_without_code_at_its_entry_point() => Refused(
        With(Kernels.BzImage(), image => Kernels.U32(image, 0x1F4, 1)),
        "kernel is truncated: there is no code at its 64-bit entry point; fetch a complete copy");

    [Fact]
    public void A_damaged_boot_flag() => Refused(
        With(Kernels.BzImage(), image => image[0x1FE] = 0),
        "kernel is damaged: its setup header has no AA55 boot flag; give an intact bzImage");

    [Fact]
    public void An_ancient_protocol() => Refused(
        Kernels.BzImage(version: 0x0203),
        "kernel speaks Linux boot protocol 2.03, but at least 2.06 is needed; use Linux 2.6.22 or newer");

    [Fact]
    public void A_zImage() => Refused(
        With(Kernels.BzImage(), image => image[0x211] = 0),
        "kernel is a zImage that loads below 1 MiB; give a bzImage");

    [Theory]
    [InlineData(0ul)]
    [InlineData(0xFFFF_FFFF_FFFF_F000ul)]
    [InlineData(0xBFF0_0000ul)]
    public void A_bzImage_for_impossible_memory(ulong address) => Refused(
        With(Kernels.BzImage(), image => Kernels.U64(image, 0x258, address)),
        $"kernel is damaged: its header asks for 0x200000 bytes at 0x{address:x}, which no machine here has; give an intact bzImage");

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void Memory_too_small_for_the_kernel(bool bzImage)
    {
        BootPlan plan = new() { Kernel = Kernels.Load(bzImage ? Kernels.BzImage() : Kernels.Vmlinux()) };
        Refused(
            () => plan.Check(Layout with { MemorySize = 16ul << 20 }),
            $"16 MiB of memory is too small for the kernel kernel; give the machine at least {(bzImage ? 19 : 17)} MiB");
        plan.Check(Layout with { MemorySize = (bzImage ? 19ul : 17ul) << 20 });
    }

    [Theory]
    [InlineData(0ul, "0 bytes")]
    [InlineData(1ul << 20, "1 MiB")]
    public void Memory_too_small_for_any_machine(ulong size, string text) => Refused(
        () => new BootPlan { Kernel = Kernels.Load(Kernels.BzImage()) }.Check(Layout with { MemorySize = size }),
        $"{text} of memory is too small for any machine; give it at least 2 MiB");

    [Fact]
    public void An_initrd_too_large_for_memory()
    {
        BootPlan plan = new()
        {
            Kernel = Kernels.Load(Kernels.BzImage()),
            Initrd = Initrd.FromBytes("/boot/initrd.img", new byte[60 << 20]),
        };
        Refused(
            () => plan.Check(Layout),
            "the initrd /boot/initrd.img (60 MiB) does not fit above the kernel, where 45.9 MiB are free; give the machine at least 79 MiB of memory or use a smaller initrd");
        plan.Check(Layout with { MemorySize = 79ul << 20 });
    }

    [Fact]
    public void An_initrd_above_the_kernels_limit_whatever_the_memory()
    {
        byte[] image = With(Kernels.BzImage(), image => Kernels.U32(image, 0x22C, 0x012F_FFFF));
        BootPlan plan = new() { Kernel = Kernels.Load(image), Initrd = Initrd.FromBytes("i", new byte[2 << 20]) };
        Refused(
            () => plan.Check(Layout),
            "the initrd i (2 MiB) does not fit above the kernel, where 1 MiB are free and more memory does not help, for this kernel looks for it below 0x1300000; use a smaller initrd");
    }

    [Theory]
    [InlineData(true, 2047)]
    [InlineData(false, 2047)]
    public void A_command_line_over_the_kernels_limit(bool bzImage, int limit)
    {
        BootPlan plan = new()
        {
            Kernel = Kernels.Load(bzImage ? Kernels.BzImage() : Kernels.Vmlinux()),
            CommandLine = new string('x', 5000),
        };
        Refused(() => plan.Check(Layout), $"the kernel command line has 5000 bytes, but kernel takes at most {limit}; shorten it");
    }

    [Fact]
    public void A_command_line_with_a_zero() => Refused(
        () => new BootPlan { Kernel = Kernels.Load(Kernels.BzImage()), CommandLine = "a\0b" }.Check(Layout),
        "the kernel command line contains a zero character; remove it");

    [Fact]
    public void A_file_cut_short_between_reading_its_header_and_loading_it()
    {
        using var folder = new TemporaryFolder();
        string path = folder.Write("kernel", Kernels.BzImage());
        using KernelImage kernel = KernelImage.Load(path);
        folder.Write("kernel", [1]);
        using var machine = new TestMemory(Layout);
        Refused(
            () => new BootPlan { Kernel = kernel }.Place(machine.Memory, Layout),
            $"{path} became shorter while it was read; try again with a complete file");
    }

    private static byte[] With(byte[] image, Action<byte[]> change)
    {
        change(image);
        return image;
    }

    private static void Refused(byte[] image, string message) => Refused(() => Kernels.Load(image), message);

    private static void Refused(Action action, string message)
    {
        BootException refusal = Assert.Throws<BootException>(action);
        Assert.Equal(message, refusal.Message);
        Assert.DoesNotContain('\n', refusal.Message);
    }
}
