namespace Vivarium.Engine.Software;

/// <summary>Which rights data accesses of translated code have: one software TLB and one jump cache each.</summary>
internal enum AddressSpace : byte
{
    /// <summary>CPL 3.</summary>
    User = 0,

    /// <summary>CPL 0-2; SMAP, where on, forbids user pages.</summary>
    Supervisor = 1,

    /// <summary>CPL 0-2 with EFLAGS.AC set: SMAP is suspended.</summary>
    SupervisorAc = 2,
}

internal enum Access : byte
{
    Read = 0,
    Write = 1,
    Execute = 2,

    /// <summary>A debugger looks where something is mapped: every right, and nothing is noted.</summary>
    Inspect = 3,
}
