using Vivarium.Cli.Guests;
using Xunit;
using static Vivarium.Guests.Tests.LinuxShell;

namespace Vivarium.Guests.Tests.Firmware;

/// <summary>32-bit Linux on the classic PC, with both of its ways of paging.</summary>
public sealed class Linux32Tests
{
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void It_finds_the_board_and_gives_a_shell(bool pae)
    {
        BootSet guest = pae ? TestGuests.I386 : TestGuests.I386WithoutPae;
        using VivProcess viv = Boot(guest, "", "--virt", "full");
        Assert.Matches(pae ? @"^Linux vivarium 6\.1\..*-686-pae .* i686" : @"^Linux vivarium 6\.1\..*-686 .* i686", Answer(viv, "uname -a"));
        Assert.Equal("0", Answer(viv, "grep -c hypervisor /proc/cpuinfo"));
        CheckKernelLog(viv);
        PowerOff(viv);
    }
}
