using Xunit.Sdk;
using Xunit.v3;

namespace Vivarium.Guests.Tests.Debian;

/// <summary>Runs the tests of a class as they stand in its file: they share one machine, and the last one ends it.</summary>
public sealed class InFileOrder : ITestCaseOrderer
{
    public IReadOnlyCollection<TTestCase> OrderTestCases<TTestCase>(IReadOnlyCollection<TTestCase> testCases)
        where TTestCase : notnull, ITestCase => [.. testCases.OrderBy(test => (test as IXunitTestCase)?.TestMethod.Method.MetadataToken)];
}
