namespace Vivarium.Storage.Tools;

/// <summary>An internal snapshot of a qcow2 image.</summary>
/// <param name="Id">Unique in the image.</param>
/// <param name="Name">What the user called it.</param>
/// <param name="Taken">When.</param>
/// <param name="DiskSize">The disk's size then, in bytes.</param>
/// <param name="MachineStateSize">The bytes of machine state saved with it; 0 for none.</param>
public sealed record DiskSnapshot(string Id, string Name, DateTimeOffset Taken, long DiskSize, long MachineStateSize);
