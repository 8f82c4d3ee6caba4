namespace Vivarium.Devices;

/// <summary>What of a screen's changes a picture of it has seen.</summary>
/// <param name="Changes">Of registers and of memory written through the card's logic.</param>
/// <param name="Writes">Of memory that the guest writes without the card's seeing it.</param>
/// <param name="Phase">Of what blinks.</param>
internal readonly record struct ScanStamp(long Changes, long Writes, int Phase);
