namespace Vivarium.Engine.Tracing;

/// <summary>What a <see cref="TraceRecord"/> tells.</summary>
public enum TraceEvent : byte
{
    /// <summary><see cref="TraceRecord.Detail"/>: the <see cref="ExitCause"/>.</summary>
    Exit,

    /// <summary><see cref="TraceRecord.Detail"/>: the vector; of an NMI, 2.</summary>
    Interrupt,

    /// <summary><see cref="TraceRecord.Detail"/>: bytes; <see cref="TraceRecord.Address"/>: guest-physical.</summary>
    MmioRead,

    /// <summary>As <see cref="MmioRead"/>.</summary>
    MmioWrite,

    /// <summary><see cref="TraceRecord.Detail"/>: bytes; <see cref="TraceRecord.Address"/>: the port.</summary>
    PortRead,

    /// <summary>As <see cref="PortRead"/>.</summary>
    PortWrite,

    /// <summary><see cref="TraceRecord.Address"/>: the register's index.</summary>
    MsrRead,

    /// <summary>As <see cref="MsrRead"/>.</summary>
    MsrWrite,

    /// <summary>The access is #GP. <see cref="TraceRecord.Address"/>: the register's index.</summary>
    MsrReadRefused,

    /// <summary>As <see cref="MsrReadRefused"/>.</summary>
    MsrWriteRefused,
}
