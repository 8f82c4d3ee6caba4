using System.Globalization;
using System.Text;
using Vivarium.Engine;

namespace Vivarium.Gdb.Registers;

/// <summary>A group of registers that GDB knows by the name of a feature.</summary>
internal sealed record Feature(string Name, string Types, IReadOnlyList<Register> Registers);

/// <summary>
/// All registers of a processor in the order of GDB's numbers, and the target description that tells them (GDB manual, "Target
/// Descriptions", "i386 Features").
/// </summary>
internal sealed class RegisterSet
{
    private const int Rsp = 4;
    private const int Cs = 1;
    private const int Fs = 4;
    private const int Gs = 5;
    private const uint KernelGsBase = 0xC000_0102;

    /// <summary>CF, PF, AF, ZF, SF, TF, IF, DF, OF, IOPL, NT, RF, AC, ID: not what changes the mode.</summary>
    private const ulong WritableFlags = 0x25_7FD5;

    /// <summary>GDB's order of RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI in 64-bit code.</summary>
    private static readonly int[] s_order64 = [0, 3, 1, 2, 6, 7, 5, 4, 8, 9, 10, 11, 12, 13, 14, 15];
    private static readonly string[] s_names64 = ["rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15"];
    private static readonly string[] s_names32 = ["eax", "ecx", "edx", "ebx", "esp", "ebp", "esi", "edi"];

    private const string FlagTypes = """
          <flags id="i386_eflags" size="4">
            <field name="CF" start="0" end="0"/>
            <field name="" start="1" end="1"/>
            <field name="PF" start="2" end="2"/>
            <field name="AF" start="4" end="4"/>
            <field name="ZF" start="6" end="6"/>
            <field name="SF" start="7" end="7"/>
            <field name="TF" start="8" end="8"/>
            <field name="IF" start="9" end="9"/>
            <field name="DF" start="10" end="10"/>
            <field name="OF" start="11" end="11"/>
            <field name="NT" start="14" end="14"/>
            <field name="RF" start="16" end="16"/>
            <field name="VM" start="17" end="17"/>
            <field name="AC" start="18" end="18"/>
            <field name="VIF" start="19" end="19"/>
            <field name="VIP" start="20" end="20"/>
            <field name="ID" start="21" end="21"/>
          </flags>

        """;

    private const string VectorTypes = """
          <vector id="v4f" type="ieee_single" count="4"/>
          <vector id="v2d" type="ieee_double" count="2"/>
          <vector id="v16i8" type="int8" count="16"/>
          <vector id="v8i16" type="int16" count="8"/>
          <vector id="v4i32" type="int32" count="4"/>
          <vector id="v2i64" type="int64" count="2"/>
          <union id="vec128">
            <field name="v4_float" type="v4f"/>
            <field name="v2_double" type="v2d"/>
            <field name="v16_int8" type="v16i8"/>
            <field name="v8_int16" type="v8i16"/>
            <field name="v4_int32" type="v4i32"/>
            <field name="v2_int64" type="v2i64"/>
            <field name="uint128" type="uint128"/>
          </union>
          <flags id="i386_mxcsr" size="4">
            <field name="IE" start="0" end="0"/>
            <field name="DE" start="1" end="1"/>
            <field name="ZE" start="2" end="2"/>
            <field name="OE" start="3" end="3"/>
            <field name="UE" start="4" end="4"/>
            <field name="PE" start="5" end="5"/>
            <field name="DAZ" start="6" end="6"/>
            <field name="IM" start="7" end="7"/>
            <field name="DM" start="8" end="8"/>
            <field name="ZM" start="9" end="9"/>
            <field name="OM" start="10" end="10"/>
            <field name="UM" start="11" end="11"/>
            <field name="PM" start="12" end="12"/>
            <field name="FZ" start="15" end="15"/>
          </flags>

        """;

    private readonly string _architecture;
    private readonly IReadOnlyList<Feature> _features;

    private RegisterSet(string architecture, IReadOnlyList<Feature> features)
    {
        _architecture = architecture;
        _features = features;
        All = [.. features.SelectMany(feature => feature.Registers)];
        Size = All.Sum(register => register.Bytes);
        Expedited = [.. Enumerable.Range(0, All.Count).Where(number => All[number].Name is "rip" or "rsp" or "rbp" or "eip" or "esp" or "ebp")];
        Rip = Enumerable.Range(0, All.Count).First(number => All[number].Name is "rip" or "eip");
        Description = Encoding.UTF8.GetBytes(Describe());
    }

    /// <summary>By GDB's number.</summary>
    public IReadOnlyList<Register> All { get; }

    /// <summary>Bytes of all registers: what 'g' answers.</summary>
    public int Size { get; }

    /// <summary>The numbers of registers that GDB wants at every stop.</summary>
    public IReadOnlyList<int> Expedited { get; }

    /// <summary>The number of the instruction pointer.</summary>
    public int Rip { get; }

    /// <summary>The target description, target.xml.</summary>
    public byte[] Description { get; }

    /// <summary>A processor with 64-bit registers, whatever mode it is in.</summary>
    /// <param name="hasAvx">It has YMM registers.</param>
    public static RegisterSet Create64(bool hasAvx) => new("i386:x86-64",
    [
        new Feature("org.gnu.gdb.i386.core", FlagTypes, [.. General(s_names64, s_order64, 64), .. CodeAndSegments("rip", 64), .. X87()]),
        new Feature("org.gnu.gdb.i386.sse", VectorTypes, [.. Vectors(16)]),
        .. Avx(hasAvx, 16),
        new Feature("org.gnu.gdb.i386.segments", "", [SegmentBase("fs_base", Fs), SegmentBase("gs_base", Gs)]),
        new Feature("org.vivarium.i386.system", "", [.. System(64)]),
    ]);

    /// <summary>A processor with 32-bit registers: the lower halves, where it has more.</summary>
    public static RegisterSet Create32(bool hasAvx) => new("i386",
    [
        new Feature("org.gnu.gdb.i386.core", FlagTypes, [.. General(s_names32, [0, 1, 2, 3, 4, 5, 6, 7], 32), .. CodeAndSegments("eip", 32), .. X87()]),
        new Feature("org.gnu.gdb.i386.sse", VectorTypes, [.. Vectors(8)]),
        .. Avx(hasAvx, 8),
        new Feature("org.vivarium.i386.system", "", [.. System(32)]),
    ]);

    /// <summary>The linear address of the next instruction: in 64-bit code RIP, otherwise CS.base + EIP.</summary>
    public static ulong LinearRip(CpuState state) => IsCode64(state) ? state.Rip : (uint)(state.Segments[Cs].Base + state.Rip);

    private static IEnumerable<Register> General(string[] names, int[] order, int bits) => order.Select(index =>
        new NumberRegister(names[index], bits, index is Rsp or Rsp + 1 ? "data_ptr" : bits == 64 ? "int64" : "int32", state => state.Gpr[index], (state, value) =>
        {
            state.Gpr[index] = value;
            return true;
        }));

    private static IEnumerable<Register> CodeAndSegments(string rip, int bits)
    {
        yield return new NumberRegister(rip, bits, "code_ptr", LinearRip, WriteLinearRip);
        yield return new NumberRegister("eflags", 32, "i386_eflags", state => state.Rflags, (state, value) =>
        {
            state.Rflags = (state.Rflags & ~WritableFlags) | (value & WritableFlags);
            return true;
        });

        // Selectors change only with their descriptors, which is the guest's to do.
        foreach ((string name, int index) in new[] { ("cs", Cs), ("ss", 2), ("ds", 3), ("es", 0), ("fs", Fs), ("gs", Gs) })
        {
            yield return new NumberRegister(name, 32, "int32", state => state.Segments[index].Selector);
        }
    }

    private static bool WriteLinearRip(CpuState state, ulong value)
    {
        state.Rip = IsCode64(state) ? value : (uint)(value - state.Segments[Cs].Base);
        state.Halted = false;
        return true;
    }

    private static IEnumerable<Register> X87()
    {
        for (int i = 0; i < 8; i++)
        {
            yield return new ExtendedRegister(Name("st", i), 80, "i387_ext", XsaveArea.X87, XsaveArea.Stack + (i * XsaveArea.RegisterSize));
        }

        yield return Word("fctrl", XsaveArea.ControlWord);
        yield return Word("fstat", XsaveArea.StatusWord);
        yield return new NumberRegister("ftag", 32, "int", XsaveArea.ReadTags, XsaveArea.WriteTags);
        yield return new NumberRegister("fiseg", 32, "int", _ => 0);
        yield return Pointer("fioff", XsaveArea.InstructionPointer);
        yield return new NumberRegister("foseg", 32, "int", _ => 0);
        yield return Pointer("fooff", XsaveArea.DataPointer);
        yield return Word("fop", XsaveArea.Opcode);

        static Register Word(string name, int offset)
            => new NumberRegister(name, 32, "int", state => XsaveArea.ReadWord(state, offset), (state, value) => XsaveArea.WriteWord(state, offset, value));
        static Register Pointer(string name, int offset)
            => new NumberRegister(name, 32, "int", state => XsaveArea.ReadPointer(state, offset), (state, value) => XsaveArea.WritePointer(state, offset, value));
    }

    private static IEnumerable<Register> Vectors(int count)
    {
        for (int i = 0; i < count; i++)
        {
            yield return new ExtendedRegister(Name("xmm", i), 128, "vec128", XsaveArea.Sse, XsaveArea.Xmm + (i * XsaveArea.RegisterSize));
        }

        yield return new NumberRegister("mxcsr", 32, "i386_mxcsr", XsaveArea.ReadMxcsr, XsaveArea.WriteMxcsr);
    }

    private static IEnumerable<Feature> Avx(bool has, int count) => !has ? [] :
    [
        new Feature("org.gnu.gdb.i386.avx", "",
            [.. Enumerable.Range(0, count).Select(i => new ExtendedRegister($"{Name("ymm", i)}h", 128, "uint128", XsaveArea.Avx, XsaveArea.YmmHigh + (i * XsaveArea.RegisterSize)))]),
    ];

    private static NumberRegister SegmentBase(string name, int index) => new(name, 64, "int", state => state.Segments[index].Base, (state, value) =>
    {
        if (!IsCanonical(value))
        {
            return false;
        }

        state.Segments[index].Base = value;
        return true;
    });

    /// <summary>To look at: a mode that was changed from outside would be one that no guest could get into.</summary>
    private static IEnumerable<Register> System(int bits)
    {
        if (bits == 64)
        {
            yield return Number("k_gs_base", state => state.Msrs.GetValueOrDefault(KernelGsBase));
        }

        yield return Number("cs_base", state => state.Segments[Cs].Base);
        yield return Number("cr0", state => state.Cr0);
        yield return Number("cr2", state => state.Cr2);
        yield return Number("cr3", state => state.Cr3);
        yield return Number("cr4", state => state.Cr4);
        yield return Number("cr8", state => state.Cr8);
        yield return Number("efer", state => state.Efer);

        Register Number(string name, Func<CpuState, ulong> get) => new NumberRegister(name, bits, bits == 64 ? "int64" : "int32", get);
    }

    private static bool IsCode64(CpuState state)
    {
        const ulong longModeActive = 1 << 10;
        return (state.Efer & longModeActive) != 0 && (state.Segments[Cs].Attributes & SegmentRegister.Long) != 0;
    }

    private static bool IsCanonical(ulong address) => (ulong)((long)(address << 16) >> 16) == address;

    private static string Name(string name, int number) => name + number.ToString(CultureInfo.InvariantCulture);

    private string Describe()
    {
        var xml = new StringBuilder();
        _ = xml.Append("<?xml version=\"1.0\"?>\n<!DOCTYPE target SYSTEM \"gdb-target.dtd\">\n<target version=\"1.0\">\n")
            .Append(CultureInfo.InvariantCulture, $"<architecture>{_architecture}</architecture>\n");
        int number = 0;
        foreach (Feature feature in _features)
        {
            _ = xml.Append(CultureInfo.InvariantCulture, $"<feature name=\"{feature.Name}\">\n").Append(feature.Types);
            foreach (Register register in feature.Registers)
            {
                _ = xml.Append(CultureInfo.InvariantCulture, $"  <reg name=\"{register.Name}\" bitsize=\"{register.Bits}\" type=\"{register.Type}\" regnum=\"{number++}\"/>\n");
            }

            _ = xml.Append("</feature>\n");
        }

        return xml.Append("</target>\n").ToString();
    }
}
