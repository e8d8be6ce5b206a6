/* ops.h: the float operations of the forward pass, one order each.
 * Contract: docs/arithmetic.md. Python twin: golden/arithmetic.py. Pure: no state, no memory of their own.
 * Arrays are 4-byte aligned; out may be an input only where it says so. */
#ifndef OPS_H
#define OPS_H

#include <stdint.h>

/* The bits of a float, and back. */
static inline uint32_t float_bits(float value)
{
    union {
        float value;
        uint32_t bits;
    } u = {.value = value};
    return u.bits;
}

static inline float bits_float(uint32_t bits)
{
    union {
        uint32_t bits;
        float value;
    } u = {.bits = bits};
    return u.value;
}

/* Square root, correctly rounded, without a C library. */
static inline float sqrt_ieee(float x)
{
#if defined(__arm__)
    float root;
    __asm__("vsqrt.f32 %0, %1" : "=t"(root) : "t"(x));
    return root;
#else
    return __builtin_sqrtf(x);
#endif
}

/* out[r] = dot8(w row r, x); w is (rows, n). */
void matvec(float *out, const float *w, const float *x, uint32_t rows, uint32_t n);

/* Sum of n floats in the eight lanes of dot8. */
float sum8(const float *x, uint32_t n);

/* e to the x; below 1 ulp off (docs/arithmetic.md). */
float exp_f32(float x);

/* What rmsnorm scales x (n) by: 1 / sqrt(mean of squares + epsilon). */
float norm_scale(const float *x, uint32_t n);

/* out (n) = x scaled to root mean square 1, times weight. */
void rmsnorm(float *out, const float *x, const float *weight, uint32_t n);

/* Rotates the adjacent pairs of every head of x (heads, head_size) in place; cos, sin: (head_size / 2). */
void rope(float *x, const float *cos, const float *sin, uint32_t heads, uint32_t head_size);

/* x (n) in place: exp(x - max) over its sum. */
void softmax(float *x, uint32_t n);

/* gate (n) in place: silu(gate) * up. */
void swiglu(float *gate, const float *up, uint32_t n);

/* x (n) in place: x + y. */
void add_in_place(float *x, const float *y, uint32_t n);

/* out (n) = in, subnormals as zero. */
void copy_flushed(float *out, const float *in, uint32_t n);

/* Dot product of n floats in eight lanes; the order is in docs/arithmetic.md. */
float dot8(const float *a, const float *b, uint32_t n);

#endif
