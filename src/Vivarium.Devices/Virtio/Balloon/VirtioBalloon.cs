using System.Buffers.Binary;
using System.Runtime.InteropServices;
using Vivarium.Memory;

namespace Vivarium.Devices;

/// <summary>
/// A memory balloon (virtio 1.2, 5.5): the guest gives pages to it when the target rises and takes them back when it falls,
/// reports pages that it does not use at the moment, and tells how its memory is used. What it gives or reports goes back
/// to the host at once, on the thread of the vCPU that notified, before the guest is told so.
/// </summary>
public sealed class VirtioBalloon : VirtioDevice
{
    // Feature bits (5.5.3).
    private const ulong FeatureStatsVq = 1ul << 1;
    private const ulong FeatureDeflateOnOom = 1ul << 2;
    private const ulong FeatureFreePageHint = 1ul << 3;
    private const ulong FeaturePagePoison = 1ul << 4;
    private const ulong FeaturePageReporting = 1ul << 5;

    // struct virtio_balloon_config (5.5.4), 32 bits each.
    private const int ConfigLength = 16;
    private const int NumPagesField = 0;
    private const int ActualField = 4;
    private const int FreePageHintCmdIdField = 8;
    private const int PoisonValField = 12;

    // Reserved values of free_page_hint_cmd_id (5.5.6.5).
    private const uint CommandStop = 0;
    private const uint CommandDone = 1;
    private const uint FirstCommand = 2;

    private const ushort QueueSize = 128;

    /// <summary>Pages of one buffer that are looked at: sixteen times what Linux gives. The others stay with the guest.</summary>
    private const int MaxPages = 4096;
    private const int PagesAtOnce = 256;

    /// <summary>struct virtio_balloon_stat (5.5.6.3): a tag of 16 bits, a value of 64.</summary>
    private const int StatisticLength = 10;
    private const int MaxStatistics = 64;

    /// <summary>Guarded by the device's lock: the buffer that the driver gets back when it is to tell figures.</summary>
    private VirtqueueChain? _statisticsBuffer;
    private BalloonGuestStatistics? _statistics;
    private uint _lastCommand = FirstCommand - 1;
    private bool _hinting;
    private ulong _inflated;
    private ulong _reported;
    private ulong _hinted;

    public VirtioBalloon(GuestMemory memory)
        : base(
            VirtioDeviceType.Balloon,
            FeatureStatsVq | FeatureDeflateOnOom | FeatureFreePageHint | FeaturePagePoison | FeaturePageReporting,
            memory,
            ConfigLength,
            QueueSize,
            QueueSize,
            QueueSize,
            QueueSize,
            QueueSize)
    {
        SetField(FreePageHintCmdIdField, CommandDone);
    }

    /// <summary>What a queue is for.</summary>
    private enum Role
    {
        Inflate,
        Deflate,
        Statistics,
        FreePageHint,
        Reporting,
        None,
    }

    /// <summary>A driver uses the device.</summary>
    public bool HasDriver => IsRunning;

    /// <summary>How large the balloon is to be, in bytes, whole pages; the driver does its best.</summary>
    public ulong Target
    {
        get => (ulong)Field(NumPagesField) << GuestMemory.PageShift;
        set
        {
            lock (Lock)
            {
                SetField(NumPagesField, (uint)Math.Min(value >> GuestMemory.PageShift, uint.MaxValue));
                ConfigChanged();
            }
        }
    }

    /// <summary>How large the driver says the balloon is, in bytes.</summary>
    public ulong Actual => (ulong)Field(ActualField) << GuestMemory.PageShift;

    /// <summary>What went back to the host by inflation since power-on, in bytes.</summary>
    public ulong Inflated => Volatile.Read(ref _inflated);

    /// <summary>What went back to the host by free page reporting since power-on, in bytes.</summary>
    public ulong Reported => Volatile.Read(ref _reported);

    /// <summary>What went back to the host by free page hinting since power-on, in bytes.</summary>
    public ulong Hinted => Volatile.Read(ref _hinted);

    /// <summary>The guest's latest figures; null before the first.</summary>
    public BalloonGuestStatistics? Statistics => Volatile.Read(ref _statistics);

    /// <summary>Told when <see cref="Statistics"/> has changed, and when a round of hints has ended. Any thread, no lock held.</summary>
    public event Action? Changed;

    /// <summary>The driver hints, or has been asked to.</summary>
    public bool IsHinting => Field(FreePageHintCmdIdField) >= FirstCommand;

    /// <summary>Asks for new figures; false if no driver is there that gives any.</summary>
    public bool RequestStatistics()
    {
        lock (Lock)
        {
            if (_statisticsBuffer is not { } buffer)
                return false;
            _statisticsBuffer = null;
            var queue = StatisticsQueue;
            queue.Push(buffer, 0);
            queue.Signal();
            return true;
        }
    }

    /// <summary>Asks the driver for the pages that are free now, all at once; false if there is none that can.</summary>
    public bool RequestHints()
    {
        lock (Lock)
        {
            if (!IsRunning || !Has(FeatureFreePageHint))
                return false;
            if (IsHinting)
                return true;
            _lastCommand = _lastCommand == uint.MaxValue ? FirstCommand : _lastCommand + 1;
            _hinting = false;
            SetField(FreePageHintCmdIdField, _lastCommand);
            ConfigChanged();
            return true;
        }
    }

    public VirtioBalloonState Save()
    {
        TakeStatisticsBufferBack();
        var device = SaveCommon();
        try
        {
            lock (Lock)
            {
                return new()
                {
                    Device = device,
                    TargetPages = Field(NumPagesField),
                    ActualPages = Field(ActualField),
                    HintCommand = Field(FreePageHintCmdIdField),
                    LastHintCommand = _lastCommand,
                    Hinting = _hinting,
                    PoisonValue = Field(PoisonValField),
                };
            }
        }
        finally
        {
            if (Has(FeatureStatsVq))
                TakeStatistics(StatisticsQueue);
        }
    }

    public void Restore(VirtioBalloonState state)
    {
        StateFormat.Require(
            state.Version == VirtioBalloonState.CurrentVersion && state.Device is not null && state.HintCommand <= Math.Max(state.LastHintCommand, CommandDone),
            "virtio balloon");
        RestoreCommon(state.Device!);
        lock (Lock)
        {
            SetField(NumPagesField, state.TargetPages);
            SetField(ActualField, state.ActualPages);
            SetField(FreePageHintCmdIdField, state.HintCommand);
            SetField(PoisonValField, state.PoisonValue);
            _lastCommand = state.LastHintCommand;
            _hinting = state.Hinting;
        }

        if (Has(FeatureStatsVq))
            TakeStatistics(StatisticsQueue);
    }

    /// <inheritdoc/>
    protected override void OnNotify(Virtqueue queue)
    {
        switch (RoleOf(queue))
        {
            case Role.Statistics:
                TakeStatistics(queue);
                break;
            case Role.FreePageHint:
                TakeHints(queue);
                break;
            default:
                Drain(queue);
                break;
        }
    }

    /// <inheritdoc/>
    protected override void Serve(Virtqueue queue, VirtqueueChain chain)
    {
        switch (RoleOf(queue))
        {
            case Role.Inflate:
                Interlocked.Add(ref _inflated, ReleasePages(ref chain.Readable));
                break;
            case Role.Reporting when !KeepsContents:
                Interlocked.Add(ref _reported, Release(chain.Writable));
                break;
        }

        // A page that leaves the balloon comes back from the host when it is touched.
        queue.Push(chain, 0);
    }

    /// <inheritdoc/>
    protected override void OnConfigWrite(int offset, ReadOnlySpan<byte> value)
    {
        for (var i = 0; i < value.Length; i++)
        {
            if (offset + i is (>= ActualField and < ActualField + sizeof(uint)) or (>= PoisonValField and < PoisonValField + sizeof(uint)))
                Config[offset + i] = value[i];
        }
    }

    /// <summary>Linux makes its first buffer for figures available before DRIVER_OK, and notifies no more.</summary>
    protected override void OnStart()
    {
        if (Has(FeatureStatsVq))
            TakeStatistics(StatisticsQueue);
    }

    /// <inheritdoc/>
    protected override void OnReset()
    {
        TakeStatisticsBufferBack();
        lock (Lock)
        {
            SetField(ActualField, 0);
            SetField(PoisonValField, 0);
            SetField(FreePageHintCmdIdField, CommandDone);
            _hinting = false;
            _statistics = null;
        }

        Changed?.Invoke();
    }

    /// <inheritdoc/>
    protected override void OnQueueReset(Virtqueue queue)
    {
        if (RoleOf(queue) == Role.Statistics)
            TakeStatisticsBufferBack();
    }

    /// <summary>The driver's free pages hold a value that we would take from them (5.5.6.7.2).</summary>
    private bool KeepsContents => Has(FeaturePagePoison) && Field(PoisonValField) != 0;

    private Virtqueue StatisticsQueue => Queues[(int)Role.Statistics];

    /// <summary>Queues of features that were not agreed on do not exist (5.5.2), and drivers number the others without them.</summary>
    private Role RoleOf(Virtqueue queue)
    {
        if (queue.Index <= (int)Role.Deflate)
            return (Role)queue.Index;
        var left = queue.Index - (int)Role.Deflate;
        if (Has(FeatureStatsVq) && --left == 0)
            return Role.Statistics;
        if (Has(FeatureFreePageHint) && --left == 0)
            return Role.FreePageHint;
        return Has(FeaturePageReporting) && --left == 0 ? Role.Reporting : Role.None;
    }

    private uint Field(int offset)
    {
        lock (Lock)
            return BinaryPrimitives.ReadUInt32LittleEndian(Config[offset..]);
    }

    private void SetField(int offset, uint value)
    {
        lock (Lock)
            BinaryPrimitives.WriteUInt32LittleEndian(Config[offset..], value);
    }

    /// <summary>Gives back the pages whose numbers, of 32 bits, stand in a buffer.</summary>
    private ulong ReleasePages(ref IoSegments numbers)
    {
        Span<uint> pages = stackalloc uint[PagesAtOnce];
        ulong released = 0;
        for (var looked = 0; looked < MaxPages; looked += PagesAtOnce)
        {
            var count = (int)Math.Min(numbers.Length / sizeof(uint), PagesAtOnce);
            if (count == 0)
                break;
            numbers.TryRead(MemoryMarshal.AsBytes(pages[..count]));
            pages[..count].Sort();
            released += ReleaseRuns(pages[..count]);
        }

        return released;
    }

    /// <summary>Pages that follow each other go back in one call.</summary>
    private ulong ReleaseRuns(ReadOnlySpan<uint> pages)
    {
        ulong released = 0;
        for (var i = 0; i < pages.Length;)
        {
            ulong first = pages[i];
            var end = first + 1;
            while (++i < pages.Length && pages[i] <= end)
                end = pages[i] + 1ul;
            released += Memory.Release(first << GuestMemory.PageShift, (end - first) << GuestMemory.PageShift);
        }

        return released;
    }

    /// <summary>Gives back what the pieces of a buffer hold, of all of them no more than there is memory.</summary>
    private unsafe ulong Release(in IoSegments pages)
    {
        ulong released = 0;
        var left = Memory.RamSize;
        foreach (ref readonly var segment in pages.Span)
        {
            if (segment.Length > left)
                break;
            left -= segment.Length;
            released += Memory.Release(segment.Address, segment.Length);
        }

        return released;
    }

    /// <summary>Keeps the buffer until figures are wanted again (5.5.6.3).</summary>
    private void TakeStatistics(Virtqueue queue)
    {
        var taken = false;
        lock (Lock)
        {
            var buffers = (int)queue.Size;
            do
            {
                while (buffers-- > 0 && queue.TryPop(out var chain))
                {
                    if (_statisticsBuffer is { } older)
                        queue.Push(older, 0);
                    _statisticsBuffer = chain;
                    _statistics = ReadStatistics(ref chain.Readable);
                    taken = true;
                }
            }
            while (queue.EnableNotifications() && buffers > 0);

            queue.Signal();
        }

        if (taken)
            Changed?.Invoke();
    }

    private static BalloonGuestStatistics ReadStatistics(ref IoSegments entries)
    {
        var statistics = new BalloonGuestStatistics();
        Span<byte> entry = stackalloc byte[StatisticLength];
        for (var i = 0; i < MaxStatistics && entries.TryRead(entry); i++)
            statistics = statistics.With(BinaryPrimitives.ReadUInt16LittleEndian(entry), BinaryPrimitives.ReadUInt64LittleEndian(entry[sizeof(ushort)..]));
        return statistics;
    }

    private void TakeStatisticsBufferBack()
    {
        lock (Lock)
        {
            if (_statisticsBuffer is not { } buffer)
                return;
            _statisticsBuffer = null;
            StatisticsQueue.Unpop(buffer);
        }
    }

    /// <summary>
    /// Free pages that the driver hints at (5.5.6.5). It may use them again at any time, so they are given back only here,
    /// while the vCPU that hints is in this call: Linux does not let go of a page before it has notified.
    /// </summary>
    private void TakeHints(Virtqueue queue)
    {
        var ended = false;
        var buffers = (int)queue.Size;
        Span<byte> command = stackalloc byte[sizeof(uint)];
        do
        {
            while (buffers-- > 0 && queue.TryPop(out var chain))
            {
                if (chain.Readable.TryRead(command))
                    ended |= NoteCommand(BinaryPrimitives.ReadUInt32LittleEndian(command));
                if (Volatile.Read(ref _hinting) && !KeepsContents)
                    Interlocked.Add(ref _hinted, Release(chain.Writable));
                queue.Push(chain, 0);
            }
        }
        while (queue.EnableNotifications() && buffers > 0);

        queue.Signal();
        if (ended)
            Changed?.Invoke();
    }

    /// <summary>The driver begins with the hints that were asked for, or ends; true if it ends.</summary>
    private bool NoteCommand(uint command)
    {
        lock (Lock)
        {
            if (command == Field(FreePageHintCmdIdField) && command >= FirstCommand)
            {
                _hinting = true;
                return false;
            }

            if (command != CommandStop || !_hinting)
                return false;

            // The guest may have its pages again.
            _hinting = false;
            SetField(FreePageHintCmdIdField, CommandDone);
            ConfigChanged();
            return true;
        }
    }
}
