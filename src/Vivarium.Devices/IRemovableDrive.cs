namespace Vivarium.Devices;

/// <summary>A drive whose medium comes and goes while the machine runs. Called on any thread but one of the device's own, by one at a time.</summary>
public interface IRemovableDrive
{
    /// <summary>Puts a medium in. Returns when the one that was in the drive before is no longer used.</summary>
    void Insert(IBlockBackend medium);

    /// <summary>
    /// Takes the medium out. False if the guest has locked the drive and <paramref name="force"/> is not given: then it is
    /// told that somebody wants the medium. Returns when the medium is no longer used.
    /// </summary>
    bool Eject(bool force);
}
