// The suite of bench/guest: times itself and prints a line for each benchmark. As /init of a guest it prepares what it needs,
// takes its options from the kernel command line (bench_names=, bench_ms=, bench_repeats=) and powers off at the end, unless
// there is a bench_stay=; on the host the options are arguments: guestbench [--list] [NAMES [MILLISECONDS [REPEATS]]].
//
// Lines: "BEGIN name", "BENCH name picoseconds-per-operation operations checksum", "FAIL name why", "DONE".
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "bench.h"

const char *scratch_folder = "/dev/shm";

static const struct {
    const char *name;
    const struct bench *benches;
} groups[] = {
    { "integer", integer_group }, { "memory", memory_group }, { "float", float_group }, { "code", code_group }, { "kernel", kernel_group },
};

enum { GROUPS = sizeof groups / sizeof *groups, PATIENCE_SECONDS = 120 };

void fail(const char *what)
{
    printf("CAUSE %s: %s\n", what, strerror(errno));
    fflush(stdout);
    _exit(1);
}

static uint64_t now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static uint64_t timed(const struct bench *bench, uint64_t count)
{
    uint64_t started = now();
    uint64_t sum = bench->run(count);
    OPAQUE(sum);
    return now() - started;
}

// Finds how many operations fill the budget, then takes the best of the repeats.
static void measure(const char *name, const struct bench *bench, uint64_t budget, unsigned repeats)
{
    uint64_t sum = bench->run(bench->checked), count = bench->checked, elapsed;
    while ((elapsed = timed(bench, count)) < budget / 2) {
        uint64_t factor = elapsed ? budget / elapsed : 10;
        count *= factor < 2 ? 2 : factor > 10 ? 10 : factor;
    }
    double best = 0;
    for (unsigned i = 0; i < repeats; i++) {
        double each = (double)timed(bench, count) / (double)count;
        if (i == 0 || each < best)
            best = each;
    }
    printf("BENCH %s %.0f %llu %016llx\n", name, best * 1000, (unsigned long long)count, (unsigned long long)sum);
}

// Each in a process of its own, so that one that dies is only one line, and none leaves memory or signals to the next.
static void run_apart(const char *name, const struct bench *bench, uint64_t budget, unsigned repeats)
{
    printf("BEGIN %s\n", name);
    fflush(stdout);
    pid_t child = fork();
    if (child < 0)
        fail("fork");
    if (child == 0) {
        cpu_set_t here;
        int cpu = sched_getcpu();
        CPU_ZERO(&here);
        CPU_SET(cpu < 0 ? 0 : cpu, &here);
        // The guests have one processor; the host must not gain from a second one.
        sched_setaffinity(0, sizeof here, &here);
        alarm(PATIENCE_SECONDS);
        measure(name, bench, budget, repeats);
        fflush(stdout);
        _exit(0);
    }
    int status;
    while (waitpid(child, &status, 0) < 0 && errno == EINTR)
        ;
    if (WIFSIGNALED(status))
        printf("FAIL %s signal %d (%s)\n", name, WTERMSIG(status), strsignal(WTERMSIG(status)));
    else if (WEXITSTATUS(status))
        printf("FAIL %s exit code %d\n", name, WEXITSTATUS(status));
    fflush(stdout);
}

// Whether one of the comma-separated words stands in the name; no words mean all.
static int wanted(const char *name, const char *words)
{
    if (!words || !*words)
        return 1;
    char *copy = strdup(words), *rest = copy, *word;
    int found = 0;
    while (!found && (word = strsep(&rest, ",")))
        found = *word && strstr(name, word);
    free(copy);
    return found;
}

static void prepare_guest(void)
{
    mkdir("/proc", 0755);
    mkdir("/dev", 0755);
    mkdir("/tmp", 0755);
    if (mount("proc", "/proc", "proc", 0, NULL) || mount("tmpfs", "/tmp", "tmpfs", 0, NULL))
        fail("mount");
    scratch_folder = "/tmp";
    // What the kernel still has to do after its start is not to be measured.
    sleep(1);
}

int main(int argc, char **argv)
{
    if (argc > 1 && !strcmp(argv[1], "--exit"))
        _exit(0);
    int is_init = getpid() == 1, list = argc > 1 && !strcmp(argv[1], "--list");
    const char *names = is_init ? getenv("bench_names") : argc > 1 ? argv[1] : NULL;
    const char *ms = is_init ? getenv("bench_ms") : argc > 2 ? argv[2] : NULL;
    const char *repeats = is_init ? getenv("bench_repeats") : argc > 3 ? argv[3] : NULL;
    uint64_t budget = (ms ? strtoull(ms, NULL, 10) : 10) * 1000000u;
    if (is_init)
        prepare_guest();
    for (int g = 0; g < GROUPS; g++)
        for (const struct bench *bench = groups[g].benches; bench->name; bench++) {
            char name[64];
            snprintf(name, sizeof name, "%s/%s", groups[g].name, bench->name);
            if (list)
                puts(name);
            else if (wanted(name, names))
                run_apart(name, bench, budget, repeats ? (unsigned)strtoul(repeats, NULL, 10) : 24);
        }
    if (list)
        return 0;
    puts("DONE");
    fflush(stdout);
    if (is_init) {
        tcdrain(STDOUT_FILENO);
        // Who wants to look at the machine as it is now.
        if (!getenv("bench_stay"))
            reboot(RB_POWER_OFF);
        for (;;)
            pause();
    }
    return 0;
}
