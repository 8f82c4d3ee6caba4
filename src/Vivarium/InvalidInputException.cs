namespace Vivarium;

/// <summary>What was asked for cannot be: a wrong option, a file that is no kernel, more memory than there is.</summary>
public sealed class InvalidInputException : VivariumException
{
    public InvalidInputException(string sentence)
        : base(sentence)
    {
    }

    public InvalidInputException(string sentence, Exception cause)
        : base(sentence, cause)
    {
    }
}
