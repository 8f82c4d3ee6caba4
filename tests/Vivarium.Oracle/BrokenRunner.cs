namespace Vivarium.Oracle;

/// <summary>A runner with a chosen defect, to prove that the comparison notices it.</summary>
internal sealed class BrokenRunner(ICaseRunner inner, Action<TestCase, Outcome> defect) : ICaseRunner
{
    public string Name => $"broken {inner.Name}";

    public void Run(TestCase test, Outcome outcome)
    {
        inner.Run(test, outcome);
        defect(test, outcome);
    }
}
