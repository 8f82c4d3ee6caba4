using System.Text;
using Vivarium.Engine;
using Vivarium.Gdb.Registers;

namespace Vivarium.Gdb.Tests;

/// <summary>What each packet asks for.</summary>
public sealed class GdbStubTests : IDisposable
{
    private readonly TestTarget _target = new();
    private readonly Reply _reply = new();
    private readonly GdbStub _stub;

    public GdbStubTests() => _stub = new GdbStub(_target, RegisterSet.Create64(hasAvx: true), _reply);

    public void Dispose() => _target.Dispose();

    private string Ask(string packet, Outcome outcome = Outcome.Reply)
    {
        Assert.Equal(outcome, _stub.Handle(Encoding.Latin1.GetBytes(packet)));
        return Encoding.Latin1.GetString(_reply.Data);
    }

    private static string Hex(string text) => Convert.ToHexStringLower(Encoding.UTF8.GetBytes(text));

    private static string FromHex(string digits) => Encoding.UTF8.GetString(Convert.FromHexString(digits));

    [Theory]
    [InlineData("vMustReplyEmpty")]
    [InlineData("qNobodyKnows")]
    [InlineData("!")]
    [InlineData("Z9,0,1")]
    [InlineData("vFile:open:2f,0,0")]
    [InlineData("_")]
    public void WhatIsNotKnownHasAnEmptyAnswer(string packet) => Assert.Equal("", Ask(packet));

    [Theory]
    [InlineData("m")]
    [InlineData("mzz,4")]
    [InlineData("m0")]
    [InlineData("m0,")]
    [InlineData("m0,4x")]
    [InlineData("m10000000000000000,4")]
    [InlineData("M0,4:00")]
    [InlineData("M0,2:0x00")]
    [InlineData("M0,ffffffff:")]
    [InlineData("X0,2:}")]
    [InlineData("p")]
    [InlineData("p1000")]
    [InlineData("P0")]
    [InlineData("P0=00")]
    [InlineData("P0=zzzzzzzzzzzzzzzz")]
    [InlineData("G00")]
    [InlineData("H")]
    [InlineData("Hg9")]
    [InlineData("Hgffffffffffffffffff")]
    [InlineData("T3")]
    [InlineData("T0")]
    [InlineData("Z0")]
    [InlineData("Z0,")]
    [InlineData("Z0,10")]
    [InlineData("Z2,10,0")]
    [InlineData("Z2,ffffffffffffffff,2")]
    [InlineData("Z2,0,ffffffffffffffff")]
    [InlineData("vCont;x")]
    [InlineData("vCont;r1")]
    [InlineData("vCont;c:9")]
    [InlineData("vCont;;")]
    [InlineData("Czz")]
    [InlineData("cxyz")]
    [InlineData("qXfer:features:read:other.xml:0,10")]
    [InlineData("qXfer:features:read:target.xml:0")]
    [InlineData("qRcmd,6")]
    [InlineData("qThreadExtraInfo,7")]
    [InlineData("Qqemu.PhyMemMode:2")]
    public void WhatMakesNoSenseIsRefused(string packet)
    {
        Assert.StartsWith("E", Ask(packet));
        Assert.Null(_target.Running);
    }

    [Fact]
    public void TheDescriptionCanBeReadInPieces()
    {
        string whole = "";
        string piece;
        do
        {
            piece = Ask($"qXfer:features:read:target.xml:{whole.Length:x},80");
            whole += piece[1..];
        }
        while (piece[0] == 'm');

        Assert.Equal('l', piece[0]);
        Assert.Equal(Encoding.UTF8.GetString(RegisterSet.Create64(hasAvx: true).Description), whole);
        Assert.Contains("<architecture>i386:x86-64</architecture>", whole);
        foreach (string name in new[] { "rip", "eflags", "st7", "fop", "xmm15", "mxcsr", "ymm15h", "fs_base", "gs_base", "cr0", "cr2", "cr3", "cr4", "cr8", "efer" })
        {
            Assert.Contains($"name=\"{name}\"", whole);
        }

        Assert.Equal("l", Ask("qXfer:features:read:target.xml:7fffffff,80"));
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void AllRegistersAreAsLongAsDescribed(bool wide)
    {
        var registers = wide ? RegisterSet.Create64(hasAvx: true) : RegisterSet.Create32(hasAvx: false);
        var stub = new GdbStub(_target, registers, _reply);
        Assert.Equal(Outcome.Reply, stub.Handle("g"u8));
        Assert.Equal(registers.All.Sum(register => register.Bits) / 4, _reply.Data.Length);
    }

    [Fact]
    public void RegistersThatAreWrittenReachTheProcessorWhenItRuns()
    {
        Assert.Equal("OK", Ask("Hg2"));
        Assert.Equal("OK", Ask("P3=efcdab8967452301")); // rdx
        Assert.Equal("efcdab8967452301", Ask("p3")[..16]);
        Assert.Equal(0u, _target.StateOf(1).Gpr[2]);
        _ = Ask("vCont;c", Outcome.Running);
        Assert.Equal(0x0123_4567_89AB_CDEFu, _target.StateOf(1).Gpr[2]);
        Assert.Equal(0u, _target.StateOf(0).Gpr[2]);
    }

    [Fact]
    public void ProcessorsModesCannotBeChangedFromOutside()
    {
        var registers = RegisterSet.Create64(hasAvx: true);
        foreach (string name in new[] { "cr0", "cr3", "cr4", "efer", "cs", "ss" })
        {
            Register register = registers.All.Single(known => known.Name == name);
            int number = registers.All.ToList().IndexOf(register);
            string now = Ask($"p{number:x}");
            Assert.Equal("OK", Ask($"P{number:x}={now}"));
            Assert.StartsWith("E", Ask($"P{number:x}={new string('5', register.Bytes * 2)}"));
        }

        Assert.Equal("OK", Ask("P11=ffffffff"));
        Assert.Equal(0u, Convert.FromHexString(Ask("p11"))[2] & 2u); // VM
    }

    [Fact]
    public void AFloatingPointRegisterIsWrittenOverItsInitialState()
    {
        var registers = RegisterSet.Create64(hasAvx: true);
        int xmm1 = registers.All.ToList().FindIndex(register => register.Name == "xmm1");
        int ftag = registers.All.ToList().FindIndex(register => register.Name == "ftag");
        Assert.Equal("ffff0000", Ask($"p{ftag:x}"));
        Assert.Equal(new string('0', 32), Ask($"p{xmm1:x}"));
        Assert.Equal("OK", Ask($"P{xmm1:x}={new string('7', 32)}"));
        Assert.Equal(new string('7', 32), Ask($"p{xmm1:x}"));
        Assert.Equal(new string('0', 32), Ask($"p{xmm1 - 1:x}"));
    }

    [Fact]
    public void MemoryIsReadAsFarAsItGoes()
    {
        _target.Memory.Write(0x1000, 0x1122_3344u);
        Assert.Equal("44332211", Ask("m1000,4"));
        Assert.Equal(8, Ask($"m{TestTarget.RamSize - 4:x},10").Length);
        Assert.Equal("E0e", Ask($"m{TestTarget.RamSize:x},1"));
        Assert.Equal("", Ask("m0,0"));
        Assert.True(Ask("m0,ffffffffffffffff").Length <= PacketReader.MaxLength);
    }

    [Fact]
    public void MemoryIsWrittenWholeOrNotAtAll()
    {
        Assert.Equal("OK", Ask("M1ffe,4:01020304"));
        Assert.Equal(0x0403_0201u, _target.Memory.Read<uint>(0x1FFE));
        Assert.Equal("OK", Ask("X2000,3:a}\u0003b"));
        Assert.Equal("61236200", Ask("m2000,4"));
        Assert.Equal("OK", Ask("X0,0:"));
        Assert.Equal("E0e", Ask($"M{TestTarget.RamSize - 2:x},4:01020304"));
        Assert.Equal(0, _target.Memory.Read<ushort>(TestTarget.RamSize - 2));
    }

    [Fact]
    public void AddressesArePhysicalWhereQemusModeSaysSo()
    {
        Assert.Equal("0", Ask("qqemu.PhyMemMode"));
        Assert.Equal("OK", Ask("Qqemu.PhyMemMode:1"));
        Assert.Equal("1", Ask("qqemu.PhyMemMode"));
        Assert.Equal("00", Ask("m1000,1"));
    }

    [Fact]
    public void ThreadsAreProcessors()
    {
        Assert.Equal("m1,2", Ask("qfThreadInfo"));
        Assert.Equal("l", Ask("qsThreadInfo"));
        Assert.Equal("QC1", Ask("qC"));
        Assert.Equal("OK", Ask("T2"));
        Assert.Equal("CPU 0 [running]", FromHex(Ask("qThreadExtraInfo,1")));
        Assert.Equal("CPU 1 [waits for start-up]", FromHex(Ask("qThreadExtraInfo,2")));
        Assert.Equal("1", Ask("qAttached"));
        Assert.StartsWith("T02", Ask("?"));
    }

    [Theory]
    [InlineData("vCont;c", true, true)]
    [InlineData("vCont;s:1;c", true, false)]
    [InlineData("vCont;s:2", false, true)]
    [InlineData("vCont;C05:1", true, false)]
    [InlineData("vCont;r10,20:1", true, false)]
    [InlineData("c", true, true)]
    [InlineData("s", true, false)]
    [InlineData("C05", true, true)]
    [InlineData("vCont;c:-1", true, true)]
    public void WhoIsToRunRuns(string packet, bool first, bool second)
    {
        _ = Ask(packet, Outcome.Running);
        Assert.Equal([first, second], _target.Running!);
    }

    [Fact]
    public void HcChoosesWhoRuns()
    {
        Assert.Equal("OK", Ask("Hc2"));
        _ = Ask("s", Outcome.Running);
        Assert.Equal([false, true], _target.Running!);
    }

    [Fact]
    public void StopsAreToldWithTheirCause()
    {
        _ = Ask("qSupported:swbreak+;hwbreak+");
        Assert.Equal("OK", Ask("Z1,0,1"));
        Assert.Equal("OK", Ask("Z3,1234,8"));
        _ = Ask("vCont;c", Outcome.Running);

        var watched = new VmExit { Reason = ExitReason.Debug, DebugCause = DebugCause.Watchpoint, Watchpoint = new Watchpoint(0x1234, 8, WatchKind.Read), WatchedAddress = 0x1236 };
        Assert.True(_stub.TakeStop(new DebugEvent(DebugEventKind.Stopped, 1, watched)));
        string reply = Encoding.Latin1.GetString(_reply.Data);
        Assert.StartsWith("T05rwatch:1236;", reply);
        Assert.EndsWith("thread:2;", reply);
        Assert.Equal("QC2", Ask("qC"));
        Assert.Equal(reply, Ask("?"));

        // Another one at the same moment is told without running.
        _stub.KeepForLater(new DebugEvent(DebugEventKind.Stopped, 0, watched));
        Assert.StartsWith("T05rwatch:1236;", Ask("c"));
        Assert.EndsWith("thread:1;", Ask("?"));
        _ = Ask("c", Outcome.Running);

        var crash = new DebugEvent(DebugEventKind.Crashed, 0);
        Assert.True(_stub.TakeStop(crash));
        Assert.StartsWith("T06", Encoding.Latin1.GetString(_reply.Data));
    }

    [Fact]
    public void AStepInARangeGoesOnByItself()
    {
        CpuState state = _target.StateOf(0);
        state.Segments[1].Base = 0;
        state.Rip = 0x15;
        _target.Processors[0].SetState(state);
        _ = Ask("vCont;r10,20:1", Outcome.Running);
        var step = new DebugEvent(DebugEventKind.Stopped, 0, new VmExit { Reason = ExitReason.Debug, DebugCause = DebugCause.Step });
        Assert.False(_stub.TakeStop(step));
        state.Rip = 0x20;
        _target.Processors[0].SetState(state);
        Assert.True(_stub.TakeStop(step));
    }

    /// <summary>So that neither a stuck one nor time that flies is what the others see; but they are not kept for ever.</summary>
    [Fact]
    public void WhoStepsMostlyDoesSoAlone()
    {
        var step = new DebugEvent(DebugEventKind.Stopped, 0, new VmExit { Reason = ExitReason.Debug, DebugCause = DebugCause.Step });
        int together = 0;
        for (int i = 0; i < 64; i++)
        {
            _ = Ask("vCont;s:1;c", Outcome.Running);
            Assert.Equal([true, !_target.Stepping], _target.Running!);
            together += _target.Stepping ? 0 : 1;
            Assert.True(_stub.TakeStop(step));
        }

        Assert.Equal(4, together);
        _ = Ask("vCont;c", Outcome.Running);
        Assert.Equal([true, true], _target.Running!);
        Assert.False(_target.Stepping);
    }

    /// <summary>It waits for an interrupt, which time or another processor brings.</summary>
    [Fact]
    public void AHaltedProcessorStepsWithTheOthers()
    {
        CpuState state = _target.StateOf(0);
        state.Halted = true;
        _target.Processors[0].SetState(state);
        for (int i = 0; i < 3; i++)
        {
            _ = Ask("vCont;s:1;c", Outcome.Running);
            Assert.Equal([true, true], _target.Running!);
            Assert.False(_target.Stepping);
            Assert.True(_stub.TakeStop(new DebugEvent(DebugEventKind.Stopped, 0, new VmExit { Reason = ExitReason.Debug, DebugCause = DebugCause.Step })));
        }
    }

    [Fact]
    public void ThereAreOnlySoManyBreakpoints()
    {
        string reply = "OK";
        int count = 0;
        for (; reply == "OK" && count < 10_000; count++)
        {
            reply = Ask($"Z0,{count:x},1");
        }

        Assert.Equal("E1c", reply);
        Assert.Equal("OK", Ask("z0,0,1"));
        Assert.Equal("OK", Ask("z0,0,1"));
        Assert.Equal("OK", Ask("Z0,5000,1"));
    }

    [Theory]
    [InlineData("help", "monitor xp")]
    [InlineData("", "monitor xp")]
    [InlineData("info registers", "RIP ")]
    [InlineData("info registers 1", "RIP ")]
    [InlineData("info registers 2", "there is no processor 2")]
    [InlineData("info cpus", "waits for start-up")]
    [InlineData("xp/4b 0x1000", "0000000000001000: 00 00 00 00\n")]
    [InlineData("xp 0x1000", "0000000000001000: 00000000\n")]
    [InlineData("xp/9999999999b 0", "write for example")]
    [InlineData("xp 0xffffffffffffffff", "is not memory")]
    [InlineData("xp/4g 0xffffffffffffffff", "is not memory")]
    [InlineData("translate 0x123", "at physical 0000000000000123")]
    [InlineData("phys on", "physical")]
    [InlineData("dance", "unknown command 'dance'")]
    public void MonitorCommands(string command, string expected) => Assert.Contains(expected, FromHex(Ask("qRcmd," + Hex(command))));

    [Fact]
    public void LongAnswersFitIntoAPacket() => Assert.InRange(Ask("qRcmd," + Hex("xp/4096b 0")).Length, 1, PacketReader.MaxLength);

    [Fact]
    public void TheClientGoes()
    {
        Assert.Equal("OK", Ask("D", Outcome.Detached));
        Assert.Equal("", Ask("k", Outcome.Killed));
        Assert.Equal("OK", Ask("vKill;1", Outcome.Killed));
    }
}
