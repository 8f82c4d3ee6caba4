using Vivarium.Firmware.Boot;

namespace Vivarium.Firmware.Tests;

public sealed class PvhKernelTests
{
    private static readonly PlatformLayout Layout = new() { MemorySize = 64ul << 20 };

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void A_vmlinux_starts_at_its_PVH_note_in_flat_protected_mode(bool is64Bit)
    {
        using var machine = new TestMemory(Layout);
        byte[] image = Kernels.Vmlinux(is64Bit);
        machine.Memory.Write(Kernels.PrefAddress + 0x1000, 0xDEAD_BEEFul);
        EntryState entry = new BootPlan { Kernel = Kernels.Load(image) }.Place(machine.Memory, Layout);

        Assert.Equal(EntryMode.Protected32, entry.Mode);
        Assert.Equal(Kernels.PvhEntry, entry.Rip);
        Assert.Equal(0x11ul, entry.Cr0);
        Assert.Equal(0ul, entry.Cr4 | entry.Efer);
        Assert.Equal(0xC09Bu, entry.Cs.Attributes);
        Assert.Equal(image[0x200..], machine.Bytes(Kernels.PrefAddress, 0x1000));
        Assert.Equal(0ul, machine.Memory.Read<ulong>(Kernels.PrefAddress + 0x1000));
    }

    [Fact]
    public void The_start_info_names_everything_the_kernel_gets()
    {
        using var machine = new TestMemory(Layout);
        EntryState entry = new BootPlan
        {
            Kernel = Kernels.Load(Kernels.Vmlinux()),
            Initrd = Initrd.FromBytes("initrd", new byte[] { 1, 2, 3, 4 }),
            CommandLine = "quiet",
        }.Place(machine.Memory, Layout);

        ulong info = entry.Rbx;
        Assert.Equal(0x336E_C578u, machine.Memory.Read<uint>(info));
        Assert.Equal(1u, machine.Memory.Read<uint>(info + 4));
        Assert.Equal(1u, machine.Memory.Read<uint>(info + 12));
        ulong module = machine.Memory.Read<ulong>(info + 16);
        Assert.Equal(0x0403_0201u, machine.Memory.Read<uint>(machine.Memory.Read<ulong>(module)));
        Assert.Equal(4ul, machine.Memory.Read<ulong>(module + 8));
        Assert.Equal("quiet\0", machine.Ascii(machine.Memory.Read<ulong>(info + 24), 6));
        Assert.Equal("RSD PTR ", machine.Ascii(machine.Memory.Read<ulong>(info + 32), 8));

        ulong map = machine.Memory.Read<ulong>(info + 40);
        IReadOnlyList<E820Entry> expected = E820Map.Build(Layout);
        Assert.Equal((uint)expected.Count, machine.Memory.Read<uint>(info + 48));
        for (int i = 0; i < expected.Count; i++)
        {
            ulong at = map + 24 * (ulong)i;
            Assert.Equal(expected[i], new E820Entry(
                machine.Memory.Read<ulong>(at), machine.Memory.Read<ulong>(at + 8), (E820Type)machine.Memory.Read<uint>(at + 16)));
        }
    }

    [Fact]
    public void Without_an_initrd_there_is_no_module()
    {
        using var machine = new TestMemory(Layout);
        EntryState entry = new BootPlan { Kernel = Kernels.Load(Kernels.Vmlinux()) }.Place(machine.Memory, Layout);
        Assert.Equal(0u, machine.Memory.Read<uint>(entry.Rbx + 12));
        Assert.Equal(0ul, machine.Memory.Read<ulong>(entry.Rbx + 16));
    }
}
