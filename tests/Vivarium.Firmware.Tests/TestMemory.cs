using System.Text;
using Vivarium.Memory;

namespace Vivarium.Firmware.Tests;

/// <summary>Guest memory as a machine lays it out: RAM below and above the hole.</summary>
internal sealed class TestMemory : IDisposable
{
    public TestMemory(PlatformLayout layout)
    {
        Memory = new GuestMemory(layout.RamBelow4G + layout.RamAbove4G);
        Memory.AddSlot(0, layout.RamBelow4G);
        if (layout.RamAbove4G != 0)
        {
            Memory.AddSlot(PlatformLayout.HighRamStart, layout.RamAbove4G);
        }
    }

    public GuestMemory Memory { get; }

    public byte[] Bytes(ulong gpa, int length)
    {
        byte[] bytes = new byte[length];
        Memory.Read(gpa, bytes);
        return bytes;
    }

    public string Ascii(ulong gpa, int length) => Encoding.ASCII.GetString(Bytes(gpa, length));

    public void Dispose() => Memory.Dispose();
}
