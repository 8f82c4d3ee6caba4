namespace Vivarium.Engine.Tests.Smp;

/// <summary>Tests with several vCPUs run one at a time: they want the host's processors for themselves.</summary>
[CollectionDefinition(Name, DisableParallelization = true)]
public sealed class SmpCollection
{
    public const string Name = "Several vCPUs";
}
