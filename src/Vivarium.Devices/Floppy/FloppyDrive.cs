namespace Vivarium.Devices;

/// <summary>
/// A floppy disk drive: its head's place, its disk, and the line that says that the disk was changed. Under the controller's
/// lock, but for what people do.
/// </summary>
public sealed class FloppyDrive : IRemovableDrive
{
    private readonly FloppyController _controller;

    internal FloppyDrive(FloppyController controller, IBlockBackend? medium)
    {
        _controller = controller;
        Medium = medium;
        Geometry = medium is null ? null : FloppyGeometry.Of(medium.Length);
        Type = Geometry?.Drive ?? FloppyDriveType.Megabytes1440;
    }

    /// <summary>What drive it is: one that its first disk is made for.</summary>
    public FloppyDriveType Type { get; }

    internal IBlockBackend? Medium { get; private set; }

    /// <summary>The disk's; null without one.</summary>
    internal FloppyGeometry? Geometry { get; private set; }

    /// <summary>Where the head is.</summary>
    internal byte Cylinder { get; set; }

    /// <summary>DSKCHG: the disk has been out since the head moved last.</summary>
    internal bool IsChanged { get; set; } = true;

    /// <summary>The sector that READ ID found last.</summary>
    internal byte Passing { get; set; }

    /// <summary>The data rate at which the disk was written; a drive that turns faster reads 250 Kbit/s disks at 300.</summary>
    internal bool IsReadable(FloppyRate rate) => Geometry?.Sectors switch
    {
        null => false,
        <= 9 => rate is FloppyRate.Kilobits250 or FloppyRate.Kilobits300,
        <= 21 => rate == FloppyRate.Kilobits500,
        _ => rate == FloppyRate.Megabits1,
    };

    /// <inheritdoc/>
    public void Insert(IBlockBackend medium)
    {
        ArgumentNullException.ThrowIfNull(FloppyGeometry.Of(medium.Length));
        _controller.Change(this, medium);
    }

    /// <summary>Nothing locks the disk in.</summary>
    /// <inheritdoc/>
    public bool Eject(bool force)
    {
        _controller.Change(this, null);
        return true;
    }

    /// <summary>Another disk, or none.</summary>
    internal void Put(IBlockBackend? medium)
    {
        Medium = medium;
        Geometry = medium is null ? null : FloppyGeometry.Of(medium.Length);
        IsChanged = true;
    }

    /// <summary>The head moves: a step with a disk in the drive resets DSKCHG.</summary>
    internal void Step(byte cylinder)
    {
        if (cylinder != Cylinder && Medium is not null)
            IsChanged = false;
        Cylinder = cylinder;
    }
}
