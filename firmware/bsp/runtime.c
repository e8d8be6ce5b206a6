/* runtime.c: memory functions and the helpers that compilers call for what ARMv6 has no instruction for.
 * Source: ARM RTABI (IHI 0043) for names, argument order and results. One implementation for all compilers,
 * so that none brings code of its own library into an image. Compiled with -fno-builtin. */
#include "runtime.h"

#include <stdint.h>

void *memcpy(void *restrict to, const void *restrict from, size_t size)
{
    uint8_t *out = to;
    const uint8_t *in = from;
    if ((((uintptr_t)out | (uintptr_t)in) & 3) == 0)
        for (; size >= 4; size -= 4, out += 4, in += 4)
            *(uint32_t *)(void *)out = *(const uint32_t *)(const void *)in;
    while (size--)
        *out++ = *in++;
    return to;
}

void *memmove(void *to, const void *from, size_t size)
{
    uint8_t *out = to;
    const uint8_t *in = from;
    if (out <= in || out >= in + size)
        return memcpy(to, from, size);
    while (size--)
        out[size] = in[size];
    return to;
}

void *memset(void *to, int value, size_t size)
{
    uint8_t *out = to;
    uint32_t word = (uint8_t)value * 0x01010101u;
    if (((uintptr_t)out & 3) == 0)
        for (; size >= 4; size -= 4, out += 4)
            *(uint32_t *)(void *)out = word;
    while (size--)
        *out++ = (uint8_t)value;
    return to;
}

int memcmp(const void *a, const void *b, size_t size)
{
    const uint8_t *left = a;
    const uint8_t *right = b;
    for (; size; size--, left++, right++)
        if (*left != *right)
            return *left - *right;
    return 0;
}

size_t strlen(const char *text)
{
    size_t length = 0;
    while (text[length])
        length++;
    return length;
}

/* Names of the ARM run-time ABI. The memory functions differ in argument order only. */
void __aeabi_memcpy(void *to, const void *from, size_t size);
void __aeabi_memcpy4(void *to, const void *from, size_t size);
void __aeabi_memcpy8(void *to, const void *from, size_t size);
void __aeabi_memmove(void *to, const void *from, size_t size);
void __aeabi_memmove4(void *to, const void *from, size_t size);
void __aeabi_memmove8(void *to, const void *from, size_t size);
void __aeabi_memset(void *to, size_t size, int value);
void __aeabi_memset4(void *to, size_t size, int value);
void __aeabi_memset8(void *to, size_t size, int value);
void __aeabi_memclr(void *to, size_t size);
void __aeabi_memclr4(void *to, size_t size);
void __aeabi_memclr8(void *to, size_t size);
uint32_t __aeabi_uidiv(uint32_t numerator, uint32_t denominator);
uint64_t __aeabi_uidivmod(uint32_t numerator, uint32_t denominator);
int32_t __aeabi_idiv(int32_t numerator, int32_t denominator);
uint64_t __aeabi_idivmod(int32_t numerator, int32_t denominator);
uint64_t runtime_divide64(uint64_t numerator, uint64_t denominator, uint64_t *remainder);

void __aeabi_memcpy(void *to, const void *from, size_t size) { memcpy(to, from, size); }
void __aeabi_memcpy4(void *to, const void *from, size_t size) { memcpy(to, from, size); }
void __aeabi_memcpy8(void *to, const void *from, size_t size) { memcpy(to, from, size); }
void __aeabi_memmove(void *to, const void *from, size_t size) { memmove(to, from, size); }
void __aeabi_memmove4(void *to, const void *from, size_t size) { memmove(to, from, size); }
void __aeabi_memmove8(void *to, const void *from, size_t size) { memmove(to, from, size); }
void __aeabi_memset(void *to, size_t size, int value) { memset(to, value, size); }
void __aeabi_memset4(void *to, size_t size, int value) { memset(to, value, size); }
void __aeabi_memset8(void *to, size_t size, int value) { memset(to, value, size); }
void __aeabi_memclr(void *to, size_t size) { memset(to, 0, size); }
void __aeabi_memclr4(void *to, size_t size) { memset(to, 0, size); }
void __aeabi_memclr8(void *to, size_t size) { memset(to, 0, size); }

static uint32_t divide(uint32_t numerator, uint32_t denominator, uint32_t *remainder)
{
    uint32_t quotient = 0;
    if (denominator && numerator >= denominator) {
        int shift = __builtin_clz(denominator) - __builtin_clz(numerator);
        for (; shift >= 0; shift--) {
            if (numerator >> shift >= denominator) {
                numerator -= denominator << shift;
                quotient |= 1u << shift;
            }
        }
    }
    *remainder = numerator;
    return quotient; /* division by zero: 0, remainder the numerator */
}

uint32_t __aeabi_uidiv(uint32_t numerator, uint32_t denominator)
{
    uint32_t remainder;
    return divide(numerator, denominator, &remainder);
}

uint64_t __aeabi_uidivmod(uint32_t numerator, uint32_t denominator)
{
    uint32_t remainder;
    uint32_t quotient = divide(numerator, denominator, &remainder);
    return (uint64_t)remainder << 32 | quotient; /* r1: remainder, r0: quotient */
}

static uint32_t magnitude(int32_t value) { return value < 0 ? 0u - (uint32_t)value : (uint32_t)value; }

uint64_t __aeabi_idivmod(int32_t numerator, int32_t denominator)
{
    uint32_t remainder;
    uint32_t quotient = divide(magnitude(numerator), magnitude(denominator), &remainder);
    if ((numerator < 0) != (denominator < 0))
        quotient = 0u - quotient;
    if (numerator < 0)
        remainder = 0u - remainder;
    return (uint64_t)remainder << 32 | quotient;
}

int32_t __aeabi_idiv(int32_t numerator, int32_t denominator)
{
    return (int32_t)(uint32_t)__aeabi_idivmod(numerator, denominator);
}

/* Called by __aeabi_uldivmod in runtime64.S, which returns in four registers. */
uint64_t runtime_divide64(uint64_t numerator, uint64_t denominator, uint64_t *remainder)
{
    uint64_t quotient = 0;
    uint64_t rest = 0;
    for (int bit = 63; denominator && bit >= 0; bit--) {
        rest = rest << 1 | (numerator >> bit & 1);
        if (rest >= denominator) {
            rest -= denominator;
            quotient |= 1ull << bit;
        }
    }
    *remainder = denominator ? rest : numerator;
    return quotient;
}
