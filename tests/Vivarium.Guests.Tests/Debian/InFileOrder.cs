using Xunit.Sdk;
using Xunit.v3;

namespace Vivarium.Guests.Tests.Debian;

/// <summary>Runs the tests of a class as they stand in its file: they share one machine, and the last one ends it.</summary>
public sealed class InFileOrder : ITestMethodOrderer
{
    public IReadOnlyCollection<TTestMethod?> OrderTestMethods<TTestMethod>(IReadOnlyCollection<TTestMethod?> testMethods)
        where TTestMethod : notnull, ITestMethod => [.. testMethods.OrderBy(test => (test as IXunitTestMethod)?.Method.MetadataToken)];
}
