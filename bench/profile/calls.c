/*
 * Which functions of a program are called, in the order of their first calls: each is given a breakpoint, which is taken out when it is hit.
 *
 *     calls OUTPUT PROGRAM [ARGUMENT...] <SYMBOLS
 *
 * SYMBOLS has a line for each function, its address in the file (hexadecimal) and its names, by address. The names of those that are
 * called are appended to OUTPUT. The program is one for x86-64 that can stand at any address.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

struct function {
    uint64_t address;
    char *name;
    uint8_t first_byte;
    uint8_t is_called;
};

static const uint8_t breakpoint = 0xcc;
static struct function *functions;
static size_t count;

static void fail(const char *what)
{
    fprintf(stderr, "calls: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void read_symbols(void)
{
    char *line = NULL;
    size_t size = 0;
    while (getline(&line, &size, stdin) > 0) {
        char *end;
        uint64_t address = strtoull(line, &end, 16);
        end[strcspn(end, "\n")] = 0;
        if (*end != ' ') {
            continue;
        }
        functions = reallocarray(functions, count + 1, sizeof *functions);
        if (functions == NULL) {
            fail("symbols");
        }
        functions[count++] = (struct function){ .address = address, .name = strdup(end + 1) };
    }
    free(line);
}

/* Where the program's file begins in its address space: its first mapping. */
static uint64_t base_of(pid_t program)
{
    char path[64];
    uint64_t base = 0;
    snprintf(path, sizeof path, "/proc/%d/maps", program);
    FILE *maps = fopen(path, "r");
    if (maps == NULL || fscanf(maps, "%lx", &base) != 1) {
        fail(path);
    }
    fclose(maps);
    return base;
}

static int by_address(const void *key, const void *element)
{
    uint64_t address = *(const uint64_t *)key, other = ((const struct function *)element)->address;
    return (address > other) - (address < other);
}

/* Whether a thread stopped at one of the breakpoints; then it goes on with the instruction that stands there. */
static int take_out(pid_t thread, int memory, uint64_t base, FILE *output)
{
    struct user_regs_struct registers;
    if (ptrace(PTRACE_GETREGS, thread, 0, &registers) != 0) {
        return 0;
    }
    uint64_t address = registers.rip - 1 - base;
    struct function *hit = bsearch(&address, functions, count, sizeof *functions, by_address);
    if (hit == NULL) {
        return 0;
    }
    if (!hit->is_called) {
        hit->is_called = 1;
        if (pwrite(memory, &hit->first_byte, 1, (off_t)(base + address)) != 1) {
            fail("breakpoint");
        }
        fprintf(output, "%s\n", hit->name);
    }
    registers.rip--;
    ptrace(PTRACE_SETREGS, thread, 0, &registers);
    return 1;
}

int main(int argc, char **argv)
{
    if (argc < 3) {
        fputs("Usage: calls OUTPUT PROGRAM [ARGUMENT...] <SYMBOLS\n", stderr);
        return 2;
    }
    FILE *output = fopen(argv[1], "a");
    if (output == NULL) {
        fail(argv[1]);
    }
    read_symbols();
    pid_t program = fork();
    if (program == 0) {
        ptrace(PTRACE_TRACEME, 0, 0, 0);
        if (freopen("/dev/null", "r", stdin) != NULL) {
            execv(argv[2], argv + 2);
        }
        fail(argv[2]);
    }
    int status;
    if (waitpid(program, &status, 0) != program || !WIFSTOPPED(status)) {
        return 1;
    }
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/mem", program);
    int memory = open(path, O_RDWR | O_CLOEXEC);
    uint64_t base = base_of(program);
    for (size_t i = 0; i < count; i++) {
        off_t place = (off_t)(base + functions[i].address);
        if (pread(memory, &functions[i].first_byte, 1, place) != 1 || pwrite(memory, &breakpoint, 1, place) != 1) {
            fail(functions[i].name);
        }
    }
    ptrace(PTRACE_SETOPTIONS, program, 0, PTRACE_O_TRACECLONE | PTRACE_O_EXITKILL);
    ptrace(PTRACE_CONT, program, 0, 0);
    for (;;) {
        pid_t thread = waitpid(-1, &status, __WALL);
        if (thread < 0) {
            fail("waitpid");
        }
        if (!WIFSTOPPED(status)) {
            if (thread == program) {
                break;
            }
            continue;
        }
        int stop = WSTOPSIG(status);
        /* A new thread, or the news of it; anything else is the program's own business. */
        int is_ours = stop == SIGSTOP || status >> 16 != 0 || (stop == SIGTRAP && take_out(thread, memory, base, output));
        ptrace(PTRACE_CONT, thread, 0, is_ours ? 0 : stop);
    }
    fclose(output);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}
