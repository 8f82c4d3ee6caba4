namespace Vivarium;

/// <summary>Passes sentences on to the user, but not the same one again and again: a guest can cause thousands.</summary>
internal sealed class Warnings
{
    private const int Remembered = 64;

    private readonly Lock _lock = new();
    private readonly HashSet<string> _said = [];

    public Action<string>? Target { get; set; }

    public void Say(string sentence)
    {
        lock (_lock)
        {
            if (_said.Count >= Remembered || !_said.Add(sentence))
            {
                return;
            }
        }

        Target?.Invoke(sentence);
    }
}
