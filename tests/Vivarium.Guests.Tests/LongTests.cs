using Xunit;

namespace Vivarium.Guests.Tests;

/// <summary>Tests that take minutes, and so run only where VIVARIUM_LONG_TESTS is 1.</summary>
internal static class LongTests
{
    private const string Variable = "VIVARIUM_LONG_TESTS";

    /// <param name="why">What takes the time.</param>
    public static void SkipUnlessWanted(string why)
        => Assert.SkipUnless(Environment.GetEnvironmentVariable(Variable) == "1", $"{why}; {Variable}=1 ./test does it");
}
