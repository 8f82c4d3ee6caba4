// What programs ask of the kernel: calls, signals, switches, processes, memory, files.
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "bench.h"

enum { PAGE = 4096, FILE_PAGES = 256 };

static uint64_t run_getpid(uint64_t count)
{
    long self = syscall(SYS_getpid);
    uint64_t same = 0;
    while (count--)
        same += syscall(SYS_getpid) == self;
    return same;
}

static uint64_t run_clock_gettime(uint64_t count)
{
    struct timespec now, last = { 0, 0 };
    uint64_t forward = 0;
    while (count--) {
        clock_gettime(CLOCK_MONOTONIC, &now);
        forward += now.tv_sec > last.tv_sec || (now.tv_sec == last.tv_sec && now.tv_nsec >= last.tv_nsec);
        last = now;
    }
    return forward;
}

static volatile uint64_t signals;

static void on_signal(int number)
{
    (void)number;
    signals++;
}

static uint64_t run_signal(uint64_t count)
{
    pid_t self = getpid();
    signal(SIGUSR1, on_signal);
    signals = 0;
    while (count--)
        kill(self, SIGUSR1);
    return signals;
}

// One operation: a byte to another process and back.
static uint64_t run_pipe(uint64_t count)
{
    int there[2], back[2];
    uint8_t byte = 0;
    uint64_t sum = 0;
    if (pipe(there) || pipe(back))
        fail("pipe");
    pid_t child = fork();
    if (child < 0)
        fail("fork");
    if (child == 0) {
        close(there[1]);
        while (read(there[0], &byte, 1) == 1) {
            byte++;
            if (write(back[1], &byte, 1) != 1)
                break;
        }
        _exit(0);
    }
    close(there[0]);
    close(back[1]);
    while (count--) {
        if (write(there[1], &byte, 1) != 1 || read(back[0], &byte, 1) != 1)
            fail("pipe");
        sum = mix(sum, byte);
    }
    close(there[1]);
    close(back[0]);
    waitpid(child, NULL, 0);
    return sum;
}

static uint64_t run_sched_yield(uint64_t count)
{
    uint64_t good = 0;
    while (count--)
        good += sched_yield() == 0;
    return good;
}

static uint64_t run_fork(uint64_t count)
{
    uint64_t sum = 0;
    for (uint64_t i = 0; i < count; i++) {
        int status = -1;
        pid_t child = fork();
        if (child < 0)
            fail("fork");
        if (child == 0)
            _exit((int)(i & 127));
        waitpid(child, &status, 0);
        sum = mix(sum, (uint64_t)(uint32_t)status);
    }
    return sum;
}

static NOINLINE pid_t start_and_end(void)
{
    static char *const arguments[] = { "guestbench", "--exit", NULL };
    pid_t child = vfork();
    if (child == 0) {
        execv("/proc/self/exe", arguments);
        _exit(1);
    }
    return child;
}

// One operation: this program started with an argument that ends it at once.
static uint64_t run_vfork_exec(uint64_t count)
{
    uint64_t good = 0;
    while (count--) {
        int status = -1;
        pid_t child = start_and_end();
        if (child < 0)
            fail("vfork");
        waitpid(child, &status, 0);
        good += status == 0;
    }
    return good;
}

static uint64_t map_touch_unmap(uint64_t count, size_t pages)
{
    uint64_t sum = 0;
    while (count--) {
        volatile uint8_t *place = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (place == MAP_FAILED)
            fail("mmap");
        for (size_t i = 0; i < pages; i++) {
            sum += place[i * PAGE]++ + 1u;
        }
        munmap((void *)place, pages * PAGE);
    }
    return sum;
}

static uint64_t run_mmap_1(uint64_t count) { return map_touch_unmap(count, 1); }
static uint64_t run_mmap_256(uint64_t count) { return map_touch_unmap(count, 256); }

static int scratch_file(void)
{
    static int file = -1;
    if (file < 0) {
        char path[256], page[PAGE];
        snprintf(path, sizeof path, "%s/guestbench-XXXXXX", scratch_folder);
        file = mkstemp(path);
        if (file < 0)
            fail("mkstemp");
        unlink(path);
        for (int i = 0; i < FILE_PAGES; i++) {
            memset(page, i, sizeof page);
            if (pwrite(file, page, PAGE, (off_t)i * PAGE) != PAGE)
                fail("pwrite");
        }
    }
    return file;
}

// One operation: 4 KiB.
static uint64_t run_tmpfs_write(uint64_t count)
{
    static uint8_t page[PAGE];
    int file = scratch_file();
    uint64_t good = 0;
    for (uint64_t i = 0; i < count; i++) {
        page[i & (PAGE - 1)]++;
        good += pwrite(file, page, PAGE, (off_t)(i * 7 % FILE_PAGES) * PAGE) == PAGE;
    }
    return good;
}

static uint64_t run_tmpfs_read(uint64_t count)
{
    static uint8_t page[PAGE];
    int file = scratch_file();
    uint64_t sum = 0;
    for (uint64_t i = 0; i < count; i++) {
        if (pread(file, page, PAGE, (off_t)(i * 7 % FILE_PAGES) * PAGE) != PAGE)
            fail("pread");
        sum = mix(sum, page[i & (PAGE - 1)]);
    }
    return sum;
}

// One operation: a page of an existing mapping touched for the first time.
static uint64_t run_page_fault(uint64_t count)
{
    enum { PAGES = 1024 };
    static volatile uint8_t *place;
    uint64_t sum = 0;
    if (!place) {
        place = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (place == MAP_FAILED)
            fail("mmap");
        madvise((void *)place, PAGES * PAGE, MADV_NOHUGEPAGE);
    }
    for (uint64_t i = 0; i < count; i++) {
        size_t page = i % PAGES;
        if (page == 0)
            madvise((void *)place, PAGES * PAGE, MADV_DONTNEED);
        sum += place[page * PAGE]++ + 1u;
    }
    return sum;
}

static void *thread_body(void *argument) { return (char *)argument + 1; }

static uint64_t run_thread(uint64_t count)
{
    uint64_t sum = 0;
    for (uint64_t i = 0; i < count; i++) {
        pthread_t thread;
        void *result;
        if (pthread_create(&thread, NULL, thread_body, (void *)i))
            fail("pthread_create");
        pthread_join(thread, &result);
        sum = mix(sum, (uint64_t)result);
    }
    return sum;
}

static uint32_t turn;

static void wait_turn(uint32_t mine)
{
    uint32_t seen;
    while ((seen = __atomic_load_n(&turn, __ATOMIC_ACQUIRE)) != mine)
        syscall(SYS_futex, &turn, FUTEX_WAIT_PRIVATE, seen, NULL, NULL, 0);
}

static void pass_turn(uint32_t to)
{
    __atomic_store_n(&turn, to, __ATOMIC_RELEASE);
    syscall(SYS_futex, &turn, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

static void *partner(void *rounds)
{
    for (uint64_t i = (uint64_t)rounds; i; i--) {
        wait_turn(1);
        pass_turn(0);
    }
    return NULL;
}

// One operation: to another thread and back.
static uint64_t run_futex(uint64_t count)
{
    pthread_t thread;
    turn = 0;
    if (pthread_create(&thread, NULL, partner, (void *)count))
        fail("pthread_create");
    for (uint64_t i = 0; i < count; i++) {
        pass_turn(1);
        wait_turn(0);
    }
    pthread_join(thread, NULL);
    return turn + count;
}

const struct bench kernel_group[] = {
    { "getpid", run_getpid, 1000 },
    { "clock_gettime", run_clock_gettime, 1000 },
    { "signal", run_signal, 200 },
    { "pipe", run_pipe, 100 },
    { "sched_yield", run_sched_yield, 500 },
    { "fork", run_fork, 8 },
    { "vfork-exec", run_vfork_exec, 8 },
    { "mmap-1", run_mmap_1, 50 },
    { "mmap-256", run_mmap_256, 4 },
    { "tmpfs-write", run_tmpfs_write, 300 },
    { "tmpfs-read", run_tmpfs_read, 300 },
    { "page-fault", run_page_fault, 2048 },
    { "thread", run_thread, 30 },
    { "futex", run_futex, 100 },
    { NULL, NULL, 0 },
};
