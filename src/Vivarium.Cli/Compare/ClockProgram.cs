using Iced.Intel;
using static Iced.Intel.AssemblerRegisters;

namespace Vivarium.Cli.Compare;

/// <summary>
/// A program for Linux guests that reads the clock a million times as C programs do, by the kernel's vDSO, and prints how
/// many nanoseconds that took; with any argument it prints what the clock says, in nanoseconds. No program of a small
/// guest does that without doing something else too, and users have no compiler: so it is assembled here, into a static
/// ELF file of some 400 bytes.
/// </summary>
internal static class ClockProgram
{
    public const int Reads = 1_000_000;

    private const ulong LoadAddress = 0x40_0000;
    private const int HeaderSize = 64;
    private const int ProgramHeaderSize = 56;
    private const int WriteCall = 1, ExitCall = 60;
    private const int ClockMonotonic = 1;
    private const int NanosecondsPerSecond = 1_000_000_000;

    /// <summary>The file.</summary>
    public static byte[] Build()
    {
        using var file = new MemoryStream();
        WriteHeaders(file, 0);
        Assemble(file);
        int size = (int)file.Length;
        file.Position = 0;
        WriteHeaders(file, size);
        return file.ToArray();
    }

    private static void Assemble(Stream file)
    {
        var c = new Assembler(64);
        Label failed = c.CreateLabel(), name = c.CreateLabel();
        FindVdso(c, failed);
        FindSymbol(c, name, failed);
        MeasureClock(c);
        PrintAndExit(c);
        c.Label(ref failed);
        c.mov(edi, 1);
        c.mov(eax, ExitCall);
        c.syscall();
        c.Label(ref name);
        c.db("__vdso_clock_gettime\0"u8.ToArray());
        _ = c.Assemble(new StreamCodeWriter(file), LoadAddress + HeaderSize + ProgramHeaderSize);
    }

    /// <summary>R13 = the number of words that it was called with, RBX = where the kernel has put the vDSO: entry AT_SYSINFO_EHDR of the auxiliary vector, behind arguments and environment on the stack.</summary>
    private static void FindVdso(Assembler c, Label failed)
    {
        const int systemInformationHeader = 33;
        Label environment = c.CreateLabel(), auxiliary = c.CreateLabel(), found = c.CreateLabel();
        c.mov(r13, __[rsp]);
        c.lea(rdi, __[rsp + r13 * 8 + 16]);
        c.Label(ref environment);
        c.add(rdi, 8);
        c.cmp(__qword_ptr[rdi - 8], 0);
        c.jne(environment);
        c.Label(ref auxiliary);
        c.mov(rax, __[rdi]);
        c.mov(rbx, __[rdi + 8]);
        c.add(rdi, 16);
        c.cmp(rax, systemInformationHeader);
        c.je(found);
        c.test(rax, rax);
        c.jne(auxiliary);
        c.jmp(failed);
        c.Label(ref found);
    }

    /// <summary>R12 = the function of that name. The vDSO is linked at address 0, so its addresses are offsets.</summary>
    private static void FindSymbol(Assembler c, Label name, Label failed)
    {
        const int programHeaders = 32, programHeaderCount = 56, fileOffset = 8, dynamicSegment = 2;
        const int stringTable = 5, symbolTable = 6, symbolSize = 24, symbolValue = 8, nameLength = 21;
        Label segment = c.CreateLabel(), segmentFound = c.CreateLabel(), entry = c.CreateLabel(), notStrings = c.CreateLabel();
        Label notSymbols = c.CreateLabel(), symbol = c.CreateLabel();
        c.mov(rsi, __[rbx + programHeaders]);
        c.add(rsi, rbx);
        c.movzx(ecx, __word_ptr[rbx + programHeaderCount]);
        c.Label(ref segment);
        c.cmp(__dword_ptr[rsi], dynamicSegment);
        c.je(segmentFound);
        c.add(rsi, ProgramHeaderSize);
        c.dec(ecx);
        c.jne(segment);
        c.jmp(failed);
        c.Label(ref segmentFound);
        c.mov(rsi, __[rsi + fileOffset]);
        c.add(rsi, rbx);

        // R8 = strings, R9 = symbols. The linker puts the symbols before the strings.
        c.Label(ref entry);
        c.mov(rax, __[rsi]);
        c.mov(rdx, __[rsi + 8]);
        c.add(rdx, rbx);
        c.add(rsi, 16);
        c.cmp(rax, stringTable);
        c.jne(notStrings);
        c.mov(r8, rdx);
        c.Label(ref notStrings);
        c.cmp(rax, symbolTable);
        c.jne(notSymbols);
        c.mov(r9, rdx);
        c.Label(ref notSymbols);
        c.test(rax, rax);
        c.jne(entry);

        c.Label(ref symbol);
        c.cmp(r9, r8);
        c.jae(failed);
        c.mov(esi, __dword_ptr[r9]);
        c.add(rsi, r8);
        c.lea(rdi, __[name]);
        c.mov(ecx, nameLength);
        c.mov(r12, __[r9 + symbolValue]);
        c.add(r9, symbolSize);
        c.repe.cmpsb();
        c.jne(symbol);
        c.add(r12, rbx);
    }

    /// <summary>RAX = nanoseconds for all the readings; with an argument, from 0 to one reading.</summary>
    private static void MeasureClock(Assembler c)
    {
        Label again = c.CreateLabel();
        c.and(rsp, -16);
        c.sub(rsp, 32);
        ReadClock(c, 0);
        c.mov(ebx, Reads);
        c.cmp(r13, 1);
        c.je(again);
        c.mov(__qword_ptr[rsp], 0);
        c.mov(__qword_ptr[rsp + 8], 0);
        c.mov(ebx, 1);
        c.Label(ref again);
        ReadClock(c, 16);
        c.dec(ebx);
        c.jne(again);
        c.mov(rax, __[rsp + 16]);
        c.sub(rax, __[rsp]);
        c.imul(rax, rax, NanosecondsPerSecond);
        c.add(rax, __[rsp + 24]);
        c.sub(rax, __[rsp + 8]);
    }

    /// <summary>clock_gettime(CLOCK_MONOTONIC, RSP + offset).</summary>
    private static void ReadClock(Assembler c, int offset)
    {
        c.mov(edi, ClockMonotonic);
        c.lea(rsi, __[rsp + offset]);
        c.call(r12);
    }

    /// <summary>RAX in decimal, and a line's end.</summary>
    private static void PrintAndExit(Assembler c)
    {
        Label digit = c.CreateLabel();
        c.lea(rsi, __[rsp + 31]);
        c.mov(__byte_ptr[rsi], (byte)'\n');
        c.mov(ecx, 10);
        c.Label(ref digit);
        c.xor(edx, edx);
        c.div(rcx);
        c.add(dl, (byte)'0');
        c.dec(rsi);
        c.mov(__byte_ptr[rsi], dl);
        c.test(rax, rax);
        c.jne(digit);
        c.lea(rdx, __[rsp + 32]);
        c.sub(rdx, rsi);
        c.mov(edi, 1);
        c.mov(eax, WriteCall);
        c.syscall();
        c.xor(edi, edi);
        c.mov(eax, ExitCall);
        c.syscall();
    }

    /// <summary>The ELF header and one program header, which loads the whole file readable and executable (System V gABI, chapters 4 and 5).</summary>
    private static void WriteHeaders(Stream file, int size)
    {
        using var to = new BinaryWriter(file, System.Text.Encoding.ASCII, leaveOpen: true);
        const byte class64 = 2, littleEndian = 1, currentVersion = 1;
        const ushort executable = 2, x86_64 = 62, headers = 1;
        const uint load = 1, readExecute = 5;
        to.Write([0x7F, (byte)'E', (byte)'L', (byte)'F', class64, littleEndian, currentVersion, 0]);
        to.Write(0L);
        to.Write(executable);
        to.Write(x86_64);
        to.Write((uint)currentVersion);
        to.Write(LoadAddress + HeaderSize + ProgramHeaderSize); // entry
        to.Write((ulong)HeaderSize); // program headers
        to.Write(0UL); // no sections
        to.Write(0u); // flags
        to.Write((ushort)HeaderSize);
        to.Write((ushort)ProgramHeaderSize);
        to.Write(headers);
        to.Write(0u); // section header size and count
        to.Write((ushort)0); // section of names
        to.Write(load);
        to.Write(readExecute);
        to.Write(0UL); // offset
        to.Write(LoadAddress);
        to.Write(LoadAddress);
        to.Write((ulong)size);
        to.Write((ulong)size);
        to.Write(0x1000UL); // alignment
    }
}
