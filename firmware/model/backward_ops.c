/* backward_ops.c: the float operations of training.
 * Contract: docs/arithmetic.md, section 8. Every rounding step is one C operation. */
#include "backward_ops.h"

#include "model.h"
#include "ops.h"

enum {
    BLOCK = 8
};

/* log_f32: ln 2 in two parts, as in exp_f32; 2/3, 2/5, 2/7, 2/9 of the series of atanh. */
#define LN2_HIGH       0x1.62e4p-1f
#define LN2_LOW        0x1.7f7d1cp-20f
#define ROOT_HALF_BITS 0x3F3504F3u
#define LOG_C3         0x1.555556p-1f
#define LOG_C5         0x1.99999ap-2f
#define LOG_C7         0x1.24924ap-2f
#define LOG_C9         0x1.c71c72p-3f

#if defined(__arm__)
/* Eight sums in registers: out[0..7] += a[k] * b[k][0..7]. fmacs rounds the product, then the sum. */
static void sum_block(float *out, const float *a, uint32_t a_stride, const float *b, uint32_t b_stride,
                      uint32_t count)
{
    __asm__ volatile("vldmia %[out], {s0-s7}\n"
                     "cmp %[count], #0\n"
                     "beq 2f\n"
                     "1:\n"
                     "vldr s16, [%[a]]\n"
                     "vldmia %[b], {s8-s15}\n"
                     "add %[a], %[a], %[a_stride], lsl #2\n"
                     "add %[b], %[b], %[b_stride], lsl #2\n"
                     "vmla.f32 s0, s8, s16\n"
                     "vmla.f32 s1, s9, s16\n"
                     "vmla.f32 s2, s10, s16\n"
                     "vmla.f32 s3, s11, s16\n"
                     "vmla.f32 s4, s12, s16\n"
                     "vmla.f32 s5, s13, s16\n"
                     "vmla.f32 s6, s14, s16\n"
                     "vmla.f32 s7, s15, s16\n"
                     "subs %[count], %[count], #1\n"
                     "bne 1b\n"
                     "2:\n"
                     "vstmia %[out], {s0-s7}\n"
                     : [a] "+r"(a), [b] "+r"(b), [count] "+r"(count)
                     : [out] "r"(out), [a_stride] "r"(a_stride), [b_stride] "r"(b_stride)
                     : "cc", "memory", "s0", "s1", "s2", "s3", "s4", "s5", "s6", "s7", "s8", "s9", "s10",
                       "s11", "s12", "s13", "s14", "s15", "s16");
}
#else
static void sum_block(float *out, const float *a, uint32_t a_stride, const float *b, uint32_t b_stride,
                      uint32_t count)
{
    float sum[BLOCK];

    for (uint32_t i = 0; i < BLOCK; i++)
        sum[i] = out[i];
    for (uint32_t k = 0; k < count; k++) {
        float scale = a[(uintptr_t)k * a_stride];
        const float *row = b + (uintptr_t)k * b_stride;
        for (uint32_t i = 0; i < BLOCK; i++) {
            float product = scale * row[i];
            sum[i] = sum[i] + product;
        }
    }
    for (uint32_t i = 0; i < BLOCK; i++)
        out[i] = sum[i];
}
#endif

void sum_scaled(float *out, uint32_t n, const float *a, uint32_t a_stride, const float *b, uint32_t b_stride,
                uint32_t count)
{
    uint32_t i = 0;

    for (; i + BLOCK <= n; i += BLOCK)
        sum_block(out + i, a, a_stride, b + i, b_stride, count);
    for (; i < n; i++) {
        float sum = out[i];
        for (uint32_t k = 0; k < count; k++) {
            float product = a[(uintptr_t)k * a_stride] * b[(uintptr_t)k * b_stride + i];
            sum = sum + product;
        }
        out[i] = sum;
    }
}

float log_f32(float x)
{
    if (x != x)
        return x;
    int32_t exponent = (int32_t)(float_bits(x) - ROOT_HALF_BITS) >> 23;
    float whole = (float)exponent;
    float r = bits_float(float_bits(x) - ((uint32_t)exponent << 23)) - 1.0f;
    float s = r / (r + 2.0f);
    float z = s * s;
    float q = (((LOG_C9 * z + LOG_C7) * z + LOG_C5) * z + LOG_C3) * z;
    float h = 0.5f * (r * r);
    return whole * LN2_HIGH - ((h - (s * (h + q) + whole * LN2_LOW)) - r);
}

void rmsnorm_backward(float *d, const float *x, const float *weight, float *gain, uint32_t n)
{
    float s = norm_scale(x, n);

    for (uint32_t i = 0; i < n; i++) {
        float scaled = x[i] * s;
        float product = d[i] * scaled;
        gain[i] = gain[i] + product;
        d[i] = d[i] * weight[i];
    }
    float mean = dot8(d, x, n) / (float)n;
    float k = mean * ((s * s) * s);
    for (uint32_t i = 0; i < n; i++) {
        float direct = d[i] * s;
        float through_scale = x[i] * k;
        d[i] = direct - through_scale;
    }
}

void rope_backward(float *d, const float *cos, const float *sin, uint32_t heads, uint32_t head_size)
{
    for (uint32_t h = 0; h < heads; h++, d += head_size) {
        for (uint32_t i = 0; i < head_size / 2; i++) {
            float even = d[2 * i];
            float odd = d[2 * i + 1];
            d[2 * i] = even * cos[i] + odd * sin[i];
            d[2 * i + 1] = odd * cos[i] - even * sin[i];
        }
    }
}

void swiglu_backward(float *gate, float *up, const float *d, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        float x = gate[i];
        float sigmoid = 1.0f / (1.0f + exp_f32(-x));
        float silu = x * sigmoid;
        float slope = 1.0f + x * (1.0f - sigmoid);
        gate[i] = (d[i] * up[i]) * (sigmoid * slope);
        up[i] = d[i] * silu;
    }
}

void softmax_backward(float *d, const float *p, float scale, uint32_t n)
{
    float mean = dot8(p, d, n);

    for (uint32_t i = 0; i < n; i++) {
        float score = p[i] * (d[i] - mean);
        d[i] = score * scale;
    }
}

float cross_entropy(float *logits, uint32_t target, float scale, uint32_t n)
{
    float max = logits[0];

    for (uint32_t i = 1; i < n; i++)
        max = logits[i] > max ? logits[i] : max;
    float below = logits[target] - max;
    for (uint32_t i = 0; i < n; i++)
        logits[i] = exp_f32(logits[i] - max);
    float sum = sum8(logits, n);
    for (uint32_t i = 0; i < n; i++) {
        float prob = logits[i] / sum;
        logits[i] = (i == target ? prob - 1.0f : prob) * scale;
    }
    return log_f32(sum) - below;
}
