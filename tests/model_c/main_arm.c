/* main_arm.c: entry points for the model in an emulated ARM1176 without an operating system.
 * The test writes arguments into `job` and `vector`, sets sp and lr, and starts at a run_ function. */
#include <stddef.h>

#include "ops.h"
#include "ring.h"
#include "train_ring.h"

enum {
    VECTOR_MAX = 65536
};

struct {
    uint32_t count;
    uint32_t length;
    float a[VECTOR_MAX];
    float b[VECTOR_MAX];
    float out[VECTOR_MAX];
} vector;

struct ring_job job;

void run_ring(void) { ring_run(&job); }

struct train_job train_job;

void run_train(void) { train_ring_run(&train_job); }

uint32_t run_model_bytes(void) { return sizeof(struct model); }

uint32_t run_taps_offset(void) { return offsetof(struct model, taps); }

/* out[i] = dot8 of the i-th `length` elements of a and b. */
void run_dot8(void)
{
    for (uint32_t i = 0; i < vector.count; i++) {
        uint32_t first = i * vector.length;
        vector.out[i] = dot8(vector.a + first, vector.b + first, vector.length);
    }
}

void run_exp(void)
{
    for (uint32_t i = 0; i < vector.count; i++)
        vector.out[i] = exp_f32(vector.a[i]);
}

/* swiglu over all: multiplications, an addition, a division and exp. */
void run_swiglu(void)
{
    for (uint32_t i = 0; i < vector.count; i++)
        vector.out[i] = vector.a[i];
    swiglu(vector.out, vector.b, vector.count);
}

/* What compilers call for clearing structs and dividing. */
void *memset(void *to, int value, __SIZE_TYPE__ size)
{
    volatile unsigned char *at = to;
    while (size-- > 0)
        *at++ = (unsigned char)value;
    return to;
}

void *memcpy(void *to, const void *from, __SIZE_TYPE__ size)
{
    volatile unsigned char *at = to;
    const unsigned char *next = from;
    while (size-- > 0)
        *at++ = *next++;
    return to;
}

void __aeabi_memcpy4(void *to, const void *from, __SIZE_TYPE__ size) { memcpy(to, from, size); }

void __aeabi_memcpy(void *to, const void *from, __SIZE_TYPE__ size) { memcpy(to, from, size); }

void __aeabi_memclr4(void *to, __SIZE_TYPE__ size) { memset(to, 0, size); }

static uint64_t divide(uint32_t a, uint32_t b)
{
    uint32_t quotient = 0;
    uint32_t rest = 0;
    for (int bit = 31; bit >= 0; bit--) {
        rest = rest << 1 | (a >> bit & 1u);
        if (rest >= b) {
            rest -= b;
            quotient |= 1u << bit;
        }
    }
    return (uint64_t)rest << 32 | quotient; /* r0: quotient, r1: remainder */
}

uint64_t __aeabi_uidivmod(uint32_t a, uint32_t b) { return divide(a, b); }

uint32_t __aeabi_uidiv(uint32_t a, uint32_t b) { return (uint32_t)divide(a, b); }

void __aeabi_unwind_cpp_pr0(void) {}
void __aeabi_unwind_cpp_pr1(void) {}
