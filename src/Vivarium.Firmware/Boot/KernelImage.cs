using System.Buffers.Binary;
using Vivarium.Memory;

namespace Vivarium.Firmware.Boot;

/// <summary>A kernel file whose boot protocol is known and whose header was found sound.</summary>
public abstract class KernelImage : IDisposable
{
    private const string WayOut = "give a bzImage, an ELF vmlinux with a PVH note, or a multiboot kernel";

    private protected KernelImage(ImageFile file) => File = file;

    /// <summary>Where the kernel came from.</summary>
    public string Name => File.Name;

    /// <summary>The boot protocol by which it will be entered, for people.</summary>
    public abstract string Protocol { get; }

    /// <summary>The longest command line in bytes, without a terminating zero.</summary>
    public abstract int CommandLineLimit { get; }

    private protected ImageFile File { get; }

    /// <summary>Opens a kernel and recognises its kind.</summary>
    /// <exception cref="BootException">The file is not a kernel that this machine can boot; the message says why.</exception>
    public static KernelImage Load(string path) => Recognise(ImageFile.Open(path, "kernel"));

    /// <summary>Reads a kernel from a stream to its end.</summary>
    /// <exception cref="BootException">It is not a kernel that this machine can boot; the message says why.</exception>
    public static KernelImage Load(Stream stream, string name) => Recognise(ImageFile.Read(name, stream));

    public void Dispose() => File.Dispose();

    /// <summary>Throws if the plan does not fit the machine.</summary>
    internal abstract void Check(BootPlan plan, PlatformLayout layout);

    /// <summary>Writes kernel, initrd, command line and parameters; <see cref="Check"/> has passed.</summary>
    internal abstract EntryState Place(BootPlan plan, GuestMemory memory, PlatformLayout layout, ulong rsdp);

    /// <summary>What firmware gets to start the kernel with.</summary>
    internal virtual FirmwareHandover HandOver(BootPlan plan, PlatformLayout layout) => throw new InvalidOperationException("firmware does not start this kernel");

    /// <summary>The command line as the kernel reads it, terminated.</summary>
    private protected byte[] EncodeCommandLine(string text)
    {
        if (text.Contains('\0'))
        {
            throw new BootException("the kernel command line contains a zero character; remove it");
        }

        byte[] bytes = new byte[System.Text.Encoding.UTF8.GetByteCount(text) + 1];
        if (bytes.Length - 1 > CommandLineLimit)
        {
            throw new BootException($"the kernel command line has {bytes.Length - 1} bytes, but {Name} takes at most {CommandLineLimit}; shorten it");
        }

        System.Text.Encoding.UTF8.GetBytes(text, bytes);
        return bytes;
    }

    private static KernelImage Recognise(ImageFile file)
    {
        try
        {
            return file.Length == 0
                ? throw new BootException($"{file.Name} is empty; {WayOut}")
                : BzImage.HasSignature(file) ? RealModeKernel.IsLikely(file) ? RealModeKernel.Parse(file) : BzImage.Parse(file)
                : Elf.IsElf(file) && PvhKernel.HasNote(file) ? PvhKernel.Parse(file)
                : MultibootHeader.Find(file) is { } header ? MultibootKernel.Parse(file, header)
                : Elf.IsElf(file) ? PvhKernel.Parse(file)
                : throw new BootException($"{file.Name} is not a Linux kernel: {WhatElse(file)}; {WayOut}");
        }
        catch
        {
            file.Dispose();
            throw;
        }
    }

    /// <summary>Names the kernels of other machines and the wrappings that people meet in practice.</summary>
    private static string WhatElse(ImageFile file)
    {
        Span<byte> head = stackalloc byte[64];
        if (!file.TryRead(0, head))
        {
            return $"it has only {file.Length} bytes";
        }

        uint magic = BinaryPrimitives.ReadUInt32LittleEndian(head[0x38..]);
        return magic switch
        {
            0x644D_5241 => "it is an image for ARM64, this machine is x86",
            0x0543_5352 => "it is an image for RISC-V, this machine is x86",
            _ when head[0] == 0x1F && head[1] == 0x8B => "it is compressed with gzip, unpack it first",
            _ when head[0] == 0xFD && head[1..].StartsWith("7zXZ"u8) => "it is compressed with xz, unpack it first",
            _ when BinaryPrimitives.ReadUInt32LittleEndian(head) == 0xFD2F_B528 => "it is compressed with zstd, unpack it first",
            _ when head.StartsWith("!<arch>"u8) => "it is a package, unpack it first",
            _ => "no 'HdrS' signature",
        };
    }
}
