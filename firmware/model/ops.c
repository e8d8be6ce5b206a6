/* ops.c: the float operations of the forward pass.
 * Contract: docs/arithmetic.md. Every rounding step is one C operation; -ffp-contract=off keeps it so. */
#include "ops.h"

enum {
    LANES = 8
};

/* exp_f32. LN2_HIGH has 15 significant bits, so its product with a whole number below 2^8 is exact. */
#define EXP_HIGH    89.0f    /* from here on the result is over the largest float */
#define EXP_LOW     (-88.0f) /* from here down it is under the smallest normal one */
#define LOG2_E      0x1.715476p+0f
#define LN2_HIGH    0x1.62e4p-1f
#define LN2_LOW     0x1.7f7d1cp-20f
#define ROUND_MAGIC 0x1.8p+23f /* adding it leaves the nearest whole number in the low bits */
#define EXP_C2      0x1.fffffcp-2f
#define EXP_C3      0x1.555492p-3f
#define EXP_C4      0x1.5558f2p-5f
#define EXP_C5      0x1.123a2p-7f
#define EXP_C6      0x1.6a23dp-10f

#define NORM_EPSILON 1e-5f

static float reduce_lanes(const float *lane)
{
    return ((lane[0] + lane[1]) + (lane[2] + lane[3])) + ((lane[4] + lane[5]) + (lane[6] + lane[7]));
}

#if defined(__arm__)
/* Sums `blocks` blocks of eight products into the lanes, from +0. fmacs rounds the product, then the sum; eight
 * independent accumulators hide its latency of eight cycles. */
static void sum_blocks(float *lane, const float *a, const float *b, uint32_t blocks)
{
    __asm__ volatile("vmov d0, %[zero], %[zero]\n"
                     "vmov d1, %[zero], %[zero]\n"
                     "vmov d2, %[zero], %[zero]\n"
                     "vmov d3, %[zero], %[zero]\n"
                     "cmp %[blocks], #0\n"
                     "beq 2f\n"
                     "1:\n"
                     "vldmia %[a]!, {s8-s15}\n"
                     "vldmia %[b]!, {s16-s23}\n"
                     "vmla.f32 s0, s8, s16\n"
                     "vmla.f32 s1, s9, s17\n"
                     "vmla.f32 s2, s10, s18\n"
                     "vmla.f32 s3, s11, s19\n"
                     "vmla.f32 s4, s12, s20\n"
                     "vmla.f32 s5, s13, s21\n"
                     "vmla.f32 s6, s14, s22\n"
                     "vmla.f32 s7, s15, s23\n"
                     "pld [%[a], #64]\n"
                     "subs %[blocks], %[blocks], #1\n"
                     "bne 1b\n"
                     "2:\n"
                     "vstmia %[lane], {s0-s7}\n"
                     : [a] "+r"(a), [b] "+r"(b), [blocks] "+r"(blocks)
                     : [lane] "r"(lane), [zero] "r"(0)
                     : "cc", "memory", "s0", "s1", "s2", "s3", "s4", "s5", "s6", "s7", "s8", "s9", "s10",
                       "s11", "s12", "s13", "s14", "s15", "s16", "s17", "s18", "s19", "s20", "s21", "s22",
                       "s23");
}
#else
static void sum_blocks(float *lane, const float *a, const float *b, uint32_t blocks)
{
    for (uint32_t k = 0; k < LANES; k++)
        lane[k] = 0.0f;
    for (; blocks > 0; blocks--, a += LANES, b += LANES) {
        for (uint32_t k = 0; k < LANES; k++) {
            float product = a[k] * b[k];
            lane[k] = lane[k] + product;
        }
    }
}
#endif

float dot8(const float *a, const float *b, uint32_t n)
{
    float lane[LANES];
    uint32_t whole = n / LANES * LANES;

    sum_blocks(lane, a, b, whole / LANES);
    for (uint32_t i = whole; i < n; i++) {
        float product = a[i] * b[i];
        lane[i - whole] = lane[i - whole] + product;
    }
    return reduce_lanes(lane);
}

void matvec(float *out, const float *w, const float *x, uint32_t rows, uint32_t n)
{
    for (uint32_t r = 0; r < rows; r++, w += n)
        out[r] = dot8(w, x, n);
}

float sum8(const float *x, uint32_t n)
{
    float lane[LANES] = {0};
    uint32_t i = 0;

    for (; i + LANES <= n; i += LANES)
        for (uint32_t k = 0; k < LANES; k++)
            lane[k] = lane[k] + x[i + k];
    for (uint32_t k = 0; i < n; i++, k++)
        lane[k] = lane[k] + x[i];
    return reduce_lanes(lane);
}

float exp_f32(float x)
{
    if (x > EXP_HIGH)
        return bits_float(0x7F800000u);
    if (x < EXP_LOW)
        return 0.0f;
    if (x != x)
        return x;
    float shifted = x * LOG2_E + ROUND_MAGIC;
    float whole = shifted - ROUND_MAGIC;
    int32_t n = (int32_t)(float_bits(shifted) - float_bits(ROUND_MAGIC));
    float r = (x - whole * LN2_HIGH) - whole * LN2_LOW;
    float q = (((EXP_C6 * r + EXP_C5) * r + EXP_C4) * r + EXP_C3) * r + EXP_C2;
    float p = ((r * r) * q + r) + 1.0f;
    /* 2^n in two halves: n reaches -127 and 128, which one float cannot hold. */
    int32_t half = n / 2;
    p = p * bits_float((uint32_t)(half + 127) << 23);
    return p * bits_float((uint32_t)(n - half + 127) << 23);
}

float norm_scale(const float *x, uint32_t n)
{
    float mean = dot8(x, x, n) / (float)n;
    return 1.0f / sqrt_ieee(mean + NORM_EPSILON);
}

void rmsnorm(float *out, const float *x, const float *weight, uint32_t n)
{
    float scale = norm_scale(x, n);

    for (uint32_t i = 0; i < n; i++) {
        float scaled = x[i] * scale;
        out[i] = scaled * weight[i];
    }
}

void rope(float *x, const float *cos, const float *sin, uint32_t heads, uint32_t head_size)
{
    for (uint32_t h = 0; h < heads; h++, x += head_size) {
        for (uint32_t i = 0; i < head_size / 2; i++) {
            float even = x[2 * i];
            float odd = x[2 * i + 1];
            x[2 * i] = even * cos[i] - odd * sin[i];
            x[2 * i + 1] = even * sin[i] + odd * cos[i];
        }
    }
}

void softmax(float *x, uint32_t n)
{
    float max = x[0];

    for (uint32_t i = 1; i < n; i++)
        max = x[i] > max ? x[i] : max;
    for (uint32_t i = 0; i < n; i++)
        x[i] = exp_f32(x[i] - max);
    float sum = sum8(x, n);
    for (uint32_t i = 0; i < n; i++)
        x[i] = x[i] / sum;
}

void swiglu(float *gate, const float *up, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        float x = gate[i];
        float sigmoid = 1.0f / (1.0f + exp_f32(-x));
        float silu = x * sigmoid;
        gate[i] = silu * up[i];
    }
}

void add_in_place(float *x, const float *y, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        x[i] = x[i] + y[i];
}

void copy_flushed(float *out, const float *in, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        uint32_t bits = float_bits(in[i]);
        out[i] = bits_float((bits & 0x7F800000u) == 0 ? 0u : bits);
    }
}
