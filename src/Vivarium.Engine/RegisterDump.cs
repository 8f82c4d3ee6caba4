using System.Globalization;
using System.Text;

namespace Vivarium.Engine;

/// <summary>A processor's registers as text, for people.</summary>
public static class RegisterDump
{
    private static readonly string[] s_general = ["RAX", "RCX", "RDX", "RBX", "RSP", "RBP", "RSI", "RDI", "R8 ", "R9 ", "R10", "R11", "R12", "R13", "R14", "R15"];
    private static readonly string[] s_segments = ["ES", "CS", "SS", "DS", "FS", "GS"];

    public static string Format(CpuState state)
    {
        var text = new StringBuilder();
        Line(text, $"RIP {state.Rip:x16}  RFLAGS {state.Rflags:x8}{(state.Halted ? "  halted" : "")}");
        for (int row = 0; row < s_general.Length; row += 4)
        {
            Line(text, $"{General(state, row)}  {General(state, row + 1)}  {General(state, row + 2)}  {General(state, row + 3)}");
        }

        for (int i = 0; i < s_segments.Length; i++)
        {
            Line(text, Segment(s_segments[i], state.Segments[i]));
        }

        Line(text, Segment("TR", state.Tr));
        Line(text, Segment("LD", state.Ldtr));
        Line(text, $"GDTR {state.GdtrBase:x16} {state.GdtrLimit:x4}  IDTR {state.IdtrBase:x16} {state.IdtrLimit:x4}");
        Line(text, $"CR0 {state.Cr0:x8}  CR2 {state.Cr2:x16}  CR3 {state.Cr3:x16}  CR4 {state.Cr4:x8}  EFER {state.Efer:x4}  XCR0 {state.Xcr0:x4}");
        return text.ToString().TrimEnd();
    }

    private static string General(CpuState state, int index) => $"{s_general[index]} {state.Gpr[index]:x16}";

    private static string Segment(string name, in SegmentRegister segment) =>
        $"{name}  {segment.Selector:x4}  base {segment.Base:x16}  limit {segment.Limit:x8}  attributes {segment.Attributes:x5}";

    private static void Line(StringBuilder text, FormattableString line) => text.Append(line.ToString(CultureInfo.InvariantCulture)).Append('\n');

    private static void Line(StringBuilder text, string line) => text.Append(line).Append('\n');
}
