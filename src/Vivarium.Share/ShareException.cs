namespace Vivarium.Share;

/// <summary>A folder cannot be shared. <see cref="Exception.Message"/> is one sentence that names the folder, the cause and the way out.</summary>
public sealed class ShareException(string sentence) : IOException(sentence);
