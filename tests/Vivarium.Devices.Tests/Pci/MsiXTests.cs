namespace Vivarium.Devices.Tests;

public sealed class MsiXTests : IDisposable
{
    private const int Vectors = 40;
    private const uint Masked = 1;
    private const uint FunctionMask = 1 << 14;
    private const uint Enable = 1u << 15;

    private readonly VirtioMachine _machine = new();
    private readonly PciFunction _function = new("test", new PciIdentity(1, 2, 3, 4, 5, 6));
    private readonly int _device;
    private readonly int _control;
    private readonly ulong _table;
    private readonly ulong _pending;

    public MsiXTests()
    {
        _function.AddMsiX(Vectors, 1);
        _device = _machine.Pci.Attach(_function);
        var at = (int)_machine.ReadPci(_device, 0x34, 1);
        Assert.Equal(0x11u, _machine.ReadPci(_device, at, 1));
        _control = at + 2;
        Assert.Equal(Vectors - 1u, _machine.ReadPci(_device, _control, 2));
        var bar = _machine.ReadPci(_device, 0x14, 4);
        _table = bar + (_machine.ReadPci(_device, at + 4, 4) & ~7u);
        _pending = bar + (_machine.ReadPci(_device, at + 8, 4) & ~7u);
        _machine.WritePci(_device, 4, 2, 6);
    }

    private bool Waits => _machine.Board.Apic.HasInterrupt;

    public void Dispose() => _machine.Dispose();

    [Fact]
    public void An_enabled_vector_sends_its_message()
    {
        Entry(3, 0x71, 0);
        _function.MsiX!.Signal(3);
        Assert.False(Waits);
        _machine.WritePci(_device, _control, 2, Enable);
        _function.MsiX.Signal(3);
        Assert.Equal(0x71, Take());
        _function.MsiX.Signal(Vectors);
        _function.MsiX.Signal(-1);
        _function.MsiX.Signal(4);
        Assert.False(Waits);
    }

    [Fact]
    public void A_masked_vector_is_pending_and_comes_once_when_it_is_unmasked()
    {
        Entry(35, 0x72, Masked);
        _machine.WritePci(_device, _control, 2, Enable);
        _function.MsiX!.Signal(35);
        _function.MsiX.Signal(35);
        Assert.False(Waits);
        Assert.Equal(1ul << 35, _machine.Board.Mmio.Read(_pending, 8));
        Assert.Equal(8u, (uint)_machine.Board.Mmio.Read(_pending + 4, 4));
        _machine.Board.Mmio.Write(_table + 35 * 16 + 12, 4, 0);
        Assert.Equal(0x72, Take());
        Assert.False(Waits);
        Assert.Equal(0ul, _machine.Board.Mmio.Read(_pending, 8));
    }

    [Fact]
    public void The_function_mask_holds_all_vectors_back()
    {
        Entry(0, 0x70, 0);
        Entry(1, 0x71, 0);
        _machine.WritePci(_device, _control, 2, Enable | FunctionMask);
        _function.MsiX!.Signal(0);
        _function.MsiX.Signal(1);
        Assert.False(Waits);
        _machine.WritePci(_device, _control, 2, Enable);
        Assert.Equal(0x71, Take());
        Assert.Equal(0x70, Take());
        Assert.False(Waits);
    }

    [Fact]
    public void Switching_off_forgets_what_was_pending_and_gives_the_pin_back()
    {
        _machine.Board.Redirect(16 + (_device + 3) % 4, 0x60 | 1 << 15);
        Entry(0, 0x70, Masked);
        _machine.WritePci(_device, _control, 2, Enable);
        _function.MsiX!.Signal(0);
        _function.SetInterrupt(true);
        Assert.False(Waits);
        _machine.WritePci(_device, _control, 2, 0);
        Assert.Equal(0x60, _machine.Board.Apic.AcknowledgeInterrupt());
        _function.SetInterrupt(false);
        _machine.Board.EndOfInterrupt();
        _machine.Board.Mmio.Write(_table + 12, 4, 0);
        _machine.WritePci(_device, _control, 2, Enable);
        Assert.False(Waits);
    }

    [Fact]
    public void Without_bus_mastering_messages_wait()
    {
        Entry(0, 0x70, 0);
        _machine.WritePci(_device, _control, 2, Enable);
        _machine.WritePci(_device, 4, 2, 2);
        _function.MsiX!.Signal(0);
        Assert.False(Waits);
        _machine.WritePci(_device, 4, 2, 6);
        Assert.Equal(0x70, Take());
    }

    [Fact]
    public void The_table_keeps_what_is_written_and_starts_masked()
    {
        Assert.Equal(Masked, (uint)_machine.Board.Mmio.Read(_table + 12, 4));
        _machine.Board.Mmio.Write(_table + 16, 8, 0x1122_3344_5566_7788);
        Assert.Equal(0x1122_3344_5566_7788ul, _machine.Board.Mmio.Read(_table + 16, 8));
        Assert.Equal(0x5566_7788ul, _machine.Board.Mmio.Read(_table + 16, 4));
        Assert.Equal(0x77ul, _machine.Board.Mmio.Read(_table + 17, 1));

        // Less than a dword is no write; the pending bits are read-only.
        _machine.Board.Mmio.Write(_table + 16, 1, 0);
        Assert.Equal(0x5566_7788ul, _machine.Board.Mmio.Read(_table + 16, 4));
        _machine.Board.Mmio.Write(_pending, 8, ulong.MaxValue);
        Assert.Equal(0ul, _machine.Board.Mmio.Read(_pending, 8));
        _machine.Board.Mmio.Write(_table + 12, 4, uint.MaxValue);
        Assert.Equal(1u, (uint)_machine.Board.Mmio.Read(_table + 12, 4));
    }

    [Fact]
    public void A_message_to_anywhere_else_interrupts_nobody()
    {
        Entry(0, 0x70, 0);
        _machine.Board.Mmio.Write(_table, 8, 0x1_FEE0_0000);
        _machine.WritePci(_device, _control, 2, Enable);
        _function.MsiX!.Signal(0);
        _machine.Board.Mmio.Write(_table, 8, 0x1000);
        _function.MsiX.Signal(0);
        Assert.False(Waits);
    }

    private void Entry(int vector, uint data, uint control)
    {
        var at = _table + (ulong)(vector * 16);
        _machine.Board.Mmio.Write(at, 8, 0xFEE0_0000);
        _machine.Board.Mmio.Write(at + 8, 4, data);
        _machine.Board.Mmio.Write(at + 12, 4, control);
    }

    private int Take()
    {
        var vector = _machine.Board.Apic.AcknowledgeInterrupt();
        _machine.Board.EndOfInterrupt();
        return vector;
    }
}
