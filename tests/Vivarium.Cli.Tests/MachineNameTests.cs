using Vivarium.Cli.Machines;
using Xunit;

namespace Vivarium.Cli.Tests;

/// <summary>What may name a machine.</summary>
public sealed class MachineNameTests
{
    [Theory]
    [InlineData("a")]
    [InlineData("web-1")]
    [InlineData("0")]
    [InlineData("a--b")]
    [InlineData("abcdefghijklmnopqrstuvwxyz0123456789-abcdefghijklmnopqrstuvwxyz")]
    public void A_host_name_label_is_a_name(string name) => MachineName.Check(name);

    [Theory]
    [InlineData("")]
    [InlineData("-a")]
    [InlineData("a-")]
    [InlineData("Web")]
    [InlineData("a.b")]
    [InlineData("a b")]
    [InlineData("a/b")]
    [InlineData("..")]
    [InlineData(".lock")]
    [InlineData("ä")]
    [InlineData("a\n")]
    [InlineData("a\0")]
    [InlineData("abcdefghijklmnopqrstuvwxyz0123456789-abcdefghijklmnopqrstuvwxyz0")]
    public void Anything_else_is_refused_in_words(string name) =>
        Assert.Contains("cannot name a machine", Assert.Throws<InvalidInputException>(() => MachineName.Check(name)).Message);

    [Fact]
    public void Made_up_names_are_two_words_and_valid()
    {
        var random = new Random(1);
        for (int i = 0; i < 10_000; i++)
        {
            string name = MachineName.MakeUp(random);
            Assert.True(MachineName.IsValid(name), name);
            Assert.Equal(2, name.Split('-').Length);
        }
    }
}
