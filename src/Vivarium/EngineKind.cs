namespace Vivarium;

/// <summary>Which engine executes the guest.</summary>
public enum EngineKind
{
    /// <summary>The best that this host offers.</summary>
    Auto,

    /// <summary>Binary translation; works everywhere.</summary>
    Software,
}
