namespace Vivarium.Devices.Tests;

/// <summary>A piece of a buffer that a driver makes available.</summary>
internal readonly record struct Piece(ulong Address, int Length, bool Writable);

/// <summary>The driver's side of a virtqueue, written from the specification's driver requirements.</summary>
internal abstract class GuestRing(VirtioMachine machine, VirtioDriver driver, int queue, int size, ulong features)
{
    protected const int DescriptorSize = 16;
    protected const ushort Next = 1;
    protected const ushort Write = 2;
    protected const ushort IndirectFlag = 4;

    public int Queue { get; } = queue;

    public int Size { get; } = size;

    public ulong DescriptorArea { get; protected init; }

    public ulong DriverArea { get; protected init; }

    public ulong DeviceArea { get; protected init; }

    /// <summary>Use one indirect descriptor for each buffer.</summary>
    public bool Indirect { get; set; } = (features & VirtioFeatures.IndirectDesc) != 0;

    protected bool EventIndex { get; } = (features & VirtioFeatures.EventIdx) != 0;

    protected VirtioMachine Machine { get; } = machine;

    protected Memory.GuestMemory Memory => Machine.Memory;

    public static GuestRing Create(VirtioMachine machine, VirtioDriver driver, int queue, int size, ulong features) =>
        (features & VirtioFeatures.RingPacked) != 0
            ? new PackedGuestRing(machine, driver, queue, size, features)
            : new SplitGuestRing(machine, driver, queue, size, features);

    /// <summary>Makes a buffer available and returns its identifier.</summary>
    public abstract int Add(params ReadOnlySpan<Piece> pieces);

    /// <summary>True if the device asked to be notified of what was added since the last call.</summary>
    public abstract bool MustNotify();

    public abstract bool TryTake(out int id, out uint written);

    /// <summary>Asks for no interrupts (advice).</summary>
    public abstract void DisableInterrupts();

    /// <summary>Asks for an interrupt when the buffer that is <paramref name="later"/> after the next one taken is used.</summary>
    public abstract void InterruptAfter(int later);

    /// <summary>Notifies if the device wants it; false if not.</summary>
    public bool Kick()
    {
        if (!MustNotify())
            return false;
        driver.Notify(Queue);
        return true;
    }

    /// <summary>Adds one buffer, notifies, and takes it back; it must be used at once.</summary>
    public uint Run(params ReadOnlySpan<Piece> pieces)
    {
        var id = Add(pieces);
        Kick();
        Assert.True(TryTake(out var used, out var written), $"the device has not used the buffer (status {driver.Status:X2})");
        Assert.Equal(id, used);
        return written;
    }

    /// <summary>As <see cref="Run"/>, for devices that answer from another thread.</summary>
    public uint RunLater(params ReadOnlySpan<Piece> pieces)
    {
        var id = Add(pieces);
        Kick();
        int used;
        uint written;
        while (!TryTake(out used, out written))
            Thread.Sleep(1);
        Assert.Equal(id, used);
        return written;
    }

    /// <summary>A notification is due when the event index is in what was added (2.7.10).</summary>
    protected static bool HasPassed(int eventIndex, int now, int old) => (ushort)(now - eventIndex - 1) < (ushort)(now - old);

    protected ulong IndirectTable(ReadOnlySpan<Piece> pieces, bool chained)
    {
        var table = Machine.Allocate(pieces.Length * DescriptorSize);
        for (var i = 0; i < pieces.Length; i++)
        {
            var flags = (ushort)((pieces[i].Writable ? Write : 0) | (chained && i < pieces.Length - 1 ? Next : 0));
            var at = table + (ulong)(i * DescriptorSize);
            Memory.Write(at, pieces[i].Address);
            Memory.Write(at + 8, (uint)pieces[i].Length);
            Memory.Write(at + 12, chained ? flags : (ushort)0);
            Memory.Write(at + 14, chained ? (ushort)(i + 1) : flags);
        }

        return table;
    }
}

internal sealed class SplitGuestRing : GuestRing
{
    private readonly Stack<ushort> _free = new();
    private readonly Dictionary<int, int> _lengths = [];
    private ushort _available;
    private ushort _notified;
    private ushort _taken;

    public SplitGuestRing(VirtioMachine machine, VirtioDriver driver, int queue, int size, ulong features)
        : base(machine, driver, queue, size, features)
    {
        DescriptorArea = machine.Allocate(16 * size, 16);
        DriverArea = machine.Allocate(6 + 2 * size, 2);
        DeviceArea = machine.Allocate(6 + 8 * size, 4);
        for (var i = size - 1; i >= 0; i--)
            _free.Push((ushort)i);
    }

    public override int Add(params ReadOnlySpan<Piece> pieces)
    {
        ushort head;
        if (Indirect)
        {
            head = _free.Pop();
            WriteDescriptor(head, IndirectTable(pieces, chained: true), pieces.Length * DescriptorSize, IndirectFlag, 0);
            _lengths[head] = 1;
        }
        else
        {
            // The places are taken in the opposite order, so that a chain is not a row.
            var places = new ushort[pieces.Length];
            for (var i = pieces.Length - 1; i >= 0; i--)
                places[i] = _free.Pop();
            for (var i = 0; i < pieces.Length; i++)
            {
                var last = i == pieces.Length - 1;
                var flags = (ushort)((pieces[i].Writable ? Write : 0) | (last ? 0 : Next));
                WriteDescriptor(places[i], pieces[i].Address, pieces[i].Length, flags, last ? (ushort)0 : places[i + 1]);
            }

            head = places[0];
            _lengths[head] = pieces.Length;
        }

        Memory.Write(DriverArea + 4 + (ulong)(_available % Size * 2), head);
        _available++;
        Memory.Write(DriverArea + 2, _available);
        return head;
    }

    public override bool MustNotify()
    {
        var old = _notified;
        _notified = _available;
        if (old == _available)
            return false;
        return EventIndex
            ? HasPassed(Memory.Read<ushort>(DeviceArea + 4 + (ulong)(8 * Size)), _available, old)
            : (Memory.Read<ushort>(DeviceArea) & 1) == 0;
    }

    public override bool TryTake(out int id, out uint written)
    {
        id = 0;
        written = 0;
        if (Memory.Read<ushort>(DeviceArea + 2) == _taken)
            return false;
        var element = DeviceArea + 4 + (ulong)(_taken % Size * 8);
        id = (int)Memory.Read<uint>(element);
        written = Memory.Read<uint>(element + 4);
        _taken++;
        Release(id);
        return true;
    }

    public override void DisableInterrupts() => Memory.Write<ushort>(DriverArea, 1);

    public override void InterruptAfter(int later) => Memory.Write(DriverArea + 4 + (ulong)(2 * Size), (ushort)(_taken + later));

    public void WriteDescriptor(int index, ulong address, int length, ushort flags, ushort next)
    {
        var at = DescriptorArea + (ulong)(index * DescriptorSize);
        Memory.Write(at, address);
        Memory.Write(at + 8, (uint)length);
        Memory.Write(at + 12, flags);
        Memory.Write(at + 14, next);
    }

    private void Release(int head)
    {
        var at = (ushort)head;
        for (var left = _lengths[head]; left > 0; left--)
        {
            _free.Push(at);
            at = Memory.Read<ushort>(DescriptorArea + (ulong)(at * DescriptorSize) + 14);
        }
    }
}

internal sealed class PackedGuestRing : GuestRing
{
    private const ushort Available = 1 << 7;
    private const ushort Used = 1 << 15;

    private readonly Dictionary<int, int> _lengths = [];
    private int _next;
    private bool _wrap = true;
    private int _taken;
    private bool _takenWrap = true;
    private int _added;
    private ushort _id;

    public PackedGuestRing(VirtioMachine machine, VirtioDriver driver, int queue, int size, ulong features)
        : base(machine, driver, queue, size, features)
    {
        DescriptorArea = machine.Allocate(16 * size, 16);
        DriverArea = machine.Allocate(4, 4);
        DeviceArea = machine.Allocate(4, 4);
    }

    public override int Add(params ReadOnlySpan<Piece> pieces)
    {
        var id = ++_id;
        _lengths[id] = Indirect ? 1 : pieces.Length;
        if (Indirect)
        {
            WriteDescriptor(_next, IndirectTable(pieces, chained: false), pieces.Length * DescriptorSize, id, (ushort)(IndirectFlag | AvailableFlags));
            Advance(ref _next, ref _wrap);
        }
        else
        {
            // The first descriptor's flags are written last.
            var first = _next;
            ushort firstFlags = 0;
            for (var i = 0; i < pieces.Length; i++)
            {
                var flags = (ushort)((pieces[i].Writable ? Write : 0) | (i < pieces.Length - 1 ? Next : 0) | AvailableFlags);
                if (i == 0)
                    firstFlags = flags;
                WriteDescriptor(_next, pieces[i].Address, pieces[i].Length, id, i == 0 ? null : flags);
                Advance(ref _next, ref _wrap);
            }

            Memory.Write(DescriptorArea + (ulong)(first * DescriptorSize) + 14, firstFlags);
        }

        _added += _lengths[id];
        return id;
    }

    public override bool MustNotify()
    {
        var added = _added;
        _added = 0;
        if (added == 0)
            return false;
        var flags = Memory.Read<ushort>(DeviceArea + 2);
        if (flags != 2)
            return flags != 1;
        var at = Memory.Read<ushort>(DeviceArea);
        var offset = at & 0x7FFF;
        if (at >> 15 != (_wrap ? 1 : 0))
            offset -= Size;
        return HasPassed(offset, _next, _next - added);
    }

    public override bool TryTake(out int id, out uint written)
    {
        var at = DescriptorArea + (ulong)(_taken * DescriptorSize);
        id = 0;
        written = 0;
        var flags = Memory.Read<ushort>(at + 14);
        if ((flags & Available) != 0 != _takenWrap || (flags & Used) != 0 != _takenWrap)
            return false;
        id = Memory.Read<ushort>(at + 12);
        written = Memory.Read<uint>(at + 8);
        for (var i = _lengths[id]; i > 0; i--)
            Advance(ref _taken, ref _takenWrap);
        return true;
    }

    public override void DisableInterrupts() => Memory.Write<ushort>(DriverArea + 2, 1);

    public override void InterruptAfter(int later)
    {
        var at = _taken + later;
        var wrap = _takenWrap;
        if (at >= Size)
        {
            at -= Size;
            wrap = !wrap;
        }

        Memory.Write(DriverArea, (ushort)(at | (wrap ? 1 << 15 : 0)));
        Memory.Write<ushort>(DriverArea + 2, 2);
    }

    public void WriteDescriptor(int place, ulong address, int length, ushort id, ushort? flags)
    {
        var at = DescriptorArea + (ulong)(place * DescriptorSize);
        Memory.Write(at, address);
        Memory.Write(at + 8, (uint)length);
        Memory.Write(at + 12, id);
        if (flags is { } value)
            Memory.Write(at + 14, value);
    }

    private ushort AvailableFlags => _wrap ? Available : Used;

    private void Advance(ref int position, ref bool wrap)
    {
        if (++position < Size)
            return;
        position = 0;
        wrap = !wrap;
    }
}
