// What the groups of the suite share.
#ifndef BENCH_H
#define BENCH_H

#include <stddef.h>
#include <stdint.h>

// One benchmark: `run` does `count` operations and returns a checksum that depends on nothing but `count`.
struct bench {
    const char *name;
    uint64_t (*run)(uint64_t count);
    // How many operations the run does whose checksum is compared between machines; calibration starts from it.
    uint64_t checked;
};

// A group ends with an entry without a name.
extern const struct bench integer_group[], memory_group[], float_group[], code_group[], kernel_group[];

// Folder on a tmpfs, for the kernel group.
extern const char *scratch_folder;

#define NOINLINE __attribute__((noinline, noclone))

// The compiler must take `value` as changed here.
#define OPAQUE(value) __asm__ volatile("" : "+r"(value))

static inline uint64_t xorshift(uint64_t *state)
{
    uint64_t x = *state;
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    return *state = x;
}

static inline uint64_t mix(uint64_t sum, uint64_t value) { return (sum ^ value) * 0x100000001B3u + (sum >> 29); }

// Ends the benchmark's process with the name of the call that failed and errno's text.
_Noreturn void fail(const char *what);

#endif
