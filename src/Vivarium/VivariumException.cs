namespace Vivarium;

/// <summary>Something went wrong that the user can understand: <see cref="Exception.Message"/> is one sentence that says what, and where possible what to do.</summary>
public class VivariumException : Exception
{
    public VivariumException(string sentence)
        : base(sentence)
    {
    }

    public VivariumException(string sentence, Exception cause)
        : base(sentence, cause)
    {
    }
}
