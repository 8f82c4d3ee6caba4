namespace Vivarium.Devices;

/// <summary>
/// The transceiver inside the card (Marvell 88E1011; 8254x developer's manual, 13.4.8), reached through MDIC: a link of
/// 1000 Mb/s, full duplex, that is always there.
/// </summary>
internal sealed class E1000Phy
{
    private const int Registers = 32;
    private const uint Address = 1;

    // MDIC.
    private const int RegisterShift = 16;
    private const int AddressShift = 21;
    private const int OperationShift = 26;
    private const uint OperationMask = 3;
    private const uint WriteOperation = 1;
    private const uint ReadOperation = 2;
    private const uint Ready = 1 << 28;
    private const uint InterruptEnable = 1 << 29;
    private const uint Error = 1 << 30;

    // Registers (IEEE 802.3, 22.2.4, and the 88E1011's own).
    private const int Control = 0;
    private const int Status = 1;
    private const int Id1 = 2;
    private const int Id2 = 3;
    private const int Advertisement = 4;
    private const int PartnerAbility = 5;
    private const int Expansion = 6;
    private const int GigabitControl = 9;
    private const int GigabitStatus = 10;
    private const int ExtendedStatus = 15;
    private const int SpecificControl = 16;
    private const int SpecificStatus = 17;
    private const int InterruptMask = 18;
    private const int ExtendedControl = 20;
    private const int PageSelect = 29;
    private const int PageData = 30;

    // Control register.
    private const ushort Reset = 1 << 15;
    private const ushort Loopback = 1 << 14;
    private const ushort Negotiate = 1 << 12;
    private const ushort PowerDown = 1 << 11;
    private const ushort Restart = 1 << 9;
    private const ushort ControlDefault = Negotiate | 1 << 8 | 1 << 6;

    private static readonly (int Register, ushort Value)[] s_defaults =
    [
        (Control, ControlDefault),

        // Everything up to gigabit; negotiated; link up.
        (Status, 0x796D),
        (Id1, 0x0141),
        (Id2, 0x0C20),
        (Advertisement, 0x0DE1),
        (PartnerAbility, 0xCDE1),
        (Expansion, 0x0001),
        (GigabitControl, 0x0E00),
        (GigabitStatus, 0x3C00),
        (ExtendedStatus, 0x3000),
        (SpecificControl, 0x0068),

        // 1000 Mb/s, full duplex, resolved, link up.
        (SpecificStatus, 0xAC08),
        (ExtendedControl, 0x0D60),
    ];

    private readonly ushort[] _registers = new ushort[Registers];
    private uint _access = Ready;

    public E1000Phy() => SetDefaults();

    /// <summary>What is sent comes back.</summary>
    public bool LoopsBack => (_registers[Control] & Loopback) != 0;

    public uint Read() => _access;

    /// <summary>Carries out an access, which is over at once.</summary>
    /// <param name="value">As written to MDIC.</param>
    /// <param name="linkChanged">The link was negotiated anew.</param>
    /// <returns>True if the guest wants an interrupt for the end of the access.</returns>
    public bool Access(uint value, out bool linkChanged)
    {
        var register = (int)(value >> RegisterShift) & (Registers - 1);
        var operation = value >> OperationShift & OperationMask;
        linkChanged = false;
        _access = (value & ~Error) | Ready;
        if ((value >> AddressShift & (Registers - 1)) != Address || operation is not (WriteOperation or ReadOperation))
            _access |= Error;
        else if (operation == WriteOperation)
            linkChanged = Write(register, (ushort)value);
        else
            _access = (_access & ~0xFFFFu) | _registers[register];
        return (value & InterruptEnable) != 0;
    }

    public void SetDefaults()
    {
        _registers.AsSpan().Clear();
        foreach (var (register, value) in s_defaults)
            _registers[register] = value;
    }

    public E1000PhyState Save() => new() { Registers = [.. _registers], Access = _access };

    public void Restore(E1000PhyState state)
    {
        state.Registers.CopyTo(_registers, 0);
        _access = state.Access | Ready;
    }

    public static bool IsValid(E1000PhyState? state) => state?.Registers is { Length: Registers };

    /// <summary>Returns true if the link is negotiated anew.</summary>
    private bool Write(int register, ushort value)
    {
        switch (register)
        {
            case Control:
                if ((value & Reset) != 0)
                {
                    SetDefaults();
                    return true;
                }

                var wasDown = (_registers[Control] & PowerDown) != 0;
                _registers[Control] = (ushort)(value & ~Restart);
                return (value & Restart) != 0 || (wasDown && (value & PowerDown) == 0);
            case Advertisement or 7 or GigabitControl or SpecificControl or InterruptMask or ExtendedControl or PageSelect or PageData:
                _registers[register] = value;
                return false;
            default:
                // Read-only, or not there.
                return false;
        }
    }
}
