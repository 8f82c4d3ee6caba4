using System.Numerics;

namespace Vivarium.Devices;

/// <summary>A disk's state record.</summary>
public sealed unsafe partial class AtaDisk
{
    internal override AtaDeviceState Save() => new()
    {
        Transfer = SaveTransfer(),
        Lba = _lba,
        Left = _left,
        Buffered = _buffered,
        BufferStart = _bufferStart,
        Block = _block,
        Addressing = (byte)_addressing,
        ForceUnitAccess = _forceUnitAccess,
        Trim = _trim,
        Payload = _trim ? [.. _payload[.._payloadLength]] : [],
        Heads = _heads,
        SectorsPerTrack = _sectorsPerTrack,
        Multiple = _multiple,
        TransferMode = _transferMode,
        DmaMode = _dmaMode,
        WriteCache = _writeCache,
        LookAhead = _lookAhead,
        RevertToDefaults = _revertToDefaults,
        PowerMode = _powerMode,
        Asleep = _asleep,
    };

    internal override void Restore(AtaDeviceState state)
    {
        StateFormat.Require(state is { Version: AtaDeviceState.CurrentVersion, Transfer: not null, Payload: not null }
            && state.Heads is >= 1 and <= DefaultHeads && state.SectorsPerTrack is >= 1 and <= byte.MaxValue
            && state.Multiple <= MaxMultiple && (state.Multiple == 0 || BitOperations.IsPow2(state.Multiple))
            && state.Addressing <= (byte)Addressing.Lba48 && IsConsistent(state, state.Transfer!), "ATA disk");
        var transfer = state.Transfer!;
        RestoreTransfer(transfer);
        _lba = state.Lba;
        _left = state.Left;
        _buffered = state.Buffered;
        _bufferStart = state.BufferStart;
        _block = state.Block;
        _addressing = (Addressing)state.Addressing;
        _forceUnitAccess = state.ForceUnitAccess;
        _trim = state.Trim;
        _payload = new byte[state.Trim ? state.Payload!.Length + (int)transfer.DmaLeft : 0];
        state.Payload!.CopyTo(_payload, 0);
        _payloadLength = state.Payload!.Length;
        _heads = state.Heads;
        _sectorsPerTrack = state.SectorsPerTrack;
        _multiple = state.Multiple;
        _transferMode = state.TransferMode;
        _dmaMode = state.DmaMode;
        _writeCache = state.WriteCache;
        _lookAhead = state.LookAhead;
        _revertToDefaults = state.RevertToDefaults;
        _powerMode = state.PowerMode;
        _asleep = state.Asleep;
    }

    /// <summary>The command under way stays inside the disk, and its data inside the buffer.</summary>
    private bool IsConsistent(AtaDeviceState state, AtaTransferState transfer)
    {
        var waitsForDma = transfer.Dma != (byte)DmaDirection.None;
        if (!IsInside(state.Lba, state.Left) && (waitsForDma || transfer.Pio != (byte)DmaDirection.None))
            return false;
        if (state.Trim && waitsForDma)
        {
            return transfer.Dma == (byte)DmaDirection.FromMemory && transfer.DmaLeft % SectorSize == 0
                && transfer.DmaLeft <= MaxTrimBlocks * SectorSize && state.Payload.Length <= MaxTrimBlocks * SectorSize;
        }

        if (waitsForDma && transfer.DmaLeft != (ulong)state.Left * SectorSize)
            return false;
        if (state.Trim && (state.Payload.Length > MaxTrimBlocks * SectorSize || transfer.DmaLeft > MaxTrimBlocks * SectorSize))
            return false;

        // Blocks are whole sectors, and what is buffered is part of the command.
        return state.Block is >= 0 and <= MaxMultiple && state.Buffered is >= 0 and <= BufferSectors && (uint)state.Buffered <= state.Left
            && state.BufferStart >= 0 && state.BufferStart <= (BufferSectors - state.Buffered) * SectorSize
            && (transfer.Pio != (byte)DmaDirection.FromMemory || (state.Block != 0 && state.Left != 0));
    }
}
