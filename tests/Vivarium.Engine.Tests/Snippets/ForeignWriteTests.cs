using System.Diagnostics;
using static Iced.Intel.AssemblerRegisters;
using static Vivarium.Engine.Tests.Snippets.SnippetMachine;

namespace Vivarium.Engine.Tests.Snippets;

/// <summary>Devices' threads that write guest memory while the processor runs and translates what stands there.</summary>
public sealed class ForeignWriteTests
{
    private const int Rounds = 300;
    private const ulong Patched = Code + 0x3000;
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(20);

    [Fact]
    public void CodeWrittenByAnotherThreadIsNeverRunInItsOldForm()
    {
        using SnippetMachine m = Long();
        m.WriteBytes(Patched, 0xB8, 0, 0, 0, 0, 0xC3); // mov eax, imm32; ret
        m.Rdi = Data;
        m.Write(c =>
        {
            Iced.Intel.Label again = c.CreateLabel();
            Iced.Intel.Label end = c.CreateLabel();
            c.Label(ref again);
            c.call(Patched);
            c.mov(__dword_ptr[rdi], eax);
            c.cmp(__dword_ptr[rdi + 4], 0);
            c.jne(end);
            c.jmp(again);
            c.Label(ref end);
            c.hlt();
        });
        string? failure = null;
        var device = new Thread(() => failure = WriteAndWait(m));
        device.Start();
        m.RunToEnd();
        device.Join();
        Assert.Null(failure);
    }

    /// <summary>Two writes shortly after one another, so that the second meets the translation of the first; then the guest must get the second.</summary>
    private static string? WriteAndWait(SnippetMachine m)
    {
        try
        {
            for (uint value = 2; value < Rounds * 2; value += 2)
            {
                m.Memory.Write(Patched + 1, value);
                Thread.SpinWait((int)(value % 997));
                m.Memory.Write(Patched + 1, value + 1);
                Interlocked.MemoryBarrier();
                var watch = Stopwatch.StartNew();
                while (m.Memory.Read<uint>(Data) != value + 1)
                {
                    Thread.Yield();
                    if (watch.Elapsed > Patience)
                    {
                        return $"{value + 1} was written and {m.Memory.Read<uint>(Data)} is still run";
                    }
                }
            }

            return null;
        }
        finally
        {
            m.Memory.Write(Data + 4, 1u);
        }
    }
}
