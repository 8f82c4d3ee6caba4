using Vivarium.Engine;
using Vivarium.Gdb.Registers;

namespace Vivarium.Gdb;

/// <summary>What follows from a packet.</summary>
internal enum Outcome
{
    /// <summary>The reply is to be sent.</summary>
    Reply,

    /// <summary>The machine runs; the reply follows when it stops.</summary>
    Running,

    /// <summary>The reply is to be sent, and the client goes.</summary>
    Detached,

    /// <summary>The machine is ended; the client has had its answer, if it wants one.</summary>
    Killed,
}

/// <summary>
/// GDB's remote protocol (GDB manual, appendix "GDB Remote Serial Protocol") for one client and one machine: what each packet
/// asks for. Processors are threads, 1 for the first. This file: which packet is for whom; beside it, one file per family.
/// </summary>
/// <remarks>Used by the holder of the target's <see cref="IDebugTarget.Gate"/>, while the machine is stopped.</remarks>
internal sealed partial class GdbStub
{
    private const int MaxPacketData = PacketReader.MaxLength;

    private readonly IDebugTarget _target;
    private readonly StoppedProcessors _processors;
    private readonly RegisterSet _registers;
    private readonly Reply _reply;

    /// <summary>The processor whose registers and memory are meant ('Hg').</summary>
    private int _general;

    /// <summary>The processor that 'c' and 's' are for ('Hc'); -1 for all.</summary>
    private int _continued = -1;

    private bool _tellsBreakpointKind;
    private bool _physical;

    /// <param name="target">The machine, which is stopped.</param>
    /// <param name="registers">How the client is to see a processor.</param>
    /// <param name="reply">Where replies are written.</param>
    public GdbStub(IDebugTarget target, RegisterSet registers, Reply reply)
    {
        _target = target;
        _registers = registers;
        _reply = reply;
        _processors = new StoppedProcessors(target);
    }

    /// <summary>The client wants no acknowledgements any more (QStartNoAckMode).</summary>
    public bool NoAcknowledgements { get; private set; }

    /// <summary>The client wants 32-bit registers, or 64-bit ones again, when it comes next.</summary>
    public bool? Wants32 { get; private set; }

    /// <summary>Does what a packet says.</summary>
    /// <param name="packet">Without frame and checksum.</param>
    public Outcome Handle(ReadOnlySpan<byte> packet)
    {
        _reply.Clear();
        var cursor = new PacketCursor(packet);
        if (!cursor.TryTake(out byte kind))
        {
            return Outcome.Reply;
        }

        switch ((char)kind)
        {
            case '?':
                WriteStop();
                break;
            case 'g':
                ReadRegisters();
                break;
            case 'G':
                WriteRegisters(cursor.Rest);
                break;
            case 'p':
                ReadRegister(cursor);
                break;
            case 'P':
                WriteRegister(cursor);
                break;
            case 'm':
                ReadMemory(cursor);
                break;
            case 'M':
                WriteMemory(cursor, binary: false);
                break;
            case 'X':
                WriteMemory(cursor, binary: true);
                break;
            case 'Z':
                ChangeBreakpoint(cursor, insert: true);
                break;
            case 'z':
                ChangeBreakpoint(cursor, insert: false);
                break;
            case 'H':
                ChooseThread(cursor);
                break;
            case 'T':
                _ = TryTakeThread(ref cursor, out int alive) && alive >= 0 && cursor.AtEnd ? _reply.Ok() : _reply.Error(ErrorNumber.NoSuchThread);
                break;
            case 'c':
            case 's':
                return ResumeOne(cursor, step: kind == 's', withSignal: false);
            case 'C':
            case 'S':
                return ResumeOne(cursor, step: kind == 'S', withSignal: true);
            case 'v':
                return HandleVerbose(packet);
            case 'D':
                _ = _reply.Ok();
                return Outcome.Detached;
            case 'k':
                return Outcome.Killed;
            case 'q':
            case 'Q':
                HandleQuery(packet);
                break;
            default:
                // Not known: an empty reply says so.
                break;
        }

        return Outcome.Reply;
    }

    /// <summary>The client goes: what it has changed counts.</summary>
    public void Leave() => _processors.GiveBack();

    private Outcome HandleVerbose(ReadOnlySpan<byte> packet)
    {
        var cursor = new PacketCursor(packet);
        if (cursor.Take("vCont?"u8) && cursor.AtEnd)
        {
            _ = _reply.Text("vCont;c;C;s;S;r"u8);
        }
        else if (cursor.Take("vCont;"u8))
        {
            return ResumeEach(cursor);
        }
        else if (cursor.Take("vKill;"u8))
        {
            _ = _reply.Ok();
            return Outcome.Killed;
        }

        return Outcome.Reply;
    }
}
