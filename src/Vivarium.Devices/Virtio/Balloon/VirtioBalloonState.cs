namespace Vivarium.Devices;

/// <summary>The state of a balloon device. The pages in it are the guest's to remember.</summary>
public sealed record VirtioBalloonState
{
    public const int CurrentVersion = 1;

    public int Version { get; init; } = CurrentVersion;

    public VirtioDeviceState? Device { get; init; }

    /// <summary>num_pages: pages of 4 KiB that the balloon is to have.</summary>
    public uint TargetPages { get; init; }

    /// <summary>actual: pages of 4 KiB that the driver says it has.</summary>
    public uint ActualPages { get; init; }

    /// <summary>free_page_hint_cmd_id.</summary>
    public uint HintCommand { get; init; }

    /// <summary>The greatest command identifier that was used.</summary>
    public uint LastHintCommand { get; init; }

    /// <summary>The driver has begun to hint for <see cref="HintCommand"/>.</summary>
    public bool Hinting { get; init; }

    public uint PoisonValue { get; init; }
}
