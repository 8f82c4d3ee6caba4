// Reading and writing: patterns, block moves, and chains of dependent loads.
#include <stdlib.h>
#include <string.h>

#include "bench.h"

enum { LARGE = 4 << 20, SIEVE = 256 << 10 };

// The target stands some pages further than a power of two, as in most programs; `aliased` exactly 4 MiB from the source, where
// the two compete for one place in TLBs and caches.
static struct {
    uint8_t source[LARGE], aliased[37 * 4096], target[LARGE];
} area __attribute__((aligned(4096)));

static uint8_t *const source = area.source, *const aliased = area.aliased, *const target = area.target;

static void fill_source(void)
{
    uint64_t state = 7;
    if (!source[0])
        for (size_t i = 0; i < LARGE; i += 8) {
            uint64_t value = xorshift(&state) | 1;
            memcpy(source + i, &value, 8);
        }
}

static uint64_t sum_of(const uint8_t *bytes, size_t size)
{
    uint64_t sum = 0, value;
    for (size_t i = 0; i + 8 <= size; i += 8) {
        memcpy(&value, bytes + i, 8);
        sum = mix(sum, value);
    }
    return sum;
}

// One operation: the primes below 256 K, a byte each.
static uint64_t run_sieve(uint64_t count)
{
    uint8_t *composite = target;
    uint64_t primes = 0;
    while (count--) {
        memset(composite, 0, SIEVE);
        for (uint32_t i = 2; i * i < SIEVE; i++)
            if (!composite[i])
                for (uint32_t j = i * i; j < SIEVE; j += i)
                    composite[j] = 1;
        for (uint32_t i = 2; i < SIEVE; i++)
            primes += !composite[i];
    }
    return primes;
}

// The library's own functions, which choose by CPUID; never the compiler's expansion.
static void *(*volatile copy)(void *, const void *, size_t) = memcpy;
static void *(*volatile set)(void *, int, size_t) = memset;

// Sizes from 1 to 64 bytes, in a fixed order.
static size_t small_size(uint64_t i) { return (size_t)((i * 37 >> 2) & 63) + 1; }

static uint64_t copy_small(uint8_t *to, uint64_t count)
{
    fill_source();
    memset(to, 0, 4096);
    for (uint64_t i = 0; i < count; i++)
        copy(to + (i * 24 & 2047), source + (i * 40 & 2047), small_size(i));
    return sum_of(to, 4096);
}

static uint64_t run_memcpy_small(uint64_t count) { return copy_small(target, count); }
static uint64_t run_memcpy_aliased(uint64_t count) { return copy_small(aliased, count); }

static uint64_t run_memset_small(uint64_t count)
{
    memset(target, 0, 4096);
    for (uint64_t i = 0; i < count; i++)
        set(target + (i * 24 & 2047), (int)i, small_size(i));
    return sum_of(target, 4096);
}

// One operation: 4 MiB.
static uint64_t run_memcpy_large(uint64_t count)
{
    fill_source();
    while (count--)
        copy(target, source, LARGE);
    return sum_of(target, LARGE);
}

static uint64_t run_memset_large(uint64_t count)
{
    for (uint64_t i = 0; i < count; i++)
        set(target, (int)i, LARGE);
    return sum_of(target, LARGE);
}

static inline void rep_movsb(void *to, const void *from, size_t size)
{
    __asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(size) : : "memory");
}

static inline void rep_stosb(void *to, int value, size_t size)
{
    __asm__ volatile("rep stosb" : "+D"(to), "+c"(size) : "a"(value) : "memory");
}

// One operation: 4 KiB, not aligned to a page.
static uint64_t run_rep_movsb(uint64_t count)
{
    fill_source();
    for (uint64_t i = 0; i < count; i++)
        rep_movsb(target + 64 + (i & 7) * 4096, source + 192 + (i * 5 & 7) * 4096, 4096);
    return sum_of(target, 40960);
}

static uint64_t run_rep_movsb_64(uint64_t count)
{
    fill_source();
    for (uint64_t i = 0; i < count; i++)
        rep_movsb(target + (i * 24 & 2047), source + (i * 40 & 2047), 64);
    return sum_of(target, 4096);
}

static uint64_t run_rep_stosb(uint64_t count)
{
    for (uint64_t i = 0; i < count; i++)
        rep_stosb(target + 64 + (i & 7) * 4096, (int)i, 4096);
    return sum_of(target, 40960);
}

// A cycle through all lines of `size` bytes in an order without a pattern (Sattolo's shuffle).
static void **make_chain(size_t size)
{
    size_t lines = size / 64;
    char *place = aligned_alloc(4096, size);
    uint32_t *order = malloc(lines * sizeof *order);
    uint64_t state = 99;
    if (!place || !order)
        fail("malloc");
    for (size_t i = 0; i < lines; i++)
        order[i] = (uint32_t)i;
    for (size_t i = lines - 1; i > 0; i--) {
        size_t j = (size_t)(xorshift(&state) % i);
        uint32_t swapped = order[i];
        order[i] = order[j];
        order[j] = swapped;
    }
    for (size_t i = 0; i < lines; i++)
        *(void **)(place + (size_t)order[i] * 64) = place + (size_t)order[(i + 1) % lines] * 64;
    free(order);
    return (void **)place;
}

static uint64_t chase(void **chain, uint64_t count)
{
    void **at = chain;
    while (count--)
        at = *at;
    return (uint64_t)((char *)at - (char *)chain);
}

// One operation: one load, whose address is what the last one gave.
static uint64_t run_chase_16k(uint64_t count)
{
    static void **chain;
    return chase(chain ? chain : (chain = make_chain(16 << 10)), count);
}

static uint64_t run_chase_1m(uint64_t count)
{
    static void **chain;
    return chase(chain ? chain : (chain = make_chain(1 << 20)), count);
}

static uint64_t run_chase_64m(uint64_t count)
{
    static void **chain;
    return chase(chain ? chain : (chain = make_chain(64 << 20)), count);
}

const struct bench memory_group[] = {
    { "sieve", run_sieve, 1 },
    { "memcpy-small", run_memcpy_small, 10000 },
    { "memcpy-aliased", run_memcpy_aliased, 10000 },
    { "memcpy-4m", run_memcpy_large, 1 },
    { "memset-small", run_memset_small, 10000 },
    { "memset-4m", run_memset_large, 2 },
    { "rep-movsb-4k", run_rep_movsb, 100 },
    { "rep-movsb-64", run_rep_movsb_64, 1000 },
    { "rep-stosb-4k", run_rep_stosb, 100 },
    { "chase-16k", run_chase_16k, 10000 },
    { "chase-1m", run_chase_1m, 10000 },
    { "chase-64m", run_chase_64m, 10000 },
    { NULL, NULL, 0 },
};
