namespace Vivarium.Engine.Software;

/// <summary>RFLAGS (SDM vol. 1, 3.4.3).</summary>
internal static class RflagsBits
{
    public const ulong Cf = 1 << 0;
    public const ulong Fixed = 1 << 1;
    public const ulong Pf = 1 << 2;
    public const ulong Af = 1 << 4;
    public const ulong Zf = 1 << 6;
    public const ulong Sf = 1 << 7;
    public const ulong Tf = 1 << 8;
    public const ulong If = 1 << 9;
    public const ulong Df = 1 << 10;
    public const ulong Of = 1 << 11;
    public const ulong Iopl = 3 << 12;
    public const int IoplShift = 12;
    public const ulong Nt = 1 << 14;
    public const ulong Rf = 1 << 16;
    public const ulong Vm = 1 << 17;
    public const ulong Ac = 1 << 18;
    public const ulong Vif = 1 << 19;
    public const ulong Vip = 1 << 20;
    public const ulong Id = 1 << 21;
    public const ulong Arithmetic = Cf | Pf | Af | Zf | Sf | Of;
    public const ulong Defined = 0x3F7FD7;
}

/// <summary>CR0 (SDM vol. 3A, 2.5).</summary>
internal static class Cr0Bits
{
    public const ulong Pe = 1 << 0;
    public const ulong Mp = 1 << 1;
    public const ulong Em = 1 << 2;
    public const ulong Ts = 1 << 3;
    public const ulong Et = 1 << 4;
    public const ulong Ne = 1 << 5;
    public const ulong Wp = 1 << 16;
    public const ulong Am = 1 << 18;
    public const ulong Nw = 1 << 29;
    public const ulong Cd = 1 << 30;
    public const ulong Pg = 1ul << 31;
}

/// <summary>CR4 (SDM vol. 3A, 2.5).</summary>
internal static class Cr4Bits
{
    public const ulong Vme = 1 << 0;
    public const ulong Pvi = 1 << 1;
    public const ulong Tsd = 1 << 2;
    public const ulong De = 1 << 3;
    public const ulong Pse = 1 << 4;
    public const ulong Pae = 1 << 5;
    public const ulong Mce = 1 << 6;
    public const ulong Pge = 1 << 7;
    public const ulong Pce = 1 << 8;
    public const ulong OsFxsr = 1 << 9;
    public const ulong OsXmmExcpt = 1 << 10;
    public const ulong Umip = 1 << 11;
    public const ulong FsGsBase = 1 << 16;
    public const ulong Pcide = 1 << 17;
    public const ulong OsXsave = 1 << 18;
    public const ulong Smep = 1 << 20;
    public const ulong Smap = 1 << 21;
}

/// <summary>IA32_EFER (SDM vol. 3A, 2.2.1).</summary>
internal static class EferBits
{
    public const ulong Sce = 1 << 0;
    public const ulong Lme = 1 << 8;
    public const ulong Lma = 1 << 10;
    public const ulong Nxe = 1 << 11;
}
