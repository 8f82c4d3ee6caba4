// Floating point and SIMD. Every operation used is exactly rounded, so that the checksums are the same on every machine.
#include <emmintrin.h>
#include <string.h>

#include "bench.h"

#define SCALAR __attribute__((noinline, noclone, optimize("no-tree-vectorize")))

static uint64_t bits(double value)
{
    uint64_t image;
    memcpy(&image, &value, sizeof image);
    return image;
}

enum { SIZE = 48, FLOATS = 1024 };

static SCALAR void multiply(double c[SIZE][SIZE], double a[SIZE][SIZE], double b[SIZE][SIZE])
{
    for (int i = 0; i < SIZE; i++)
        for (int j = 0; j < SIZE; j++) {
            double sum = 0;
            for (int k = 0; k < SIZE; k++)
                sum += a[i][k] * b[k][j];
            c[i][j] = sum;
        }
}

// One operation: a product of two matrices of 48 by 48.
static uint64_t run_matrix(uint64_t count)
{
    static double a[SIZE][SIZE], b[SIZE][SIZE], c[SIZE][SIZE];
    for (int i = 0; i < SIZE; i++)
        for (int j = 0; j < SIZE; j++) {
            a[i][j] = 1.0 / (i + j + 1);
            b[i][j] = (i * 7 + j * 3) % 11 - 5;
        }
    uint64_t sum = 0;
    while (count--) {
        multiply(c, a, b);
        sum = mix(sum, bits(c[count % SIZE][3]));
        b[5][count % SIZE] += 0.25;
    }
    return sum;
}

// One operation: y = a x + y on 1,024 floats, four at a time.
static uint64_t run_saxpy(uint64_t count)
{
    static float x[FLOATS] __attribute__((aligned(16))), y[FLOATS] __attribute__((aligned(16)));
    for (int i = 0; i < FLOATS; i++)
        x[i] = (float)(i % 17) - 8, y[i] = 0;
    for (uint64_t n = 0; n < count; n++) {
        __m128 a = _mm_set1_ps(n & 1 ? 0.5f : -0.25f);
        for (int i = 0; i < FLOATS; i += 4)
            _mm_store_ps(y + i, _mm_add_ps(_mm_mul_ps(a, _mm_load_ps(x + i)), _mm_load_ps(y + i)));
    }
    uint64_t sum = 0;
    for (int i = 0; i < FLOATS; i++)
        sum = mix(sum, bits(y[i]));
    return sum;
}

// One operation: 4 KiB of packed integers added, multiplied, shuffled, compared and summed.
static uint64_t run_simd_integer(uint64_t count)
{
    static __m128i data[256];
    uint64_t state = 3;
    for (int i = 0; i < 256; i++) {
        uint64_t low = xorshift(&state);
        data[i] = _mm_set_epi64x((long long)xorshift(&state), (long long)low);
    }
    __m128i total = _mm_setzero_si128(), key = _mm_set1_epi16(1234);
    while (count--)
        for (int i = 0; i < 256; i++) {
            __m128i v = _mm_add_epi16(_mm_mullo_epi16(data[i], key), total);
            v = _mm_xor_si128(_mm_shuffle_epi32(v, 0x93), _mm_srli_epi64(v, 11));
            total = _mm_add_epi64(total, _mm_sad_epu8(v, data[i]));
            total = _mm_sub_epi32(total, _mm_cmpgt_epi16(v, key));
            data[i] = _mm_unpacklo_epi8(v, total);
        }
    uint64_t halves[2];
    memcpy(halves, &total, sizeof halves);
    return mix(halves[0], halves[1]);
}

// One operation: a polynomial of the third degree, a division and a square root in extended precision.
static uint64_t run_x87(uint64_t count)
{
    long double x = 1.25L;
    for (uint64_t i = 0; i < count; i++) {
        long double p = ((x * 0.5L - 1.5L) * x + 2.25L) * x + 0.125L;
        long double root = p * p + 1.0L;
        __asm__("fsqrt" : "+t"(root));
        x = root / (x + 1.5L);
    }
    return bits((double)x);
}

// One operation: a number through int64, double, float, int32 and back.
static uint64_t run_convert(uint64_t count)
{
    int64_t x = 123456789;
    uint64_t sum = 0;
    for (uint64_t i = 0; i < count; i++) {
        double wide = (double)x;
        float narrow = (float)wide;
        int32_t whole = (int32_t)narrow;
        sum += (uint64_t)(int64_t)whole;
        x = (int64_t)((double)whole * 1.0000001 + (double)(float)(i & 1023));
        x = x > 1000000000 ? x - 987654321 : x;
        OPAQUE(x);
    }
    return mix(sum, (uint64_t)x);
}

// One operation: a double and a float square root.
static uint64_t run_sqrt(uint64_t count)
{
    double x = 2, sum = 0;
    for (uint64_t i = 0; i < count; i++) {
        __m128d root = _mm_sqrt_sd(_mm_setzero_pd(), _mm_set_sd(x));
        float small = _mm_cvtss_f32(_mm_sqrt_ss(_mm_set_ss((float)(i & 4095))));
        sum = sum * 0.5 + small;
        x = _mm_cvtsd_f64(root) + sum;
    }
    return mix(bits(x), bits(sum));
}

const struct bench float_group[] = {
    { "matrix", run_matrix, 50 },
    { "saxpy", run_saxpy, 50 },
    { "simd-int", run_simd_integer, 50 },
    { "x87", run_x87, 1000 },
    { "convert", run_convert, 10000 },
    { "sqrt", run_sqrt, 5000 },
    { NULL, NULL, 0 },
};
