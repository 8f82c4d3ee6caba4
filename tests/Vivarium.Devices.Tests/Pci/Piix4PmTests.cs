namespace Vivarium.Devices.Tests;

/// <summary>The power management function of the PIIX4: where its ports are, and what they remember.</summary>
public class Piix4PmTests
{
    private const int PmBase = 0x40;
    private const int PmRegMisc = 0x80;
    private const int SmbBase = 0x90;
    private const int SmbHostConfig = 0xD2;
    private const ushort Pm = 0xB000;
    private const ushort Smb = 0xB100;

    private readonly Board _board = new();
    private readonly Piix4Pm _function;

    public Piix4PmTests()
    {
        _function = new Piix4Pm(_board.Ports, new AcpiPm(_board.Clock, _board.Interrupts.CreateIsaLine(AcpiPm.SciIrq)));
    }

    [Fact]
    public void The_ports_are_where_firmware_puts_them()
    {
        Assert.Null(_function.Base);
        Place();
        Assert.Equal(Pm, _function.Base);
        Assert.Equal(1u, _board.Ports.Read(Pm + 4, 2));
        _function.Function.WriteConfig(PmRegMisc, 1, 0);
        Assert.Null(_function.Base);
        Assert.Equal(0xFFFFu, _board.Ports.Read(Pm + 4, 2));
    }

    [Fact]
    public void Every_transfer_on_the_smbus_ends_in_an_error()
    {
        Place();
        _board.Out(Smb + 4, 0xA1);
        _board.Out(Smb + 2, 0x48);
        Assert.Equal(0xA1, _board.In(Smb + 4));
        Assert.Equal(0x08, _board.In(Smb + 2));
        Assert.Equal(0x04, _board.In(Smb));
        _board.Out(Smb, 0x04);
        Assert.Equal(0, _board.In(Smb));
    }

    [Fact]
    public void A_restore_brings_the_ports_and_the_smbus_registers_back()
    {
        Place();
        _board.Out(Smb + 4, 0xA1);
        _board.Out(Smb + 2, 0x48);
        Piix4PmState state = _function.Save();

        var other = new Board();
        var restored = new Piix4Pm(other.Ports, new AcpiPm(other.Clock, other.Interrupts.CreateIsaLine(AcpiPm.SciIrq)));
        restored.Restore(state);
        Assert.Equal(Pm, restored.Base);
        Assert.Equal(0xA1, other.In(Smb + 4));
        Assert.Equal(0x04, other.In(Smb));

        Assert.Throws<InvalidDataException>(() => restored.Restore(state with { Smbus = [] }));
        Assert.Throws<InvalidDataException>(() => restored.Restore(state with { Function = null }));
        Assert.Throws<InvalidDataException>(() => restored.Restore(state with { Version = 2 }));
    }

    private void Place()
    {
        _function.Function.WriteConfig(PmBase, 4, Pm);
        _function.Function.WriteConfig(PmRegMisc, 1, 1);
        _function.Function.WriteConfig(SmbBase, 4, Smb);
        _function.Function.WriteConfig(SmbHostConfig, 1, 1);
    }
}
