using System.Security.Cryptography;
using System.Text;
using Vivarium.Memory;

namespace Vivarium.Devices;

/// <summary>
/// An NVM Express controller (NVM Express 1.4) with one namespace of 512-byte blocks: an admin queue and up to 64 pairs of I/O
/// queues, each with an interrupt of its own. Commands are carried out on the thread that rings the doorbell, without any
/// lock while the host moves data; what waits for the host's disk on another thread.
/// </summary>
public sealed partial class NvmeController : DwordRegisters, IDisposable
{
    /// <summary>Pairs of I/O queues.</summary>
    public const int IoQueues = 64;

    /// <summary>The serial number's length in IDENTIFY.</summary>
    public const int SerialLength = 20;

    private const int Queues = IoQueues + 1;
    private const int BlockSize = 512;
    private const uint PageSize = 4096;

    private const int Bar = 0;
    private const int MsiXBar = 4;
    private const ulong BarSize = 0x4000;

    // Controller registers (3.1).
    private const int Capabilities = 0x00;
    private const int Version = 0x08;
    private const int InterruptMaskSet = 0x0C;
    private const int InterruptMaskClear = 0x10;
    private const int Configuration = 0x14;
    private const int StatusRegister = 0x1C;
    private const int AdminQueueAttributes = 0x24;
    private const int AdminSubmissionBase = 0x28;
    private const int AdminCompletionBase = 0x30;
    private const int FirstDoorbell = 0x1000;
    private const int DoorbellLength = sizeof(uint);

    /// <summary>Queues have at most 1024 entries.</summary>
    private const uint MaxEntries = 1024;

    /// <summary>Rings are in one piece; ready within 10 s; the NVM command set; pages of 4 KiB.</summary>
    private const ulong CapabilitiesValue = (MaxEntries - 1) | 1ul << 16 | 20ul << 24 | 1ul << 37;
    private const uint Version14 = 0x0001_0400;

    // CC.
    private const uint EnableBit = 1 << 0;
    private const uint CommandSetMask = 7 << 4;
    private const uint PageSizeMask = 0xF << 7;
    private const uint ArbitrationMask = 7 << 11;
    private const int ShutdownShift = 14;
    private const uint ShutdownMask = 3;
    private const int SubmissionSizeShift = 16;
    private const int CompletionSizeShift = 20;
    private const uint SizeMask = 0xF;
    private const uint ConfigurationWritable = 0x00FF_FFF1;

    // CSTS.
    private const uint Ready = 1 << 0;
    private const uint Fatal = 1 << 1;
    private const uint ShutdownStatusMask = 3 << 2;
    private const uint ShutdownOccurring = 1 << 2;
    private const uint ShutdownComplete = 2 << 2;

    private static readonly PciIdentity s_identity = new(
        VendorId: 0x144D, DeviceId: 0xA804, Revision: 0, ClassCode: 0x01_08_02, SubsystemVendorId: 0x144D, SubsystemId: 0xA801);

    private readonly Lock _lock = new();
    private readonly GuestMemory _memory;
    private readonly IBlockBackend _backend;
    private readonly string _serial;
    private readonly byte[] _uuid;
    private readonly NvmeSubmissionQueue?[] _submissions = new NvmeSubmissionQueue?[Queues];
    private readonly NvmeCompletionQueue?[] _completions = new NvmeCompletionQueue?[Queues];
    private uint _configuration;
    private uint _status;
    private uint _interruptMask;
    private uint _adminAttributes;
    private ulong _adminSubmissionBase;
    private ulong _adminCompletionBase;

    /// <summary>Commands that are being carried out, and waits for the host's disk.</summary>
    private int _outstanding;

    /// <summary>The controller has been switched off, and becomes so when nothing is outstanding.</summary>
    private bool _isStopping;

    /// <param name="memory">The guest's memory.</param>
    /// <param name="backend">Its logical blocks are 512 bytes.</param>
    /// <param name="serial">What the guest reads as the serial number: ASCII, cut at 20 characters.</param>
    public NvmeController(GuestMemory memory, IBlockBackend backend, string serial)
    {
        ArgumentOutOfRangeException.ThrowIfNotEqual(backend.LogicalBlockSize, (uint)BlockSize);
        _memory = memory;
        _backend = backend;
        _serial = serial;
        _uuid = SHA256.HashData(Encoding.UTF8.GetBytes(serial))[..16];
        Function = new PciFunction("NVMe", s_identity);
        Function.AddMemoryBar(Bar, BarSize, this, is64Bit: true);
        Function.AddMsiX(Queues, MsiXBar);
        Function.BusMasterChanged = enabled =>
        {
            if (enabled)
                ServeAll();
        };
        ResetFeatures();
    }

    public PciFunction Function { get; }

    /// <summary>A request has failed on the host; the guest gets an error, the user may be told why. Without any lock.</summary>
    public Action<string>? Failed { get; set; }

    private ulong Blocks => _backend.Length / BlockSize;

    /// <summary>Returns when nothing touches guest memory or disks any more; the guest has stopped before.</summary>
    public void Dispose() => Quiesce();

    private void Quiesce()
    {
        var spin = new SpinWait();
        while (IsWorking())
            spin.SpinOnce();
    }

    private bool IsWorking()
    {
        lock (_lock)
            return _outstanding != 0;
    }

    private protected override uint ReadRegister(int register)
    {
        lock (_lock)
        {
            return register switch
            {
                Capabilities => unchecked((uint)CapabilitiesValue),
                Capabilities + 4 => (uint)(CapabilitiesValue >> 32),
                Version => Version14,
                InterruptMaskSet or InterruptMaskClear => _interruptMask,
                Configuration => _configuration,
                StatusRegister => _status,
                AdminQueueAttributes => _adminAttributes,
                AdminSubmissionBase => (uint)_adminSubmissionBase,
                AdminSubmissionBase + 4 => (uint)(_adminSubmissionBase >> 32),
                AdminCompletionBase => (uint)_adminCompletionBase,
                AdminCompletionBase + 4 => (uint)(_adminCompletionBase >> 32),
                _ => 0,
            };
        }
    }

    private protected override void WriteRegister(int register, uint value)
    {
        if (register >= FirstDoorbell)
        {
            RingDoorbell((register - FirstDoorbell) / DoorbellLength, value);
            return;
        }

        const uint sizes = 0x0FFF_0FFF;
        const ulong upper = 0xFFFF_FFFF_0000_0000;
        lock (_lock)
        {
            switch (register)
            {
                case InterruptMaskSet:
                    _interruptMask |= value;
                    DriveLine();
                    break;
                case InterruptMaskClear:
                    _interruptMask &= ~value;
                    DriveLine();
                    break;
                case Configuration:
                    Configure(value & ConfigurationWritable);
                    break;
                case AdminQueueAttributes:
                    _adminAttributes = value & sizes;
                    break;
                case AdminSubmissionBase:
                    _adminSubmissionBase = _adminSubmissionBase & upper | value & ~(PageSize - 1);
                    break;
                case AdminSubmissionBase + 4:
                    _adminSubmissionBase = (uint)_adminSubmissionBase | (ulong)value << 32;
                    break;
                case AdminCompletionBase:
                    _adminCompletionBase = _adminCompletionBase & upper | value & ~(PageSize - 1);
                    break;
                case AdminCompletionBase + 4:
                    _adminCompletionBase = (uint)_adminCompletionBase | (ulong)value << 32;
                    break;
            }
        }
    }

    private void Configure(uint value)
    {
        var was = _configuration;
        _configuration = value;
        if (((was ^ value) & EnableBit) != 0)
        {
            if ((value & EnableBit) != 0)
                Enable();
            else
                Disable();
        }

        var shutdown = value >> ShutdownShift & ShutdownMask;
        if (shutdown == (was >> ShutdownShift & ShutdownMask))
            return;
        _status &= ~ShutdownStatusMask;
        if (shutdown == 0)
            return;
        _status |= ShutdownOccurring;
        FlushLater(static (controller, _, _) => controller.FinishShutdown(), null, 0);
    }

    private void Enable()
    {
        var submissionEntries = (_adminAttributes & 0xFFF) + 1;
        var completionEntries = (_adminAttributes >> 16) + 1;
        if (_isStopping || (_configuration & (CommandSetMask | PageSizeMask | ArbitrationMask)) != 0 || submissionEntries < 2 || completionEntries < 2)
        {
            _status |= Fatal;
            return;
        }

        _completions[0] = new NvmeCompletionQueue(0, _adminCompletionBase, completionEntries, vector: 0, interrupts: true) { Users = 1 };
        _submissions[0] = new NvmeSubmissionQueue(0, _adminSubmissionBase, submissionEntries, _completions[0]!);
        _status |= Ready;
    }

    /// <summary>A controller reset (7.3.2). The guest sees its end when what is under way is done.</summary>
    private void Disable()
    {
        foreach (var queue in _submissions)
        {
            if (queue is not null)
                queue.IsDeleted = true;
        }

        Array.Clear(_submissions);
        Array.Clear(_completions);
        _interruptMask = 0;
        ForgetEvents();
        ResetFeatures();
        DriveLine();
        _isStopping = true;
        _status = Ready;
        FinishStop();
    }

    private void FinishStop()
    {
        if (!_isStopping || _outstanding != 0)
            return;
        _isStopping = false;
        _status = 0;
    }

    private void FinishShutdown() => _status = _status & ~ShutdownStatusMask | ShutdownComplete;

    /// <summary>INTA#: asserted while any completion queue that interrupts has entries, unless masked.</summary>
    private void DriveLine()
    {
        var level = false;
        foreach (var queue in _completions)
        {
            // Without messages all queues share vector 0's bit or have one of the first 32.
            if (queue is { Interrupts: true } && queue.Used != 0 && (queue.Vector >= 32 || (_interruptMask >> queue.Vector & 1) == 0))
                level = true;
        }

        Function.SetInterrupt(level);
    }
}
