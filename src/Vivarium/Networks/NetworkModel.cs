namespace Vivarium;

/// <summary>Which network card a guest finds.</summary>
public enum NetworkModel
{
    /// <summary>The paravirtual card.</summary>
    Virtio,

    /// <summary>Intel 82540EM, gigabit.</summary>
    E1000,

    /// <summary>Realtek RTL8139C+, 100 Mb/s.</summary>
    Rtl8139,
}
