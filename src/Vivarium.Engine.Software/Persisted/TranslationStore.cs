using Vivarium.Engine.Software.CodeCache;
using Vivarium.Engine.Software.Host;
using Vivarium.Engine.Software.Translate;

namespace Vivarium.Engine.Software.Persisted;

/// <summary>
/// Translations that outlive the machine, in a folder of the user's: one file for each <see cref="Identity"/>. A machine
/// maps its file when it starts; when it ends it writes a new one with what it has added, which takes the old one's place
/// at once, so that machines that still use the old one, and machines killed meanwhile, do no harm. What is wrong with
/// a file or the folder costs its use, and one line.
/// </summary>
internal sealed unsafe class TranslationStore : IDisposable
{
    /// <summary>Bytes that the folder may hold.</summary>
    public const long DefaultLimit = 128 << 20;

    private const string Extension = ".translations";
    private const string TemporaryExtension = ".new";

    /// <summary>
    /// A file is written again if at least one in so many blocks was not in it. Linux kernels stand elsewhere at each boot, and
    /// name addresses in some of their code in ways that are not noted.
    /// </summary>
    private const int NewsworthyShare = 16;

    private readonly string _folder;
    private readonly Identity _identity;
    private readonly long _limit;
    private readonly Action<string> _warn;
    private readonly TranslationFile? _file;
    private bool _usable;
    private long _found;

    /// <param name="folder">Is made where it is missing.</param>
    /// <param name="identity">Of the translations.</param>
    /// <param name="limit">Bytes that the folder may hold.</param>
    /// <param name="warn">Told in one sentence why the cache is not used; called at most once.</param>
    public TranslationStore(string folder, Identity identity, long limit, Action<string> warn)
    {
        _folder = folder;
        _identity = identity;
        _limit = limit;
        _warn = warn;
        if (OwnFile.EnsureFolder(folder) is { } obstacle)
        {
            Warn($"the folder {folder} for translations {obstacle}");
            return;
        }

        _usable = true;
        _file = TranslationFile.Open(FilePath, identity, out string? refusal);
        if (refusal is not null)
        {
            Warn($"the file of translations {FilePath} {refusal}");
        }
    }

    public string FilePath => Path.Combine(_folder, _identity + Extension);

    /// <summary>There is something to be found.</summary>
    public bool HasAny => _file is { Damage: null };

    /// <summary>A translation of the same bytes, or none.</summary>
    public Template Find(in TemplateKeys keys, in CodeSource source, BlockMode mode)
    {
        if (!HasAny)
        {
            return default;
        }

        Template template = _file!.Find(keys, source, mode);
        if (template.Exists)
        {
            _found++;
        }
        else if (_file.Damage is { } damage)
        {
            Warn($"the file of translations {FilePath} {damage}");
        }

        return template;
    }

    /// <summary>To be called from time to time: as <see cref="TranslationFile.Release"/>.</summary>
    public void Release() => _file?.Release();

    /// <summary>Adds this run's translations to the file, if that is worth it.</summary>
    public void Save(Templates made)
    {
        if (!_usable || made.Count == 0 || made.Count < (made.Count + _found) / NewsworthyShare)
        {
            return;
        }

        int fd = OwnFile.Open(FilePath + ".lock", LinuxHost.OpenReadWrite | LinuxHost.OpenCreate, out _, out _);
        try
        {
            // Who comes second leaves it: what it would add is much the same, or is added next time.
            if (fd >= 0 && LinuxHost.Flock(fd, LinuxHost.LockExclusive | LinuxHost.LockNonBlocking) == 0)
            {
                Write(made);
            }
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            Warn($"the file of translations {FilePath} cannot be written ({e.Message.TrimEnd('.')})");
        }
        finally
        {
            if (fd >= 0)
            {
                _ = LinuxHost.Close(fd);
            }
        }
    }

    public void Dispose() => _file?.Dispose();

    /// <summary>The lock is held.</summary>
    private void Write(Templates made)
    {
        string temporary = FilePath + TemporaryExtension;
        File.Delete(temporary);

        // Another machine may have replaced the file meanwhile.
        using TranslationFile? present = TranslationFile.Open(FilePath, _identity, out _);
        bool same = present is not null && present.Inode == _file?.Inode;
        TranslationFile? old = same ? _file : present;
        ushort run = (ushort)((old?.Run ?? 0) + 1);
        using var writer = new TranslationWriter(_identity, run, _limit);
        for (int i = 0; i < made.Count; i++)
        {
            if (same || old?.Contains(made[i].Record) != true)
            {
                writer.Add(made[i], run, written: false);
            }
        }

        old?.ForEach((in Template template, ushort lastUsed, bool used) => writer.Add(template, used ? run : lastUsed, written: true));
        try
        {
            writer.Write(temporary);
            File.Move(temporary, FilePath, overwrite: true);
        }
        catch
        {
            File.Delete(temporary);
            throw;
        }

        Trim();
    }

    /// <summary>Removes files of other identities, the ones written first first, until the folder is small enough.</summary>
    private void Trim()
    {
        long total = 0;
        foreach (FileInfo file in new DirectoryInfo(_folder).EnumerateFiles("*" + Extension).OrderByDescending(file => file.LastWriteTimeUtc))
        {
            total += file.Length;
            if (total > _limit && file.FullName != Path.GetFullPath(FilePath))
            {
                file.Delete();
                File.Delete(file.FullName + ".lock");
            }
        }
    }

    private void Warn(string problem)
    {
        _warn($"{problem}; it is not used, and the machine starts somewhat slower");
    }
}
