namespace Vivarium.Engine.Software;

// What translated code is specialised for.
internal sealed unsafe partial class SoftwareVcpu
{
    /// <summary>
    /// To be called after any change of CR0, CR4, EFER, XCR0, CPL, EFLAGS.TF/AC/VM, DR7 or a segment register:
    /// recomputes what translated code may take for granted (segment limits, the block mode).
    /// </summary>
    public void UpdateMode() => throw new NotImplementedException();
}
