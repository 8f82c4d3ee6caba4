namespace Vivarium.Share.Host;

/// <summary>Kinds of file systems by the numbers that statfs(2) gives.</summary>
internal static class FileSystemKind
{
    private const long Ext = 0xEF53;
    private const long Xfs = 0x58465342;
    private const long Btrfs = 0x9123683E;
    private const long F2fs = 0xF2F52010;
    private const long Zfs = 0x2FC12FC1;
    private const long Bcachefs = 0xCA451A4E;
    private const long Tmpfs = 0x01021994;
    private const long Ramfs = 0x858458F6;
    private const long Overlayfs = 0x794C7630;

    /// <summary>It lives on this host's own disks or in memory. Any other may hang on a network or another process.</summary>
    public static bool IsQuick(long magic) => magic is Ext or Xfs or Btrfs or F2fs or Zfs or Bcachefs or Tmpfs or Ramfs or Overlayfs;
}
