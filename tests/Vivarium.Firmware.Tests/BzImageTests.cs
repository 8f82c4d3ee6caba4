using Vivarium.Firmware.Boot;

namespace Vivarium.Firmware.Tests;

public sealed class BzImageTests
{
    private const ulong BootParams = LowMemory.BootParams;
    private static readonly PlatformLayout Layout = new() { MemorySize = 64ul << 20 };

    [Fact]
    public void A_64_bit_kernel_starts_at_startup_64_in_long_mode()
    {
        using var machine = new TestMemory(Layout);
        EntryState entry = Place(machine, new BootPlan { Kernel = Kernels.Load(Kernels.BzImage()) });

        Assert.Equal(EntryMode.Long64, entry.Mode);
        Assert.Equal(Kernels.PrefAddress + 0x200, entry.Rip);
        Assert.Equal(BootParams, entry.Rsi);
        Assert.Equal(2ul, entry.Rflags);
        Assert.Equal(0x8000_0011ul, entry.Cr0);
        Assert.Equal(0x20ul, entry.Cr4);
        Assert.Equal(0x500ul, entry.Efer);
        Assert.Equal(new SegmentState(0x10, 0, 0xFFFF_FFFF, 0xA09B), entry.Cs);
        Assert.Equal(new SegmentState(0x18, 0, 0xFFFF_FFFF, 0xC093), entry.Ss);
        Assert.Equal(0x00AF_9B00_0000_FFFFul, machine.Memory.Read<ulong>(entry.GdtBase + 0x10));
        Assert.Equal(0x00CF_9300_0000_FFFFul, machine.Memory.Read<ulong>(entry.GdtBase + 0x18));
        Assert.Equal(0x1F, entry.GdtLimit);
    }

    [Fact]
    public void A_kernel_without_64_bit_entry_starts_in_flat_protected_mode()
    {
        using var machine = new TestMemory(Layout);
        EntryState entry = Place(machine, new BootPlan { Kernel = Kernels.Load(Kernels.BzImage(is64Bit: false)) });

        Assert.Equal(EntryMode.Protected32, entry.Mode);
        Assert.Equal(Kernels.PrefAddress, entry.Rip);
        Assert.Equal(BootParams, entry.Rsi);
        Assert.Equal(0ul, entry.Rbx | entry.Rbp | entry.Rdi);
        Assert.Equal(0x11ul, entry.Cr0);
        Assert.Equal(0ul, entry.Cr3 | entry.Cr4 | entry.Efer);
        Assert.Equal(new SegmentState(0x10, 0, 0xFFFF_FFFF, 0xC09B), entry.Cs);
        Assert.Equal(0x00CF_9B00_0000_FFFFul, machine.Memory.Read<ulong>(entry.GdtBase + 0x10));
    }

    [Fact]
    public void The_page_tables_map_4_GiB_one_to_one()
    {
        using var machine = new TestMemory(Layout);
        EntryState entry = Place(machine, new BootPlan { Kernel = Kernels.Load(Kernels.BzImage()) });

        foreach (ulong address in new[] { 0ul, 0x9FC00ul, Kernels.PrefAddress, 0x7FFF_FFFFul, 0xFEE0_0000ul, 0xFFFF_FFFFul })
        {
            ulong pdpt = machine.Memory.Read<ulong>(entry.Cr3 + 8 * (address >> 39));
            ulong directory = machine.Memory.Read<ulong>((pdpt & ~0xFFFul) + 8 * (address >> 30 & 0x1FF));
            ulong page = machine.Memory.Read<ulong>((directory & ~0xFFFul) + 8 * (address >> 21 & 0x1FF));
            Assert.Equal(3ul, pdpt & 0xFFF);
            Assert.Equal(3ul, directory & 0xFFF);
            Assert.Equal((address & ~0x1F_FFFFul) | 0x83, page);
        }
    }

    [Fact]
    public void The_kernel_gets_its_own_header_back_with_what_the_loader_adds()
    {
        using var machine = new TestMemory(Layout);
        byte[] image = Kernels.BzImage();
        byte[] initrd = [.. Enumerable.Range(0, 5000).Select(i => (byte)i)];
        byte[] seed = [.. Enumerable.Range(100, 32).Select(i => (byte)i)];
        Place(machine, new BootPlan
        {
            Kernel = Kernels.Load(image),
            Initrd = Initrd.FromBytes("initrd", initrd),
            CommandLine = "console=ttyS0 quiet",
            RngSeed = seed,
        });

        Assert.Equal(image[Kernels.KernelOffset..], machine.Bytes(Kernels.PrefAddress, Kernels.KernelSize));
        Assert.Equal("HdrS", machine.Ascii(BootParams + 0x202, 4));
        Assert.Equal(0, machine.Memory.Read<byte>(BootParams + 0x1EF)); // sentinel
        Assert.Equal(0xFF, machine.Memory.Read<byte>(BootParams + 0x210)); // type_of_loader
        Assert.Equal(1, machine.Memory.Read<byte>(BootParams + 0x211)); // LOADED_HIGH only
        Assert.Equal((uint)Kernels.PrefAddress, machine.Memory.Read<uint>(BootParams + 0x214));
        Assert.Equal(Kernels.InitSize, machine.Memory.Read<uint>(BootParams + 0x260));

        ulong ramdisk = machine.Memory.Read<uint>(BootParams + 0x218);
        Assert.Equal(0ul, ramdisk % 4096);
        Assert.Equal((uint)initrd.Length, machine.Memory.Read<uint>(BootParams + 0x21C));
        Assert.Equal(initrd, machine.Bytes(ramdisk, initrd.Length));
        Assert.InRange(ramdisk, Kernels.PrefAddress + Kernels.InitSize, Layout.AcpiAreaStart - (ulong)initrd.Length);

        ulong commandLine = machine.Memory.Read<uint>(BootParams + 0x228);
        Assert.Equal("console=ttyS0 quiet\0", machine.Ascii(commandLine, 20));

        ulong setupData = machine.Memory.Read<ulong>(BootParams + 0x250);
        Assert.Equal(0ul, machine.Memory.Read<ulong>(setupData));
        Assert.Equal(9u, machine.Memory.Read<uint>(setupData + 8)); // SETUP_RNG_SEED
        Assert.Equal(32u, machine.Memory.Read<uint>(setupData + 12));
        Assert.Equal(seed, machine.Bytes(setupData + 16, 32));

        Assert.Equal("RSD PTR ", machine.Ascii(machine.Memory.Read<ulong>(BootParams + 0x70), 8));
    }

    [Fact]
    public void The_memory_map_reaches_the_kernel()
    {
        PlatformLayout layout = new() { MemorySize = 4ul << 30 };
        using var machine = new TestMemory(layout);
        BootPlan plan = new() { Kernel = Kernels.Load(Kernels.BzImage()) };
        plan.Place(machine.Memory, layout);

        IReadOnlyList<E820Entry> map = E820Map.Build(layout);
        Assert.Equal(map.Count, machine.Memory.Read<byte>(BootParams + 0x1E8));
        for (int i = 0; i < map.Count; i++)
        {
            ulong at = BootParams + 0x2D0 + 20 * (ulong)i;
            Assert.Equal(map[i], new E820Entry(
                machine.Memory.Read<ulong>(at), machine.Memory.Read<ulong>(at + 8), (E820Type)machine.Memory.Read<uint>(at + 16)));
        }
    }

    [Fact]
    public void Without_a_seed_and_an_initrd_their_fields_are_zero()
    {
        using var machine = new TestMemory(Layout);
        Place(machine, new BootPlan { Kernel = Kernels.Load(Kernels.BzImage()), RngSeed = default });
        Assert.Equal(0ul, machine.Memory.Read<ulong>(BootParams + 0x250));
        Assert.Equal(0ul, machine.Memory.Read<ulong>(BootParams + 0x218));
    }

    [Fact]
    public void Bytes_after_the_declared_kernel_such_as_a_signature_are_not_loaded()
    {
        using var machine = new TestMemory(Layout);
        byte[] image = [.. Kernels.BzImage(), .. Enumerable.Repeat((byte)0xEE, 1472)];
        Place(machine, new BootPlan { Kernel = Kernels.Load(image) });
        Assert.Equal(0ul, machine.Memory.Read<ulong>(Kernels.PrefAddress + Kernels.KernelSize));
    }

    [Fact]
    public void Old_kernels_load_at_1_MiB()
    {
        using var machine = new TestMemory(Layout);
        EntryState entry = Place(machine, new BootPlan { Kernel = Kernels.Load(Kernels.BzImage(version: 0x0206)) });
        Assert.Equal(EntryMode.Protected32, entry.Mode);
        Assert.Equal(0x10_0000ul, entry.Rip);
        Assert.Equal(0ul, machine.Memory.Read<ulong>(BootParams + 0x250));
    }

    [Fact]
    public void The_initrd_stays_below_the_kernels_limit()
    {
        byte[] image = Kernels.BzImage();
        Kernels.U32(image, 0x22C, 0x01FF_FFFF);
        using var machine = new TestMemory(Layout);
        Place(machine, new BootPlan { Kernel = Kernels.Load(image), Initrd = Initrd.FromBytes("initrd", new byte[10]) });
        Assert.Equal(0x01FF_F000u, machine.Memory.Read<uint>(BootParams + 0x218));
    }

    [Fact]
    public void The_longest_command_line_is_accepted()
    {
        using var machine = new TestMemory(Layout);
        string longest = new('x', 2047);
        Place(machine, new BootPlan { Kernel = Kernels.Load(Kernels.BzImage()), CommandLine = longest });
        Assert.Equal(longest + '\0', machine.Ascii(LowMemory.CommandLine, 2048));
    }

    [Fact]
    public void Placing_twice_gives_the_same_machine()
    {
        using var machine = new TestMemory(Layout);
        BootPlan plan = new() { Kernel = Kernels.Load(Kernels.BzImage()), CommandLine = "a" };
        EntryState first = Place(machine, plan);
        byte[] low = machine.Bytes(0, 0x10_0000);
        Assert.Equal(first, Place(machine, plan));
        Assert.Equal(low, machine.Bytes(0, 0x10_0000));
    }

    [Fact]
    public async Task A_kernel_may_come_through_a_pipe()
    {
        Tool.Require("mkfifo", "coreutils");
        using var folder = new TemporaryFolder();
        Tool.Run("mkfifo", folder.Path, null, "pipe");
        string pipe = Path.Combine(folder.Path, "pipe");
        Task writer = Task.Run(() => File.WriteAllBytes(pipe, Kernels.BzImage()), TestContext.Current.CancellationToken);
        using KernelImage kernel = KernelImage.Load(pipe);
        await writer;
        using var machine = new TestMemory(Layout);
        Assert.Equal(Kernels.PrefAddress + 0x200, Place(machine, new BootPlan { Kernel = kernel }).Rip);
    }

    private static EntryState Place(TestMemory machine, BootPlan plan) => plan.Place(machine.Memory, Layout);
}
