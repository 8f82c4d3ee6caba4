namespace Vivarium.Engine.Software;

// What tests have happen to the vCPU out of the blue.
internal sealed unsafe partial class SoftwareVcpu
{
    /// <summary>Null: nothing does.</summary>
    private readonly Chaos? _chaos;

    /// <summary>Between two pieces of translated code.</summary>
    private void MakeTrouble(Chaos chaos)
    {
        if (chaos.Kicks)
        {
            Kick();
        }

        if (chaos.Flushes)
        {
            FlushTlb(keepGlobal: false);
        }

        if (chaos.Evicts(_code.Use.Blocks))
        {
            _code.Evict(this, onlyIfNeeded: false);
        }

        if (chaos.Polls)
        {
            S->RequestExit();
        }
    }
}
