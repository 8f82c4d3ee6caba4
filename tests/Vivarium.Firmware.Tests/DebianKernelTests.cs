using System.Buffers.Binary;
using Vivarium.Firmware.Boot;

namespace Vivarium.Firmware.Tests;

public sealed class DebianKernelTests
{
    [Fact]
    public void The_cloud_kernel_is_entered_in_long_mode()
    {
        using KernelImage kernel = KernelImage.Load(TestGuests.Cloud());
        EntryState entry = Place(kernel, 128);
        Assert.Equal("Linux 64-bit boot protocol 2.15", kernel.Protocol);
        Assert.Equal(2047, kernel.CommandLineLimit);
        Assert.Equal(0x100_0200ul, entry.Rip);
    }

    [Fact]
    public void The_cloud_kernel_says_how_much_memory_it_needs()
    {
        using KernelImage kernel = KernelImage.Load(TestGuests.Cloud());
        BootException refusal = Assert.Throws<BootException>(() => Place(kernel, 32));
        Assert.Matches("^32 MiB of memory is too small for the kernel .*; give the machine at least [0-9]+ MiB$", refusal.Message);
    }

    [Fact]
    public void The_686_pae_kernel_is_entered_in_protected_mode()
    {
        using KernelImage kernel = KernelImage.Load(TestGuests.I386());
        EntryState entry = Place(kernel, 128);
        Assert.Equal("Linux 32-bit boot protocol 2.15", kernel.Protocol);
        Assert.Equal(EntryMode.Protected32, entry.Mode);
        Assert.Equal(0x100_0000ul, entry.Rip);
    }

    [Fact]
    public void The_vmlinux_inside_the_686_pae_kernel_is_entered_by_its_PVH_note()
    {
        Tool.Require("xz", "xz-utils");
        byte[] image = File.ReadAllBytes(TestGuests.I386());
        int setup = (1 + image[0x1F1]) * 512;
        int offset = setup + BinaryPrimitives.ReadInt32LittleEndian(image.AsSpan(0x248)); // payload_offset
        int length = BinaryPrimitives.ReadInt32LittleEndian(image.AsSpan(0x24C)); // payload_length
        using var folder = new TemporaryFolder();
        folder.Write("vmlinux.xz", image[offset..(offset + length - 4)]); // its size in 4 bytes follows
        (int status, string output) = Tool.Run("xz", folder.Path, null, "-d", "vmlinux.xz");
        Assert.True(status == 0, output);

        using KernelImage kernel = KernelImage.Load(Path.Combine(folder.Path, "vmlinux"));
        EntryState entry = Place(kernel, 128);
        Assert.Equal("PVH, 32-bit ELF", kernel.Protocol);
        Assert.InRange(entry.Rip, 0x100_0000ul, 0x100_FFFFul);
    }

    [Fact]
    public void A_kernel_cut_at_any_place_is_refused()
    {
        byte[] image = File.ReadAllBytes(TestGuests.Cloud());
        foreach (int length in new[] { 0, 1, 0x1FF, 0x210, 0x300, 4096, 100_000, image.Length / 2, image.Length - 8192 })
        {
            Assert.Throws<BootException>(() => Kernels.Load(image[..length]));
        }
    }

    private static EntryState Place(KernelImage kernel, ulong mebibytes)
    {
        PlatformLayout layout = new() { MemorySize = mebibytes << 20 };
        using var machine = new TestMemory(layout);
        return new BootPlan { Kernel = kernel, CommandLine = "console=ttyS0" }.Place(machine.Memory, layout);
    }
}
