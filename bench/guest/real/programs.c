// Times real programs: reads "name<TAB>shell command" lines from the file "commands" beside it, runs each a few times and
// prints the same lines as the suite of small ones; the checksum is that of what the command printed. As the first process of
// a guest it powers off at the end, and takes bench_names= and bench_repeats= from the kernel command line; on the host they
// are its arguments. It works in /tmp.
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/reboot.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

static uint64_t now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

// FNV-1a of a file.
static uint64_t checksum(const char *path)
{
    uint64_t sum = 0xCBF29CE484222325;
    unsigned char block[65536];
    ssize_t got;
    int file = open(path, O_RDONLY);
    while ((got = read(file, block, sizeof block)) > 0)
        for (ssize_t i = 0; i < got; i++)
            sum = (sum ^ block[i]) * 0x100000001B3;
    close(file);
    return sum;
}

static int run(const char *command)
{
    int status;
    pid_t child = fork();
    if (child == 0) {
        int out = open("out", O_WRONLY | O_CREAT | O_TRUNC, 0600), errors = open("errors", O_WRONLY | O_CREAT | O_TRUNC, 0600);
        dup2(out, STDOUT_FILENO);
        dup2(errors, STDERR_FILENO);
        execl("/bin/sh", "sh", "-c", command, (char *)NULL);
        _exit(127);
    }
    while (waitpid(child, &status, 0) < 0 && errno == EINTR)
        ;
    return status;
}

static void print_cause(void)
{
    char text[200] = "";
    int file = open("errors", O_RDONLY);
    ssize_t got = read(file, text, sizeof text - 1);
    close(file);
    for (ssize_t i = 0; i < got; i++)
        if (text[i] == '\n')
            text[i] = ' ';
    printf("CAUSE %s\n", text);
}

static void measure(const char *name, const char *command, unsigned repeats)
{
    uint64_t best = 0, sum = 0;
    printf("BEGIN %s\n", name);
    fflush(stdout);
    for (unsigned i = 0; i < repeats; i++) {
        uint64_t started = now();
        int status = run(command);
        uint64_t elapsed = now() - started, this_sum = checksum("out");
        if (status != 0) {
            print_cause();
            printf("FAIL %s status %#x\n", name, (unsigned)status);
            return;
        }
        if (i > 0 && this_sum != sum) {
            printf("FAIL %s output differs between repeats\n", name);
            return;
        }
        sum = this_sum;
        best = i == 0 || elapsed < best ? elapsed : best;
    }
    printf("BENCH %s %llu000 1 %016llx\n", name, (unsigned long long)best, (unsigned long long)sum);
}

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

int main(int argc, char **argv)
{
    char line[512];
    int is_guest = argc < 2;
    const char *names = is_guest ? getenv("bench_names") : argv[1];
    const char *repeats = is_guest ? getenv("bench_repeats") : argc > 2 ? argv[2] : NULL;
    setenv("PATH", "/usr/bin:/bin", 1);
    setenv("LC_ALL", "C", 1);
    setenv("HOME", "/tmp", 1);
    FILE *commands = chdir("/tmp") ? NULL : fopen("commands", "r");
    if (!commands)
        puts("CAUSE no /tmp/commands");
    while (commands && fgets(line, sizeof line, commands)) {
        char *command = strchr(line, '\t');
        if (!command)
            continue;
        *command++ = 0;
        command[strcspn(command, "\n")] = 0;
        if (wanted(line, names))
            measure(line, command, repeats ? (unsigned)strtoul(repeats, NULL, 10) : 3);
        fflush(stdout);
    }
    puts("DONE");
    fflush(stdout);
    if (is_guest) {
        tcdrain(STDOUT_FILENO);
        reboot(RB_POWER_OFF);
        for (;;)
            pause();
    }
    return 0;
}
