/* sampler.c: from logits to a token: argmax, multinomial, top-p.
 * Order of every sum: docs/arithmetic.md. Python twin: golden/sampler.py.
 * Top-p takes candidates from a heap only until the cut, so nothing is sorted in full and nothing recurses. */
#include "model.h"
#include "ops.h"

void sampler_init(struct sampler *s, float temperature, float topp, uint64_t seed)
{
    s->temperature = temperature > 0.0f ? temperature : 0.0f;
    s->topp = topp;
    s->state = seed == 0 ? 1 : seed;
}

/* xorshift64*: a float in [0, 1) from the upper 24 bits of the upper word. */
static float draw_coin(struct sampler *s)
{
    s->state ^= s->state >> 12;
    s->state ^= s->state << 25;
    s->state ^= s->state >> 27;
    uint32_t high = (uint32_t)((s->state * 0x2545F4914F6CDD1Dull) >> 32);
    return (float)(high >> 8) / 16777216.0f;
}

static uint32_t argmax(const float *x, uint32_t n)
{
    uint32_t best = 0;

    for (uint32_t i = 1; i < n; i++)
        if (x[i] > x[best])
            best = i;
    return best;
}

static uint32_t sample_all(const float *probs, uint32_t n, float coin)
{
    float sum = 0.0f;

    for (uint32_t i = 0; i < n; i++) {
        sum = sum + probs[i];
        if (coin < sum)
            return i;
    }
    return n - 1;
}

/* Candidate a comes before b: more probable, or equally so and of lower index. Probabilities are not negative,
 * so their bits compare like them. */
static int before(const float *probs, uint32_t a, uint32_t b)
{
    uint32_t bits_a = float_bits(probs[a]);
    uint32_t bits_b = float_bits(probs[b]);
    return bits_a != bits_b ? bits_a > bits_b : a < b;
}

static void sift_down(uint32_t *heap, uint32_t count, uint32_t at, const float *probs)
{
    uint32_t moving = heap[at];

    for (uint32_t child = 2 * at + 1; child < count; child = 2 * at + 1) {
        if (child + 1 < count && before(probs, heap[child + 1], heap[child]))
            child++;
        if (!before(probs, heap[child], moving))
            break;
        heap[at] = heap[child];
        at = child;
    }
    heap[at] = moving;
}

/* Fills heap with the indices whose probability reaches (1 - topp) / (n - 1); best first. Returns how many. */
static uint32_t heap_candidates(uint32_t *heap, const float *probs, uint32_t n, float topp)
{
    float cutoff = (1.0f - topp) / (float)(n - 1);
    uint32_t count = 0;

    for (uint32_t i = 0; i < n; i++)
        if (probs[i] >= cutoff)
            heap[count++] = i;
    for (uint32_t at = count / 2; at > 0; at--)
        sift_down(heap, count, at - 1, probs);
    return count;
}

static uint32_t sample_topp(uint32_t *order, const float *probs, uint32_t n, float topp, float coin)
{
    uint32_t count = heap_candidates(order, probs, n, topp);
    uint32_t left = count;
    float total = 0.0f;

    if (count == 0)
        return argmax(probs, n);
    /* Taken candidates collect at the end of the array, the first one last. */
    while (left > 0 && !(total > topp)) {
        uint32_t taken = order[0];
        left--;
        order[0] = order[left];
        sift_down(order, left, 0, probs);
        order[left] = taken;
        total = total + probs[taken];
    }
    float mark = coin * total;
    float sum = 0.0f;
    for (uint32_t i = count; i > left; i--) {
        sum = sum + probs[order[i - 1]];
        if (mark < sum)
            return order[i - 1];
    }
    return order[left];
}

uint32_t sampler_next(struct sampler *s, struct model *m, const float *logits, uint32_t position)
{
    uint32_t n = m->config.vocab_size;
    float *probs = m->buffers.probs;

    if (s->temperature == 0.0f)
        return argmax(logits, n);
    for (uint32_t i = 0; i < n; i++)
        probs[i] = logits[i] / s->temperature;
    softmax(probs, n);
    tap_record(&m->taps, OP_PROBS, NO_LAYER, position, probs, n);
    float coin = draw_coin(s);
    if (s->topp > 0.0f && s->topp < 1.0f)
        return sample_topp(m->buffers.order, probs, n, s->topp, coin);
    return sample_all(probs, n, coin);
}
