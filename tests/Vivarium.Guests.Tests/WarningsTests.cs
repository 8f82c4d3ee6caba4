using Xunit;

namespace Vivarium.Guests.Tests;

public sealed class WarningsTests
{
    [Fact]
    public void WhatIsSaidBeforeAnybodyListensIsHeard()
    {
        var warnings = new Warnings();
        warnings.Say("early");
        List<string> heard = [];
        warnings.Target = heard.Add;
        warnings.Say("late");
        warnings.Say("early");
        Assert.Equal(["early", "late"], heard);
    }
}
