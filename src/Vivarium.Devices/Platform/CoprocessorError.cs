namespace Vivarium.Devices;

/// <summary>
/// How a PC tells of floating-point errors (82371SB data sheet, "Coprocessor Error Register"): the processor's FERR# raises IRQ 13
/// until the handler writes to port F0H. That the write lets further errors pass (IGNNE#) is not modelled: handlers clear the error.
/// </summary>
public sealed class CoprocessorError(InterruptLine line) : IPortDevice
{
    public const ushort Port = 0xF0;
    public const int Irq = 13;

    public void Map(PortBus ports) => ports.Map(Port, 1, this, "coprocessor error");

    /// <summary>FERR# is asserted. From any thread.</summary>
    public void Assert() => line.Raise();

    public uint ReadPort(ushort offset, int size) => uint.MaxValue;

    public void WritePort(ushort offset, int size, uint value) => line.Lower();

    /// <summary>Its only state is the level of its line.</summary>
    public CoprocessorErrorState Save() => new() { Asserted = line.Level };

    public void Restore(CoprocessorErrorState state)
    {
        StateFormat.Require(state.Version == CoprocessorErrorState.CurrentVersion, "coprocessor error");
        line.Set(state.Asserted);
    }
}
