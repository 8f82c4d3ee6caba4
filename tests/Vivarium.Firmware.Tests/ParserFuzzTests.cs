using CsCheck;
using Vivarium.Firmware.Boot;

namespace Vivarium.Firmware.Tests;

/// <summary>Kernel files are hostile: whatever their bytes, the loaders accept them or refuse them with <see cref="BootException"/>.</summary>
public sealed class ParserFuzzTests
{
    private static readonly PlatformLayout Layout = new() { MemorySize = 64ul << 20 };

    /// <summary>Values at the edges of every field width.</summary>
    private static readonly ulong[] Edges =
    [
        0, 1, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x10_0000, 0x7FFF_FFFF, 0x8000_0000, 0xBFFF_FFFF, 0xFFFF_F000, 0xFFFF_FFFF,
        0x7FFF_FFFF_FFFF_FFFF, 0xFFFF_FFFF_0000_0000, ulong.MaxValue - 0xFFF, ulong.MaxValue,
    ];

    private static readonly Gen<ulong> Value = Gen.Frequency(
        (1, Gen.ULong),
        (1, Gen.Byte.Select(value => (ulong)value)),
        (2, Gen.Int[0, Edges.Length - 1].Select(i => Edges[i])));

    [Fact]
    public void Random_bytes() => Gen.Byte.Array[0, 2000].Sample(Survives);

    [Fact]
    public void Random_bytes_behind_a_signature() => Gen.Byte.Array[0x210, 6000].Sample(bytes =>
    {
        "HdrS"u8.CopyTo(bytes.AsSpan(0x202));
        Survives(bytes);
        "\u007FELF"u8.CopyTo(bytes);
        Survives(bytes);
    });

    [Fact]
    public void Damaged_bzImage_headers() => Damage(() => Kernels.BzImage(), 0x1F1, 0x268);

    [Fact]
    public void Damaged_32_bit_bzImage_headers() => Damage(() => Kernels.BzImage(is64Bit: false), 0x1F1, 0x268);

    [Fact]
    public void Damaged_ELF64_headers() => Damage(() => Kernels.Vmlinux(), 4, 0x180);

    [Fact]
    public void Damaged_ELF32_headers() => Damage(() => Kernels.Vmlinux(is64Bit: false), 4, 0x180);

    [Fact]
    public void Truncated_files() => Gen.Select(Gen.Bool, Gen.Int[0, 7000]).Sample((bzImage, length) =>
    {
        byte[] image = bzImage ? Kernels.BzImage() : Kernels.Vmlinux();
        Survives(image[..Math.Min(length, image.Length)]);
    });

    /// <summary>Overwrites up to four fields of 1, 2, 4 or 8 bytes between two offsets.</summary>
    private static void Damage(Func<byte[]> original, int start, int end)
    {
        Gen<(int Offset, int Width, ulong Value)> field = Gen.Select(Gen.Int[start, end - 8], Gen.Int[0, 3].Select(i => 1 << i), Value);
        field.Array[1, 4].Sample(
            fields =>
            {
                byte[] image = original();
                foreach ((int offset, int width, ulong value) in fields)
                {
                    for (int i = 0; i < width; i++)
                    {
                        image[offset + i] = (byte)(value >> (8 * i));
                    }
                }

                Survives(image);
            },
            iter: 2000);
    }

    private static void Survives(byte[] image)
    {
        try
        {
            using KernelImage kernel = Kernels.Load(image);
            var plan = new BootPlan
            {
                Kernel = kernel,
                Initrd = Initrd.FromBytes("initrd", new byte[5000]),
                CommandLine = "quiet",
                RngSeed = new byte[32],
            };
            plan.Check(Layout);
            using var machine = new TestMemory(Layout);
            EntryState entry = plan.Place(machine.Memory, Layout);
            Assert.True(machine.Memory.IsBacked(entry.Rip, 1));
        }
        catch (BootException refusal)
        {
            Assert.DoesNotContain('\n', refusal.Message);
        }
    }
}
