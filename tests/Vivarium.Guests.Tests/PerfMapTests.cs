using System.Text;
using Vivarium.Profiling;
using Xunit;

namespace Vivarium.Guests.Tests;

/// <summary>Names of translated code for the host's perf.</summary>
public sealed class PerfMapTests
{
    [Fact]
    public void Lists_of_symbols_name_what_lies_between_them()
    {
        using var scratch = new Scratch();
        GuestSymbols symbols = Load(scratch, "ffffffff81000100 T second\nffffffff81000000 t first [module]\nffffffff81000080 D data\n0000000000000000 T hidden\nnonsense\nffffffff81000200 W a\u0001b\n");
        Assert.Equal(3, symbols.Count);
        Assert.Equal("first", symbols.NameOf(0xFFFF_FFFF_8100_0000));
        Assert.Equal("first", symbols.NameOf(0xFFFF_FFFF_8100_00FF));
        Assert.Equal("second", symbols.NameOf(0xFFFF_FFFF_8100_0100));
        Assert.Equal("a_b", symbols.NameOf(0xFFFF_FFFF_8100_0200));
        Assert.Equal("guest_ffffffff80ffffff", symbols.NameOf(0xFFFF_FFFF_80FF_FFFF));
        Assert.Equal("guest_ffffffff82000000", symbols.NameOf(0xFFFF_FFFF_8200_0000));
        Assert.Equal("guest_1000", GuestSymbols.Load([]).NameOf(0x1000));
    }

    [Fact]
    public void The_symbol_table_of_an_elf_file_is_read()
    {
        GuestSymbols symbols = GuestSymbols.Load(Elf(out string folder));
        try
        {
            Assert.Equal("function", symbols.NameOf(0x40_1008));
            Assert.Equal("guest_401010", symbols.NameOf(0x40_1010));
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    [Theory]
    [InlineData("")]
    [InlineData("no symbols here\n")]
    [InlineData("\u007fELF")]
    public void A_file_without_symbols_is_explained(string content)
    {
        using var scratch = new Scratch();
        Assert.Contains("has no symbols of code", Assert.Throws<InvalidInputException>(() => Load(scratch, content)).Message);
        Assert.Contains("cannot read symbols from", Assert.Throws<InvalidInputException>(() => GuestSymbols.Load([Path.Combine(scratch.Folder, "none")])).Message);
    }

    [Fact]
    public void A_damaged_elf_file_is_refused_or_read_but_never_more()
    {
        string good = Elf(out string folder)[0];
        try
        {
            byte[] file = File.ReadAllBytes(good);
            var random = new Random(1);
            for (int i = 0; i < 2000; i++)
            {
                byte[] damaged = file[..random.Next(file.Length + 1)];
                for (int j = random.Next(6); j > 0 && damaged.Length > 0; j--)
                {
                    damaged[random.Next(damaged.Length)] = (byte)random.Next(256);
                }

                try
                {
                    _ = ElfSymbols.TryRead(new MemoryStream(damaged), []);
                }
                catch (InvalidDataException)
                {
                }
            }
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    [Fact]
    public async Task Translations_are_named_in_a_file_that_only_its_owner_reads_and_that_is_no_trap()
    {
        using var scratch = new Scratch();
        string path = $"/tmp/perf-{Environment.ProcessId}.map";
        string prey = scratch.Write("prey", "keep me"u8);
        File.Delete(path);
        File.CreateSymbolicLink(path, prey);
        var spec = new MachineSpec
        {
            Kernel = scratch.Write("kernel", TinyKernel.Print("abc")),
            PerfMap = new PerfMapSpec { Symbols = [scratch.Write("System.map", "0000000000100000 T entry\n0000000000100006 T rest\n"u8)] },
        };
        await using (VirtualMachine machine = VirtualMachine.Create(spec))
        {
            machine.Start();
            _ = await machine.WaitAsync(TestContext.Current.CancellationToken);
        }

        Assert.Equal("keep me", File.ReadAllText(prey));
        Assert.Null(File.ResolveLinkTarget(path, returnFinalTarget: false));
        Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite, File.GetUnixFileMode(path));
        string[] lines = File.ReadAllLines(path);
        File.Delete(path);
        Assert.EndsWith(" vivarium_thunks", lines[0]);
        Assert.Contains(lines, line => line.EndsWith(" entry", StringComparison.Ordinal));
        Assert.Contains(lines, line => line.EndsWith(" rest", StringComparison.Ordinal));
        Assert.All(lines, line => Assert.Matches("^[0-9a-f]+ [0-9a-f]+ [!-~]+$", line));
    }

    private static GuestSymbols Load(Scratch scratch, string content) => GuestSymbols.Load([scratch.Write("symbols", Encoding.Latin1.GetBytes(content))]);

    /// <summary>An ELF file of three sections: none, symbols, their names. One function of 16 bytes at 401000H.</summary>
    private static string[] Elf(out string folder)
    {
        const int symbols = 0x40, names = 0x80, sections = 0xC0;
        byte[] file = new byte[sections + (3 * 64)];
        using (var writer = new BinaryWriter(new MemoryStream(file)))
        {
            writer.Write("\u007fELF"u8);
            writer.Write((byte)2);
            writer.Write((byte)1);
            writer.Seek(40, SeekOrigin.Begin);
            writer.Write((ulong)sections);
            writer.Seek(60, SeekOrigin.Begin);
            writer.Write((ushort)3);
            writer.Seek(symbols + 24, SeekOrigin.Begin);
            writer.Write(1u);
            writer.Write((byte)0x12);
            writer.Write((byte)0);
            writer.Write((ushort)1);
            writer.Write(0x40_1000ul);
            writer.Write(16ul);
            writer.Seek(names + 1, SeekOrigin.Begin);
            writer.Write("function\0"u8);
            Section(writer, sections + 64, 2, symbols, 48, 2);
            Section(writer, sections + 128, 3, names, 16, 0);
        }

        folder = Directory.CreateTempSubdirectory("vivarium-test-").FullName;
        string path = Path.Combine(folder, "program");
        File.WriteAllBytes(path, file);
        return [path];
    }

    private static void Section(BinaryWriter writer, int header, uint type, ulong offset, ulong size, uint link)
    {
        writer.Seek(header + 4, SeekOrigin.Begin);
        writer.Write(type);
        writer.Seek(header + 24, SeekOrigin.Begin);
        writer.Write(offset);
        writer.Write(size);
        writer.Write(link);
    }
}
