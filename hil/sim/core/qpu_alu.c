/* qpu_alu.c: what the add and mul pipes of a QPU compute, and the pack and unpack units.
 *
 * Sources: the guide's sections "ALUs" and "Pack/Unpack Bits". It is silent about rounding, infinities and flags; those
 * follow what the authors of VC4C observed on silicon (docs/videocore.md, Arithmetic):
 *  - subnormals and -0 go in and come out as +0;
 *  - fadd, fsub and itof round toward zero, fmul to the nearest;
 *  - an exponent of 255 is an infinity, NaN included; opposite infinities give the second operand's. */
#include <string.h>

#include "qpu.h"

#define EXPONENT 0x7F800000u
#define SIGN     0x80000000u

typedef uint8_t bytes_t __attribute__((vector_size(16)));

static inline four_t choose(four_t mask, four_t yes, four_t no) { return (mask & yes) | (~mask & no); }

static inline four_t flush(four_t x) { return x & (four_t)((x & EXPONENT) != 0); }

static inline four_t special(four_t x) { return (four_t)((x & EXPONENT) == EXPONENT); }

static inline four_t absolute(four_t x) { return x & ~SIGN; }

/* ---- floating point ----------------------------------------------------------------------------------- */

/* The host rounds to nearest; where that went away from zero, the error of the sum (Knuth's TwoSum, exact) points
 * back, and the next smaller magnitude is the truncated sum. */
static inline four_t fadd(four_t a, four_t b)
{
    four_float_t x = (four_float_t)a, y = (four_float_t)b;
    four_float_t sum = x + y;
    four_float_t part = sum - x;
    four_float_t error = (x - (sum - part)) + (y - part);
    four_t bits = (four_t)sum;
    four_t away = (four_t)(error != 0.0f) & (four_t)((four_int_t)((four_t)error ^ bits) < 0);
    four_t result = flush(bits + (away | special(bits))); /* a mask is -1 */
    four_t special_a = special(a), special_b = special(b);
    result = choose(special_a, (a & SIGN) | EXPONENT, result);
    return choose(special_b, (b & SIGN) | EXPONENT, result);
}

static inline four_t fmul(four_t a, four_t b)
{
    four_t result = flush((four_t)((four_float_t)a * (four_float_t)b));
    four_t infinite = special(a) | special(b);
    result = choose(infinite, ((a ^ b) & SIGN) | EXPONENT, result);
    return result & (four_t)(a != 0) & (four_t)(b != 0);
}

/* -NaN < -inf < ... < inf < NaN. Of two that are subnormal or zero only the magnitudes count. */
static inline four_t greater(four_t a, four_t b)
{
    four_int_t ka = (four_int_t)a, kb = (four_int_t)b;
    ka ^= (ka >> 31) & 0x7FFFFFFF;
    kb ^= (kb >> 31) & 0x7FFFFFFF;
    four_t tiny = ~(four_t)((a & EXPONENT) != 0) & ~(four_t)((b & EXPONENT) != 0);
    four_t by_magnitude = (four_t)((four_int_t)absolute(a) > (four_int_t)absolute(b));
    return choose(tiny, by_magnitude, (four_t)(ka > kb));
}

static uint32_t ftoi(uint32_t x)
{
    uint32_t magnitude = x & ~SIGN, exponent = magnitude >> 23;
    if (magnitude == 0x4F000000u || magnitude == 0x7F7FFFFFu) /* 2^31 and the largest float */
        return SIGN;
    if (exponent < 127 || exponent >= 158)
        return 0;
    uint64_t mantissa = (magnitude & 0x7FFFFFu) | 0x800000u;
    uint32_t value = (uint32_t)(mantissa << 8 >> (158 - exponent));
    return x & SIGN ? 0u - value : value;
}

static uint32_t itof(uint32_t x)
{
    if (x == 0)
        return 0;
    uint32_t magnitude = x & SIGN ? 0u - x : x;
    uint32_t zeros = (uint32_t)__builtin_clz(magnitude);
    uint32_t mantissa = magnitude << zeros >> 8;
    return (x & SIGN) | ((158u - zeros) << 23) | (mantissa & 0x7FFFFFu);
}

/* ---- add pipe ----------------------------------------------------------------------------------------- */

static inline four_t bytes_adds(four_t a, four_t b)
{
    bytes_t sum = (bytes_t)a + (bytes_t)b;
    return (four_t)(sum | (bytes_t)(sum < (bytes_t)a));
}

static inline four_t bytes_subs(four_t a, four_t b)
{
    bytes_t x = (bytes_t)a, y = (bytes_t)b;
    return (four_t)((x - y) & (bytes_t)(x >= y));
}

#define EACH_QUAD(expression)                                                                                \
    for (int k = 0; k < QUADS; k++) {                                                                        \
        four_t x = a->q[k], y = b->q[k];                                                                     \
        (void)x;                                                                                             \
        (void)y;                                                                                             \
        out->q[k] = (expression);                                                                            \
    }                                                                                                        \
    break

#define EACH_LANE(expression)                                                                                \
    for (int k = 0; k < LANES; k++) {                                                                        \
        uint32_t x = a->e[k], y = b->e[k];                                                                   \
        (void)x;                                                                                             \
        (void)y;                                                                                             \
        out->e[k] = (expression);                                                                            \
    }                                                                                                        \
    break

static void shift(uint32_t op, lanes_t *out, const lanes_t *a, const lanes_t *b)
{
    switch (op) { /* the low five bits of the distance count */
    case ADD_SHR:
        EACH_LANE(x >> (y & 31u));
    case ADD_ASR:
        EACH_LANE((uint32_t)((int32_t)x >> (y & 31u)));
    case ADD_ROR:
        EACH_LANE(x >> (y & 31u) | x << ((0u - y) & 31u));
    default:
        EACH_LANE(x << (y & 31u));
    }
}

static void float_op(uint32_t op, lanes_t *out, const lanes_t *a, const lanes_t *b)
{
    switch (op) {
    case ADD_FADD:
        EACH_QUAD(fadd(flush(x), flush(y)));
    case ADD_FSUB:
        EACH_QUAD(fadd(flush(x), flush(y) ^ SIGN));
    case ADD_FMIN:
        EACH_QUAD(choose(greater(x, y), y, x));
    case ADD_FMAX:
        EACH_QUAD(choose(greater(x, y), x, y));
    case ADD_FMINABS:
        EACH_QUAD(
            choose((four_t)((four_int_t)absolute(x) > (four_int_t)absolute(y)), absolute(y), absolute(x)));
    case ADD_FMAXABS:
        EACH_QUAD(
            choose((four_t)((four_int_t)absolute(x) > (four_int_t)absolute(y)), absolute(x), absolute(y)));
    case ADD_FTOI:
        EACH_LANE(ftoi(x));
    default:
        EACH_LANE(itof(x));
    }
}

void qpu_add(uint32_t op, lanes_t *out, const lanes_t *a, const lanes_t *b)
{
    switch (op) {
    case ADD_ADD:
        EACH_QUAD(x + y);
    case ADD_SUB:
        EACH_QUAD(x - y);
    case ADD_MIN:
        EACH_QUAD(choose((four_t)((four_int_t)x > (four_int_t)y), y, x));
    case ADD_MAX:
        EACH_QUAD(choose((four_t)((four_int_t)x > (four_int_t)y), x, y));
    case ADD_AND:
        EACH_QUAD(x & y);
    case ADD_OR:
        EACH_QUAD(x | y);
    case ADD_XOR:
        EACH_QUAD(x ^ y);
    case ADD_NOT:
        EACH_QUAD(~x);
    case ADD_CLZ:
        EACH_LANE(x ? (uint32_t)__builtin_clz(x) : 32u);
    case ADD_V8ADDS:
        EACH_QUAD(bytes_adds(x, y));
    case ADD_V8SUBS:
        EACH_QUAD(bytes_subs(x, y));
    case ADD_SHR:
    case ADD_ASR:
    case ADD_ROR:
    case ADD_SHL:
        shift(op, out, a, b);
        break;
    default:
        float_op(op, out, a, b);
        break;
    }
}

/* ---- mul pipe ----------------------------------------------------------------------------------------- */

static uint32_t bytes_muld(uint32_t a, uint32_t b)
{
    uint32_t result = 0;
    for (uint32_t shift = 0; shift < 32; shift += 8)
        result |= ((a >> shift & 0xFFu) * (b >> shift & 0xFFu) + 127u) / 255u << shift;
    return result;
}

static inline four_t bytes_choose(bool larger, four_t a, four_t b)
{
    bytes_t mask = (bytes_t)((bytes_t)a > (bytes_t)b);
    return larger ? choose((four_t)mask, a, b) : choose((four_t)mask, b, a);
}

void qpu_mul(uint32_t op, lanes_t *out, const lanes_t *a, const lanes_t *b)
{
    switch (op) {
    case MUL_FMUL:
        EACH_QUAD(fmul(flush(x), flush(y)));
    case MUL_MUL24:
        EACH_QUAD((x & 0xFFFFFFu) * (y & 0xFFFFFFu));
    case MUL_V8MULD:
        EACH_LANE(bytes_muld(x, y));
    case MUL_V8MIN:
        EACH_QUAD(bytes_choose(false, x, y));
    case MUL_V8MAX:
        EACH_QUAD(bytes_choose(true, x, y));
    case MUL_V8ADDS:
        EACH_QUAD(bytes_adds(x, y));
    default:
        EACH_QUAD(bytes_subs(x, y));
    }
}

/* ---- carry and overflow ------------------------------------------------------------------------------- */

void qpu_add_carry(uint32_t op, lanes_t *carry, const lanes_t *a, const lanes_t *b, const lanes_t *result)
{
    lanes_t *out = carry;
    switch (op) {
    case ADD_FADD:
    case ADD_FSUB:
    case ADD_ITOF: /* the result is positive */
        for (int k = 0; k < QUADS; k++)
            out->q[k] = (four_t)((four_int_t)result->q[k] > 0);
        break;
    case ADD_FMIN:
    case ADD_FMAX:
        EACH_QUAD(greater(x, y));
    case ADD_FMINABS:
    case ADD_FMAXABS:
        EACH_QUAD((four_t)((four_int_t)absolute(x) > (four_int_t)absolute(y)));
    case ADD_MIN:
    case ADD_MAX:
        EACH_QUAD((four_t)((four_int_t)x > (four_int_t)y));
    case ADD_ADD:
        EACH_QUAD((four_t)(x + y < x));
    case ADD_SUB: /* a borrow */
        EACH_QUAD((four_t)(x < y));
    case ADD_SHR:
    case ADD_ASR: /* the last bit that went out */
        EACH_LANE((y & 31u) && (x >> ((y & 31u) - 1u) & 1u) ? UINT32_MAX : 0u);
    case ADD_SHL:
        EACH_LANE((y & 31u) && (x >> (32u - (y & 31u)) & 1u) ? UINT32_MAX : 0u);
    default:
        memset(out, 0, sizeof *out);
        break;
    }
}

void qpu_mul_carry(uint32_t op, lanes_t *carry, const lanes_t *a, const lanes_t *b)
{
    for (int k = 0; k < LANES; k++) {
        uint64_t product = (uint64_t)(a->e[k] & 0xFFFFFFu) * (b->e[k] & 0xFFFFFFu);
        carry->e[k] = op == MUL_MUL24 && product >> 32 ? UINT32_MAX : 0u;
    }
}

uint32_t qpu_overflow(uint32_t op, const lanes_t *a, const lanes_t *b, const lanes_t *out)
{
    uint32_t mask = 0;
    for (int k = 0; k < LANES; k++) {
        uint32_t x = a->e[k], y = op == ADD_SUB ? ~b->e[k] : b->e[k];
        if (op == ADD_ADD || op == ADD_SUB)
            mask |= ((~(x ^ y) & (x ^ out->e[k])) >> 31) << k;
    }
    return mask;
}

void qpu_saturate(uint32_t overflow, lanes_t *out, const lanes_t *a)
{
    for (int k = 0; k < LANES; k++)
        if (overflow >> k & 1u)
            out->e[k] = a->e[k] & SIGN ? SIGN : ~SIGN;
}

/* ---- packed formats ----------------------------------------------------------------------------------- */

static uint32_t half_to_float(uint32_t half)
{
    uint32_t sign = (half & 0x8000u) << 16, exponent = half >> 10 & 31u, mantissa = (half & 0x3FFu) << 13;
    if (exponent == 0) /* a subnormal keeps its mantissa without a new exponent */
        return sign | mantissa;
    return sign | (exponent == 31 ? EXPONENT : (exponent + 112u) << 23) | mantissa;
}

/* Rounds away from zero; subnormal halves are 0; NaN is infinite. */
static uint32_t half_of_float(uint32_t x)
{
    uint32_t sign = x >> 16 & 0x8000u, magnitude = x & ~SIGN;
    if (magnitude >= EXPONENT)
        return sign | 0x7C00u;
    magnitude = (magnitude + 0x1FFFu) & ~0x1FFFu;
    int32_t exponent = (int32_t)(magnitude >> 23) - 112;
    if (exponent <= 0)
        return 0;
    return sign | (exponent >= 31 ? 0x7C00u : (uint32_t)exponent << 10 | (magnitude >> 13 & 0x3FFu));
}

/* c / 255, rounded toward zero. */
static uint32_t color_to_float(uint32_t c)
{
    float value = (float)c / 255.0f;
    uint32_t bits;
    memcpy(&bits, &value, 4);
    return (double)value * 255.0 > (double)c ? bits - 1u : bits;
}

static uint32_t unpack(uint32_t mode, bool is_float, uint32_t x)
{
    uint32_t part;
    switch (mode) {
    case 1:
    case 2:
        part = mode == 1 ? x & 0xFFFFu : x >> 16;
        return is_float ? half_to_float(part) : (uint32_t)(int32_t)(int16_t)part;
    case 3:
        return (x >> 24) * 0x01010101u;
    default:
        part = x >> (mode - 4u) * 8u & 0xFFu;
        return is_float ? color_to_float(part) : part;
    }
}

void qpu_unpack(uint32_t mode, bool is_float, lanes_t *out, const lanes_t *in)
{
    for (int k = 0; k < LANES; k++)
        out->e[k] = unpack(mode, is_float, in->e[k]);
}

static uint32_t clamp(uint32_t x, int32_t low, int32_t high)
{
    int32_t value = (int32_t)x;
    return (uint32_t)(value < low ? low : value > high ? high : value);
}

static uint32_t merge(uint32_t into, uint32_t value, uint32_t mask)
{
    return (into & ~mask) | (value & mask);
}

static uint32_t pack(uint32_t mode, bool is_float, uint32_t into, uint32_t x)
{
    uint32_t part = mode & 7u;
    bool saturate = mode & 8u;
    if (part == 0)
        return x;
    if (part <= 2) {
        x = is_float ? half_of_float(x) : saturate ? clamp(x, -32768, 32767) : x;
        return part == 1 ? merge(into, x, 0xFFFFu) : merge(into, x << 16, 0xFFFF0000u);
    }
    x = (saturate ? clamp(x, 0, 255) : x) & 0xFFu;
    if (part == 3)
        return x * 0x01010101u;
    uint32_t shift = (part - 4u) * 8u;
    return merge(into, x << shift, 0xFFu << shift);
}

void qpu_pack(uint32_t mode, bool is_float, lanes_t *into, const lanes_t *value)
{
    for (int k = 0; k < LANES; k++)
        into->e[k] = pack(mode, is_float, into->e[k], value->e[k]);
}

const char *qpu_pack_color(uint32_t mode, lanes_t *into, const lanes_t *value)
{
    for (int k = 0; k < LANES; k++) {
        uint32_t bits = value->e[k];
        if ((bits & ~SIGN) > EXPONENT)
            return "the 8-bit color of a NaN is not modelled";
        float f = value->f[k / 4][k % 4];
        uint32_t color = f >= 1.0f ? 255u : f > 0.0f ? (uint32_t)((double)f * 255.0 + 0.5) : 0u;
        into->e[k] = pack(mode, false, into->e[k], color);
    }
    return NULL;
}
