using System.Text;

namespace Vivarium.Devices;

/// <summary>What the drive says of itself: INQUIRY, MODE SENSE, GET CONFIGURATION.</summary>
internal sealed partial class MmcDrive
{
    public const string Vendor = "VIVARIUM";
    public const string Product = "CD-ROM DRIVE";
    public const string Revision = "1.0";

    // Mode parameter headers (SPC-3, 7.4.3; MMC-6, 7.2.2).
    private const int HeaderLength6 = 4;
    private const int HeaderLength10 = 8;

    private const ushort NoProfile = 0x0000;
    private const ushort CdRom = 0x0008;
    private const ushort DvdRom = 0x0010;

    /// <summary>80 minutes: what is longer is no CD.</summary>
    private const uint LongestCd = 80 * 60 * FramesPerSecond;

    /// <summary>Kilobytes in a second: 50 times a CD's speed.</summary>
    private const ushort Speed = 176 * 50;

    private ushort Profile => !IsReady ? NoProfile : BlockCount > LongestCd ? DvdRom : CdRom;

    private MmcOutcome Inquire(ReadOnlySpan<byte> packet)
    {
        const int length = 36;
        const byte cdDevice = 5, removable = 0x80, mmcVersion = 0, atapiFormat = 0x21, nothingThere = 0x7F;
        const byte vitalData = 1;

        // Pages of vital product data are optional, and ATAPI devices of old have none.
        if ((packet[1] & vitalData) != 0 || packet[2] != 0)
            return Fail(Sense.InvalidField);
        var data = Begin();
        data[0] = (packet[1] & 0xE0) == 0 ? cdDevice : nothingThere;
        data[1] = removable;
        data[2] = mmcVersion;
        data[3] = atapiFormat;
        data[4] = length - 5;
        SetText(data.Slice(8, 8), Vendor);
        SetText(data.Slice(16, 16), Product);
        SetText(data.Slice(32, 4), Revision);
        return Respond(length, Read16(packet, 3));
    }

    private MmcOutcome SenseMode(ReadOnlySpan<byte> packet, int headerLength, uint wanted)
    {
        const int allPages = 0x3F;
        const int changeable = 1, saved = 3;
        var control = packet[2] >> 6;
        var page = packet[2] & allPages;
        if (control == saved)
            return Fail(Sense.SavingNotSupported);
        var data = Begin();
        var length = headerLength;
        foreach (var candidate in (ReadOnlySpan<byte>)[ErrorRecoveryPage, CdPage, AudioPage, PowerPage, CapabilitiesPage])
        {
            if (page == candidate || page == allPages)
                length += FillPage(data[length..], candidate, isChangeable: control == changeable);
        }

        if (length == headerLength)
            return Fail(Sense.InvalidField);
        var mediumType = MediumType;
        if (headerLength == HeaderLength6)
        {
            data[0] = (byte)(length - 1);
            data[1] = mediumType;
        }
        else
        {
            Write16(data, 0, length - 2);
            data[2] = mediumType;
        }

        return Respond(length, wanted);
    }

    private const byte ErrorRecoveryPage = 0x01, CdPage = 0x0D, AudioPage = 0x0E, PowerPage = 0x1A, CapabilitiesPage = 0x2A;

    /// <summary>SFF-8020i, table 10.8.6.1-1: 120 mm data, door closed without a disc, door open.</summary>
    private byte MediumType => IsOpen ? (byte)0x71 : IsReady ? (byte)0x01 : (byte)0x70;

    /// <summary>A page; nothing in any of them can be changed.</summary>
    private int FillPage(Span<byte> data, byte page, bool isChangeable)
    {
        var length = page switch { ErrorRecoveryPage => 6, CdPage => 6, AudioPage => 14, PowerPage => 10, _ => 20 };
        data[0] = page;
        data[1] = (byte)length;
        if (isChangeable)
            return 2 + length;
        switch (page)
        {
            case ErrorRecoveryPage:
                const byte retries = 5;
                data[3] = retries;
                break;
            case CdPage:
                // Seconds in a minute, frames in a second.
                Write16(data, 4, 60);
                Write16(data, 6, (int)FramesPerSecond);
                break;
            case AudioPage:
                const byte immediate = 4;
                data[2] = immediate;
                break;
            case CapabilitiesPage:
                FillCapabilities(data);
                break;
        }

        return 2 + length;
    }

    /// <summary>CD capabilities and mechanical status (SFF-8020i, 10.8.6.4).</summary>
    private void FillCapabilities(Span<byte> data)
    {
        const byte readsCdR = 1, readsCdRw = 2, readsDvd = 8;
        const byte mode2Form1 = 0x10, mode2Form2 = 0x20, multiSession = 0x40;
        const byte canLock = 1, isLocked = 2, canEject = 8, trayMechanism = 0x20;
        data[2] = readsCdR | readsCdRw | readsDvd;
        data[4] = mode2Form1 | mode2Form2 | multiSession;
        data[6] = (byte)(canLock | canEject | trayMechanism | (IsLocked ? isLocked : 0));
        Write16(data, 8, Speed);

        // Volume levels, then the buffer in KiB.
        Write16(data, 10, 2);
        Write16(data, 12, 512);
        Write16(data, 14, Speed);
    }

    private MmcOutcome GetConfiguration(ReadOnlySpan<byte> packet)
    {
        const int headerLength = 8;
        const int allFeatures = 0, oneFeature = 2;
        var kind = packet[1] & 3;
        var first = Read16(packet, 2);
        if (kind > oneFeature)
            return Fail(Sense.InvalidField);
        var data = Begin();
        var length = headerLength;
        var profile = Profile;
        foreach (var feature in Features)
        {
            if (kind == oneFeature ? feature.Code != first : feature.Code < first)
                continue;
            var isCurrent = feature.IsAlways || (profile != NoProfile && (feature.Profile == 0 || feature.Profile == profile));
            if (kind is not (allFeatures or oneFeature) && !isCurrent)
                continue;
            length += FillFeature(data[length..], feature, isCurrent);
        }

        Write32(data, 0, (uint)(length - 4));
        Write16(data, 6, profile);
        return Respond(length, Read16(packet, 7));
    }

    /// <param name="Code">MMC-6, 5.3.</param>
    /// <param name="Version">Its version and persistence bits, already in place.</param>
    /// <param name="IsAlways">It does not depend on the disc.</param>
    /// <param name="Profile">The kind of disc that it is for; 0 for any.</param>
    /// <param name="Data">What follows the feature's header; null where it depends on the drive.</param>
    private readonly record struct Feature(ushort Code, byte Version, bool IsAlways, ushort Profile, byte[]? Data);

    private static readonly Feature[] Features =
    [
        new(0x0000, 0x03, true, 0, null),

        // Core: ATAPI is interface 2; DBEvent.
        new(0x0001, 0x0B, true, 0, [0, 0, 0, 2, 1, 0, 0, 0]),

        // Removable medium: a tray that can be opened and locked.
        new(0x0003, 0x03, true, 0, [0x29, 0, 0, 0]),

        // Random readable: blocks of 2048 bytes, one in a unit.
        new(0x0010, 0x00, false, 0, [0, 0, BlockSize >> 8, 0, 0, 1, 0, 0]),
        new(0x001D, 0x00, false, CdRom, []),
        new(0x001E, 0x08, false, CdRom, [0, 0, 0, 0]),
        new(0x001F, 0x08, false, DvdRom, [0, 0, 0, 0]),
        new(0x0100, 0x03, true, 0, []),
        new(0x0105, 0x03, true, 0, []),
    ];

    private int FillFeature(Span<byte> data, Feature feature, bool isCurrent)
    {
        const int headerLength = 4;
        Write16(data, 0, feature.Code);
        data[2] = (byte)(feature.Version | (isCurrent ? 1 : 0));
        if (feature.Data is { } content)
        {
            data[3] = (byte)content.Length;
            content.CopyTo(data[headerLength..]);
            return headerLength + content.Length;
        }

        // The profile list.
        data[3] = 8;
        Write16(data, 4, DvdRom);
        data[6] = Profile == DvdRom ? (byte)1 : (byte)0;
        Write16(data, 8, CdRom);
        data[10] = Profile == CdRom ? (byte)1 : (byte)0;
        return headerLength + 8;
    }

    private static void SetText(Span<byte> field, string text)
    {
        field.Fill((byte)' ');
        Encoding.ASCII.GetBytes(text, field);
    }
}
