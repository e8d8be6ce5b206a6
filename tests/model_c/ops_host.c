/* ops_host.c: single ops over arrays, for ctypes. Flushing is on only inside a call: NumPy must not notice. */
#include "flush.h"
#include "model.h"
#include "ops.h"

#if defined(__x86_64__)
#define FLUSHING(work)                                                                                       \
    do {                                                                                                     \
        unsigned int before = _mm_getcsr();                                                                  \
        flush_subnormals();                                                                                  \
        work;                                                                                                \
        _mm_setcsr(before);                                                                                  \
    } while (0)
#else
#define FLUSHING(work)                                                                                       \
    do {                                                                                                     \
        unsigned long before;                                                                                \
        __asm__ volatile("mrs %0, fpcr" : "=r"(before));                                                     \
        flush_subnormals();                                                                                  \
        work;                                                                                                \
        __asm__ volatile("msr fpcr, %0" ::"r"(before));                                                      \
    } while (0)
#endif

enum {
    SAMPLE_VOCAB_MAX = 65536
};

void host_sample(const float *logits, uint32_t vocab_size, float temperature, float topp, uint64_t seed,
                 uint32_t *tokens, uint32_t count);
void host_dot8(const float *a, const float *b, float *out, uint32_t count, uint32_t length);
void host_exp(const float *a, const float *b, float *out, uint32_t count, uint32_t length);
void host_swiglu(const float *a, const float *b, float *out, uint32_t count, uint32_t length);

static void dots(const float *a, const float *b, float *out, uint32_t count, uint32_t length)
{
    for (uint32_t i = 0; i < count; i++)
        out[i] = dot8(a + i * length, b + i * length, length);
}

static void exps(const float *a, float *out, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        out[i] = exp_f32(a[i]);
}

void host_dot8(const float *a, const float *b, float *out, uint32_t count, uint32_t length)
{
    FLUSHING(dots(a, b, out, count, length));
}

void host_exp(const float *a, const float *b, float *out, uint32_t count, uint32_t length)
{
    (void)b;
    (void)length;
    FLUSHING(exps(a, out, count));
}

void host_swiglu(const float *a, const float *b, float *out, uint32_t count, uint32_t length)
{
    (void)length;
    for (uint32_t i = 0; i < count; i++)
        out[i] = a[i];
    FLUSHING(swiglu(out, b, count));
}

/* Draws count tokens from the same logits with one sampler. */
void host_sample(const float *logits, uint32_t vocab_size, float temperature, float topp, uint64_t seed,
                 uint32_t *tokens, uint32_t count)
{
    static float probs[SAMPLE_VOCAB_MAX];
    static uint32_t order[SAMPLE_VOCAB_MAX];
    struct model m = {.config.vocab_size = vocab_size, .buffers = {.probs = probs, .order = order}};
    struct sampler sampler;

    sampler_init(&sampler, temperature, topp, seed);
    for (uint32_t i = 0; i < count; i++)
        FLUSHING(tokens[i] = sampler_next(&sampler, &m, logits, 0));
}
