namespace Vivarium;

/// <summary>Passes sentences on to the user, but not the same one again and again: a guest can cause thousands.</summary>
internal sealed class Warnings
{
    private const int Remembered = 64;

    private readonly Lock _lock = new();
    private readonly HashSet<string> _said = [];

    /// <summary>Said before anybody listened.</summary>
    private readonly List<string> _waiting = [];

    private Action<string>? _target;

    public Action<string>? Target
    {
        get => _target;
        set
        {
            string[] waiting;
            lock (_lock)
            {
                _target = value;
                waiting = value is null ? [] : [.. _waiting];
                _waiting.RemoveRange(0, waiting.Length);
            }

            foreach (string sentence in waiting)
            {
                value?.Invoke(sentence);
            }
        }
    }

    public void Say(string sentence)
    {
        Action<string>? target;
        lock (_lock)
        {
            if (_said.Count >= Remembered || !_said.Add(sentence))
            {
                return;
            }

            target = _target;
            if (target is null)
            {
                _waiting.Add(sentence);
            }
        }

        target?.Invoke(sentence);
    }
}
