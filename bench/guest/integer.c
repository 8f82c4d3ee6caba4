// Plain computing in registers and in small tables.
#include <string.h>

#include "bench.h"

static uint64_t run_xorshift(uint64_t count)
{
    uint64_t state = 0x9E3779B97F4A7C15;
    while (count--)
        xorshift(&state);
    return state;
}

// One operation: a 64-bit and a 32-bit division, each depending on the last.
static uint64_t run_division(uint64_t count)
{
    uint64_t x = 0xFEDCBA9876543210, sum = 0;
    for (uint64_t i = 0; i < count; i++) {
        uint64_t by = (i & 0xFFFF) + 3;
        sum += x / by;
        x = x % by * 0x2545F4914F6CDD1Du + i;
        uint32_t low = (uint32_t)x, small = (uint32_t)by | 1;
        sum ^= low / small;
        x += low % small;
    }
    return mix(sum, x);
}

// One operation: CRC-32 of 4 KiB, a byte at a time by table.
static uint64_t run_crc(uint64_t count)
{
    static uint32_t table[256];
    static uint8_t data[4096];
    uint64_t state = 1;
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t c = i;
        for (int bit = 0; bit < 8; bit++)
            c = c & 1 ? c >> 1 ^ 0xEDB88320 : c >> 1;
        table[i] = c;
    }
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (uint8_t)xorshift(&state);
    uint32_t crc = ~0u;
    while (count--)
        for (size_t i = 0; i < sizeof data; i++)
            crc = table[(uint8_t)crc ^ data[i]] ^ crc >> 8;
    return ~crc;
}

static const uint32_t sha_constants[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5, 0xd807aa98, 0x12835b01, 0x243185be,
    0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa,
    0x5cb0a9dc, 0x76f988da, 0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967, 0x27b70a85,
    0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85, 0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3,
    0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070, 0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f,
    0x682e6ff3, 0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

static inline uint32_t rotate(uint32_t x, int by) { return x >> by | x << (32 - by); }

// FIPS 180-4, 6.2.2.
static NOINLINE void sha_block(uint32_t state[8], const uint32_t message[16])
{
    uint32_t w[64];
    memcpy(w, message, 64);
    for (int t = 16; t < 64; t++) {
        uint32_t a = w[t - 15], b = w[t - 2];
        w[t] = w[t - 16] + (rotate(a, 7) ^ rotate(a, 18) ^ a >> 3) + w[t - 7] + (rotate(b, 17) ^ rotate(b, 19) ^ b >> 10);
    }
    uint32_t a = state[0], b = state[1], c = state[2], d = state[3], e = state[4], f = state[5], g = state[6], h = state[7];
    for (int t = 0; t < 64; t++) {
        uint32_t t1 = h + (rotate(e, 6) ^ rotate(e, 11) ^ rotate(e, 25)) + ((e & f) ^ (~e & g)) + sha_constants[t] + w[t];
        uint32_t t2 = (rotate(a, 2) ^ rotate(a, 13) ^ rotate(a, 22)) + ((a & b) ^ (a & c) ^ (b & c));
        h = g, g = f, f = e, e = d + t1, d = c, c = b, b = a, a = t1 + t2;
    }
    state[0] += a, state[1] += b, state[2] += c, state[3] += d, state[4] += e, state[5] += f, state[6] += g, state[7] += h;
}

// One operation: one block of 64 bytes, which is made of the state before it.
static uint64_t run_sha256(uint64_t count)
{
    uint32_t state[8] = { 0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19 };
    uint32_t message[16];
    while (count--) {
        for (int i = 0; i < 16; i++)
            message[i] = state[i & 7] + (uint32_t)i;
        sha_block(state, message);
    }
    return (uint64_t)state[0] << 32 | state[7];
}

enum opcode { ADD, SUB, XOR, SHL, LOAD, STORE, IMM, BRANCH_NONZERO, HALT };

struct instruction {
    uint8_t opcode, a, b;
    int8_t c;
};

// A register machine with a switch in a loop, as simple interpreters are. Returns how many instructions it did.
static NOINLINE uint64_t interpret(const struct instruction *program, uint64_t r[8], uint64_t memory[64])
{
    uint64_t done = 0;
    for (const struct instruction *at = program;; at++, done++)
        switch (at->opcode) {
        case ADD: r[at->a] += r[at->b]; break;
        case SUB: r[at->a] -= r[at->b]; break;
        case XOR: r[at->a] ^= r[at->b]; break;
        case SHL: r[at->a] <<= at->c; break;
        case LOAD: r[at->a] = memory[r[at->b] & 63]; break;
        case STORE: memory[r[at->b] & 63] = r[at->a]; break;
        case IMM: r[at->a] = (uint64_t)(int64_t)at->c; break;
        case BRANCH_NONZERO: if (r[at->a]) at += at->c; break;
        default: return done;
        }
}

// One operation: a program of some 1,000 interpreted instructions.
static uint64_t run_interpreter(uint64_t count)
{
    static const struct instruction program[] = {
        { IMM, 0, 0, 100 }, { IMM, 1, 0, 1 }, { IMM, 2, 0, 7 },
        { LOAD, 3, 0, 0 }, { ADD, 3, 2, 0 }, { XOR, 2, 3, 0 }, { SHL, 3, 0, 3 }, { ADD, 2, 3, 0 }, { STORE, 2, 0, 0 },
        { ADD, 4, 2, 0 }, { XOR, 4, 0, 0 }, { SUB, 0, 1, 0 }, { BRANCH_NONZERO, 0, 0, -10 },
        { HALT, 0, 0, 0 },
    };
    uint64_t r[8] = { 0 }, memory[64] = { 0 }, sum = 0;
    while (count--)
        sum = mix(sum, interpret(program, r, memory) + r[4]);
    return sum;
}

static NOINLINE void quicksort(int32_t *first, int32_t *last)
{
    while (last - first > 12) {
        int32_t pivot = first[(last - first) / 2], *low = first, *high = last;
        while (low <= high) {
            while (*low < pivot)
                low++;
            while (*high > pivot)
                high--;
            if (low <= high) {
                int32_t swapped = *low;
                *low++ = *high;
                *high-- = swapped;
            }
        }
        quicksort(first, high);
        first = low;
    }
    for (int32_t *at = first + 1; at <= last; at++) {
        int32_t value = *at, *to = at;
        for (; to > first && to[-1] > value; to--)
            *to = to[-1];
        *to = value;
    }
}

// One operation: 4,096 numbers sorted.
static uint64_t run_quicksort(uint64_t count)
{
    static int32_t numbers[4096];
    uint64_t state = 88172645463325252, sum = 0;
    while (count--) {
        for (int i = 0; i < 4096; i++)
            numbers[i] = (int32_t)xorshift(&state);
        quicksort(numbers, numbers + 4095);
        for (int i = 0; i < 4096; i += 64)
            sum = mix(sum, (uint32_t)numbers[i]);
    }
    return sum;
}

// At -O2 the compiler would turn most of the calls into loops.
static __attribute__((noinline, noclone, optimize("O1"))) uint64_t fib(uint64_t n) { return n < 2 ? n : fib(n - 1) + fib(n - 2); }

// One operation: fib(20), 21,891 calls.
static uint64_t run_fib(uint64_t count)
{
    uint64_t sum = 0;
    while (count--) {
        uint64_t n = 20;
        OPAQUE(n);
        sum = mix(sum, fib(n));
    }
    return sum;
}

#define TARGET(n) static NOINLINE uint64_t target##n(uint64_t x) { return x * (2 * n + 3) + n; }
TARGET(0) TARGET(1) TARGET(2) TARGET(3) TARGET(4) TARGET(5) TARGET(6) TARGET(7)

// One operation: a call through a table of eight, in an order that repeats after 1,024 calls.
static uint64_t run_indirect(uint64_t count)
{
    static uint64_t (*volatile const table[8])(uint64_t) = { target0, target1, target2, target3, target4, target5, target6, target7 };
    static uint8_t order[1024];
    uint64_t state = 12345, x = 1;
    for (int i = 0; i < 1024; i++)
        order[i] = xorshift(&state) & 7;
    for (uint64_t i = 0; i < count; i++)
        x = table[order[i & 1023]](x);
    return x;
}

// Loops that stand across the end of a page of code, as any may: between two instructions, in the middle of one, and a loop that
// calls a function 4 KiB away.
__asm__(
    ".pushsection .text.across_pages, \"ax\"\n"
    ".balign 4096\n"
    ".skip 4096 - 5\n"
    "loop_across_pages:\n"
    "   xor %eax, %eax\n"
    "1: add %rdi, %rax\n"
    // The second page.
    "   add $0x12345, %rax\n"
    "   dec %rdi\n"
    "   jne 1b\n"
    "   ret\n"
    ".balign 4096\n"
    ".skip 4096 - 7\n"
    "instruction_across_pages:\n"
    "   xor %eax, %eax\n"
    "1: add %rdi, %rax\n"
    // Two bytes of this one stand in the first page, four in the second.
    "   add $0x12345, %rax\n"
    "   dec %rdi\n"
    "   jne 1b\n"
    "   ret\n"
    "call_across_pages:\n"
    "   xor %eax, %eax\n"
    "1: call 2f\n"
    "   dec %rdi\n"
    "   jne 1b\n"
    "   ret\n"
    ".balign 4096\n"
    "2: add %rdi, %rax\n"
    "   add $0x12345, %rax\n"
    "   ret\n"
    ".popsection\n");

uint64_t loop_across_pages(uint64_t count), instruction_across_pages(uint64_t count), call_across_pages(uint64_t count);

const struct bench integer_group[] = {
    { "xorshift", run_xorshift, 10000 },
    { "division", run_division, 10000 },
    { "crc32", run_crc, 10 },
    { "sha256", run_sha256, 100 },
    { "interpreter", run_interpreter, 100 },
    { "quicksort", run_quicksort, 4 },
    { "fib", run_fib, 4 },
    { "indirect-call", run_indirect, 10000 },
    { "loop-across-pages", loop_across_pages, 10000 },
    { "insn-across-pages", instruction_across_pages, 10000 },
    { "call-across-pages", call_across_pages, 10000 },
    { NULL, NULL, 0 },
};
