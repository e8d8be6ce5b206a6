/* qpu_sfu.c: the special functions unit: reciprocal, reciprocal square root, 2^x, log2.
 *
 * The guide gives no precision. Observed on silicon (docs/videocore.md): the results are good to 10 to 12 bits, exp and
 * log are of base 2, recip(0) and recipsqrt(0) are infinite, recipsqrt and log take the magnitude. The bits of silicon's
 * tables are not published; here the results are the nearest floats. Plain double arithmetic, so that every host
 * computes the same. */
#include <math.h>
#include <string.h>

#include "qpu.h"

#ifdef __clang__ /* GCC does not fuse in standard C */
#pragma STDC FP_CONTRACT OFF
#endif

#define LN2      0.693147180559945309417
#define INFINITE 0x7F800000u

/* log2 of a positive double: exponent + log2(m), with m in [sqrt(1/2), sqrt(2)), by the series of atanh. */
static double log2_of(double x)
{
    int exponent;
    double m = frexp(x, &exponent);
    if (m < 0.70710678118654752440) {
        m *= 2.0;
        exponent--;
    }
    double t = (m - 1.0) / (m + 1.0), square = t * t, sum = 0.0;
    for (int n = 23; n >= 1; n -= 2)
        sum = sum * square + 1.0 / (double)n;
    return (double)exponent + 2.0 * t * sum / LN2;
}

/* 2^x for |x| < 1000: 2^n * e^r, |r| <= ln2 / 2, by its series. */
static double exp2_of(double x)
{
    double n = floor(x + 0.5), r = (x - n) * LN2, sum = 1.0;
    for (int k = 15; k >= 1; k--)
        sum = sum * r / (double)k + 1.0;
    return ldexp(sum, (int)n);
}

static double function(uint32_t address, float x)
{
    double magnitude = fabs((double)x);
    switch (address - TO_SFU_RECIP) {
    case 0:
        return 1.0 / (double)x;
    case 1:
        return 1.0 / sqrt(magnitude);
    case 2:
        return exp2_of(x < -200.0f ? -200.0 : x > 200.0f ? 200.0 : (double)x);
    default:
        return log2_of(magnitude);
    }
}

static uint32_t special(uint32_t address, uint32_t bits)
{
    bool zero = (bits & INFINITE) == 0, negative = bits >> 31;
    switch (address - TO_SFU_RECIP) {
    case 0:
    case 1:
        return zero ? INFINITE : 0;
    case 2:
        return zero ? 0x3F800000u : negative ? 0 : INFINITE;
    default:
        return zero ? INFINITE | 0x80000000u : INFINITE;
    }
}

const char *qpu_sfu(uint32_t address, lanes_t *out, const lanes_t *in)
{
    for (int k = 0; k < LANES; k++) {
        uint32_t bits = in->e[k], exponent = bits & INFINITE;
        if ((bits & 0x7FFFFFFFu) > INFINITE)
            return "a special function of a NaN is not modelled";
        if (exponent == 0 || exponent == INFINITE) {
            out->e[k] = special(address, bits);
            continue;
        }
        float x, result;
        memcpy(&x, &bits, 4);
        result = (float)function(address, x);
        memcpy(&bits, &result, 4);
        out->e[k] = bits & INFINITE ? bits : 0;
    }
    return NULL;
}
