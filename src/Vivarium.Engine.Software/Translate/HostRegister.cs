namespace Vivarium.Engine.Software.Translate;

/// <summary>
/// Host registers by encoding, and the part each plays in translated code. Guest RAX, RCX, RDX, RBX, RBP, RSI, RDI and
/// R8-R11 stay in the registers of the same name, so that instructions with implicit operands run as they are; guest
/// RSP stays in R12 (both need a SIB byte as a base); guest R12-R15 live in the state block.
/// </summary>
internal static class HostRegister
{
    public const int Rax = 0;
    public const int Rcx = 1;
    public const int Rdx = 2;
    public const int Rbx = 3;

    /// <summary>The host's own stack, always.</summary>
    public const int Rsp = 4;
    public const int Rbp = 5;
    public const int Rsi = 6;
    public const int Rdi = 7;

    /// <summary>Guest RSP.</summary>
    public const int GuestRsp = 12;

    /// <summary>Scratch: second operand, TLB index.</summary>
    public const int T2 = 13;

    /// <summary>Scratch: addresses.</summary>
    public const int T1 = 14;

    /// <summary>The state block.</summary>
    public const int State = 15;

    /// <summary>One bit for each guest register whose number in the host is another, or none.</summary>
    public const int MovedRegisters = 0xF010;

    /// <summary>One bit for each guest register of the state block.</summary>
    public const int StateRegisters = 0xF000;

    /// <summary>The host register that holds a guest register, or -1 for those in the state block.</summary>
    public static int Of(int guest) => guest switch
    {
        4 => GuestRsp,
        >= 12 => -1,
        _ => guest,
    };
}
