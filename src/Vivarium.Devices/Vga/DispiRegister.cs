namespace Vivarium.Devices;

/// <summary>The registers of the Bochs display interface (Bochs "VBE display interface", iodev/display/vga.h): 16 bits each, behind an index.</summary>
internal static class DispiRegister
{
    public const int Id = 0;
    public const int XResolution = 1;
    public const int YResolution = 2;
    public const int BitsPerPixel = 3;
    public const int Enable = 4;
    public const int Bank = 5;
    public const int VirtualWidth = 6;
    public const int VirtualHeight = 7;
    public const int XOffset = 8;
    public const int YOffset = 9;
    public const int VideoMemory = 10;
    public const int Count = 11;

    // Enable.
    public const ushort Enabled = 1 << 0;
    public const ushort GetCapabilities = 1 << 1;
    public const ushort EightBitDac = 1 << 5;
    public const ushort LinearFrameBuffer = 1 << 6;
    public const ushort NoClear = 1 << 7;

    /// <summary>The first version of the interface, and the present one.</summary>
    public const ushort FirstId = 0xB0C0, LastId = 0xB0C5;

    // What the capabilities say.
    public const ushort MostWidth = 2560, MostHeight = 1600, MostBitsPerPixel = 32;

    public const int BankSize = 64 * 1024;
}
