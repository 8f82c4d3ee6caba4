namespace Vivarium.Storage.Qcow2;

/// <summary>Bytes of the file that the mapping no longer refers to, since that epoch. Every cluster touched loses one reference.</summary>
internal readonly record struct FreedRange(long Offset, long Length, long Epoch);
