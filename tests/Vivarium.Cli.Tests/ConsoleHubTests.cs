using System.Text;
using Vivarium.Cli.Machines;
using Xunit;

namespace Vivarium.Cli.Tests;

/// <summary>One console, many who look.</summary>
public sealed class ConsoleHubTests
{
    [Fact]
    public async Task A_late_viewer_sees_what_is_kept_and_what_comes()
    {
        await using var hub = new ConsoleHub(null, size: 8);
        hub.Write("abcdefghij"u8);
        using ConsoleViewer viewer = hub.View();
        Assert.Equal("cdefghij", await Read(viewer));
        hub.Write("k"u8);
        Assert.Equal("k", await Read(viewer));
        hub.Complete();
        Assert.Equal("", await Read(viewer));
    }

    [Fact]
    public async Task A_viewer_that_falls_behind_is_told_how_much_it_missed()
    {
        await using var hub = new ConsoleHub(null, size: 8);
        using ConsoleViewer slow = hub.View();
        hub.Write("0123456789"u8);
        hub.Write("ab"u8);
        Assert.Equal("\r\n[viv: 4 bytes left out]\r\n", await Read(slow));
        Assert.Equal("456789ab", await Read(slow));
    }

    [Fact]
    public async Task Every_viewer_sees_everything_and_the_primary_too()
    {
        using var primary = new MemoryStream();
        await using var hub = new ConsoleHub(primary);
        using ConsoleViewer one = hub.View(), two = hub.View();
        hub.Write("hello"u8);
        Assert.Equal("hello", await Read(one));
        Assert.Equal("hello", await Read(two));
        Assert.Equal("hello", Encoding.ASCII.GetString(primary.ToArray()));
    }

    [Fact]
    public async Task A_primary_that_fails_is_dropped_and_viewers_go_on()
    {
        var broken = new MemoryStream();
        await broken.DisposeAsync();
        await using var hub = new ConsoleHub(broken);
        using ConsoleViewer viewer = hub.View();
        hub.Write("a"u8);
        hub.Write("b"u8);
        Assert.Equal("ab", await Read(viewer));
    }

    [Theory]
    [InlineData("plain", "plain")]
    [InlineData("a\u001b[6nb", "ab")]
    [InlineData("a\u001b[c\u001b[>0cb\u001b[?6n", "ab")]
    [InlineData("\u001b[31mred\u001b[0m", "\u001b[31mred\u001b[0m")]
    [InlineData("\u001b\u001b[6n", "\u001b")]
    [InlineData("\u001bc", "\u001bc")]
    [InlineData("\u001b(B", "\u001b(B")]
    [InlineData("\u001b[11111111111111111111n", "\u001b[11111111111111111111n")]
    [InlineData("\u001b]0;c\u0007", "\u001b]0;c\u0007")]
    public void Questions_to_the_terminal_are_taken_out_however_they_are_cut(string written, string shown)
    {
        byte[] bytes = Encoding.ASCII.GetBytes(written);
        for (int cut = 0; cut <= bytes.Length; cut++)
        {
            var filter = new TerminalQueryFilter();
            byte[] output = new byte[bytes.Length + (2 * TerminalQueryFilter.LongestQuery)];
            int length = filter.Filter(bytes.AsSpan(..cut), output);
            length += filter.Filter(bytes.AsSpan(cut..), output.AsSpan(length));
            Assert.Equal(shown, Encoding.ASCII.GetString(output, 0, length));
        }
    }

    private static async Task<string> Read(ConsoleViewer viewer)
    {
        byte[] buffer = new byte[256];
        return Encoding.ASCII.GetString(buffer, 0, await viewer.ReadAsync(buffer, TestContext.Current.CancellationToken));
    }
}
