/* selftest.c: does the context switch keep what a function call must keep?
 *
 * Part of the library, and with SELFTEST_MAIN a program of its own (with coroutine.c), so that the switch of
 * another processor can be run under an emulator without Unicorn. */
#include <stdint.h>
#include <string.h>

#include "coroutine.h"
#include "sim.h"

static uint64_t mix(uint64_t x)
{
    x ^= x >> 30;
    x *= 0xBF58476D1CE4E5B9ull;
    x ^= x >> 27;
    x *= 0x94D049BB133111EBull;
    return x ^ x >> 31;
}

typedef struct {
    coroutine_t *self, *other;
    uint32_t rounds;
    uint64_t integer;
    double real;
} ping_t;

static void ping(void *argument)
{
    ping_t *p = argument;
    /* Enough live values to fill the callee-saved registers, integer and floating point. */
    uint64_t a = p->integer, b = a + 1, c = a + 2, d = a + 3, e = a + 4;
    double u = p->real, v = u + 1, w = u + 2, x = u + 3, y = u + 4;
    for (uint32_t i = 0; i < p->rounds; i++) {
        coroutine_switch(p->self, p->other);
        a = mix(a + b), b = mix(b + c), c = mix(c + d), d = mix(d + e), e = mix(e + a);
        u += 0.5, v += 0.25, w += 0.125, x += 2.0, y += 4.0;
    }
    p->integer = a ^ b ^ c ^ d ^ e;
    p->real = u + v + w + x + y;
    for (;;)
        coroutine_switch(p->self, p->other);
}

uint64_t sim_switch_selftest(uint32_t rounds)
{
    coroutine_t main_context, co[2];
    memset(&main_context, 0, sizeof main_context);
    ping_t p[2];
    for (int i = 0; i < 2; i++) {
        p[i] = (ping_t){&co[i], &main_context, rounds, (uint64_t)i * 1000u, (double)i * 100.0};
        if (coroutine_create(&co[i], ping, &p[i]) != 0)
            return 0;
    }
    for (uint32_t round = 0; round < rounds + 1; round++) {
        coroutine_switch(&main_context, &co[0]);
        coroutine_switch(&main_context, &co[1]);
    }
    double expected = 10.0 + 6.875 * rounds;
    int right = p[0].real == expected && p[1].real == expected + 500.0;
    uint64_t sum = p[0].integer ^ mix(p[1].integer);
    coroutine_destroy(&co[0]);
    coroutine_destroy(&co[1]);
    return right ? sum | 1u : 0;
}

#ifdef SELFTEST_MAIN
#include <stdio.h>

int main(void)
{
    printf("%llx\n", (unsigned long long)sim_switch_selftest(1000));
    return 0;
}
#endif
