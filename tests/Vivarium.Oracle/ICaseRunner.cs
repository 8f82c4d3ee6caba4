namespace Vivarium.Oracle;

/// <summary>Something that executes a case: the host CPU or an engine.</summary>
internal interface ICaseRunner
{
    string Name { get; }

    void Run(TestCase test, Outcome outcome);
}
