namespace Vivarium.Share.Host;

/// <summary>The kinds of files, as they stand in st_mode (inode(7)).</summary>
internal enum FileType : uint
{
    Fifo = 0x1000,
    CharacterDevice = 0x2000,
    Directory = 0x4000,
    BlockDevice = 0x6000,
    Regular = 0x8000,
    SymbolicLink = 0xA000,
    Socket = 0xC000,
    Mask = 0xF000,
}
