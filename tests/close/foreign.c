/* foreign.c: a firmware of another make, for tests of close mode. One layer of a transformer for two positions, sums in
 * plain order, an exp of its own; prints every tensor in the format of docs/close.md over PL011, which is set up. */
#include <stdint.h>

#include "model.h" /* made by the test: sizes and weights */

#define UART_DR (*(volatile uint32_t *)0x20201000)
#define UART_FR (*(volatile uint32_t *)0x20201018)

static char line[512];
static uint32_t used __attribute__((section(".data"))); /* nobody clears the BSS */

static void put(const char *text)
{
    while (*text)
        line[used++] = *text++;
}

static void put_number(uint32_t value, uint32_t base, int digits)
{
    char text[12];
    int n = 0;
    do
        text[n++] = "0123456789abcdef"[value % base];
    while ((value /= base) || n < digits);
    while (n)
        line[used++] = text[--n];
}

static void print_line(void)
{
    for (uint32_t i = 0; i < used; i++) {
        while (UART_FR & 0x20)
            ;
        UART_DR = (uint32_t)line[i];
    }
    used = 0;
}

static uint32_t crc32(void)
{
    uint32_t crc = 0xFFFFFFFF;
    for (uint32_t i = 0; i < used; i++) {
        crc ^= (uint8_t)line[i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? 0xEDB88320 : 0);
    }
    return ~crc;
}

/* layer: negative where the op has none. */
static void report(const char *op, int layer, uint32_t position, const float *values, uint32_t count)
{
    const uint32_t *words = (const uint32_t *)(const void *)values;
    for (uint32_t at = 0; at < count; at += 16) {
        put("TENSOR "), put(op);
        if (layer >= 0)
            put(" layer="), put_number((uint32_t)layer, 10, 1);
        put(" position="), put_number(position, 10, 1);
        put(" at="), put_number(at, 10, 1), put(" of="), put_number(count, 10, 1);
        for (uint32_t i = at; i < count && i < at + 16; i++)
            put(" "), put_number(words[i], 16, 8);
        uint32_t crc = crc32();
        put(" crc="), put_number(crc, 16, 8), put("\n");
        print_line();
    }
}

/* A series of five terms around the nearest power of two: off by some units. */
static float rough_exp(float x)
{
    int n = (int)(x * 1.44269504f - 0.5f);
    float r = x - (float)n * 0.693147181f,
          sum = 1.0f + r * (1.0f + r / 2 * (1.0f + r / 3 * (1.0f + r / 4 * (1.0f + r / 5))));
    union {
        uint32_t bits;
        float value;
    } power = {.bits = (uint32_t)(n + 127) << 23};
    return n < -126 ? 0.0f : sum * power.value;
}

static void norm(float *out, const float *x, const float *gain)
{
    float sum = 0.0f;
    for (int i = 0; i < DIM; i++)
        sum += x[i] * x[i];
    float scale = 1.0f / __builtin_sqrtf(sum / DIM + 1e-5f);
    for (int i = 0; i < DIM; i++)
        out[i] = x[i] * scale * gain[i];
}

static void multiply(float *out, const float *matrix, const float *x, int rows, int columns)
{
    for (int r = 0; r < rows; r++) {
        out[r] = 0.0f;
        for (int c = 0; c < columns; c++)
            out[r] += matrix[r * columns + c] * x[c];
    }
}

static void turn(float *x, int count, uint32_t position)
{
    for (int i = 0; i < count; i += 2) {
        float cos = freq_cos[position * HEAD / 2 + (i % HEAD) / 2],
              sin = freq_sin[position * HEAD / 2 + (i % HEAD) / 2];
        float a = x[i], b = x[i + 1];
        x[i] = a * cos - b * sin;
        x[i + 1] = a * sin + b * cos;
    }
}

static float keys[POSITIONS][KV], values[POSITIONS][KV], x[DIM], a[DIM], q[DIM], gate[HIDDEN], up[HIDDEN],
    logits[VOCAB];
static float probs[HEADS * POSITIONS];

static void attend(uint32_t p)
{
    for (int h = 0; h < HEADS; h++) {
        float *row = probs + h * (int)(p + 1), most = -1e30f, sum = 0.0f;
        const int kv = h / (HEADS / KV_HEADS) * HEAD;
        for (uint32_t t = 0; t <= p; t++) {
            row[t] = 0.0f;
            for (int i = 0; i < HEAD; i++)
                row[t] += q[h * HEAD + i] * keys[t][kv + i];
            row[t] /= __builtin_sqrtf(HEAD);
            most = row[t] > most ? row[t] : most;
        }
        for (uint32_t t = 0; t <= p; t++)
            sum += row[t] = rough_exp(row[t] - most);
        for (uint32_t t = 0; t <= p; t++)
            row[t] /= sum;
    }
    report("ATT_PROB", 0, p, probs, HEADS * (p + 1));
    for (int i = 0; i < DIM; i++) {
        a[i] = 0.0f;
        for (uint32_t t = 0; t <= p; t++)
            a[i] += probs[i / HEAD * (int)(p + 1) + (int)t] *
                    values[t][i / HEAD / (HEADS / KV_HEADS) * HEAD + i % HEAD];
    }
    report("ATT_MIX", 0, p, a, DIM);
}

static void add(float *to, const float *from)
{
    for (int i = 0; i < DIM; i++)
        to[i] += from[i];
}

void main(void)
{
    put("another firmware, another make\n"), print_line();
    for (uint32_t p = 0; p < POSITIONS; p++) {
        for (int i = 0; i < DIM; i++)
            x[i] = tok_emb[tokens[p] * DIM + (uint32_t)i];
        report("EMBED", -1, p, x, DIM);
        norm(a, x, rms_att), report("ATT_NORM", 0, p, a, DIM);
        multiply(q, wq, a, DIM, DIM), report("Q", 0, p, q, DIM);
        multiply(keys[p], wk, a, KV, DIM), report("K", 0, p, keys[p], KV);
        multiply(values[p], wv, a, KV, DIM), report("V", 0, p, values[p], KV);
        turn(q, DIM, p), report("Q_ROPE", 0, p, q, DIM);
        turn(keys[p], KV, p), report("K_ROPE", 0, p, keys[p], KV);
        attend(p);
        multiply(q, wo, a, DIM, DIM), report("ATT_OUT", 0, p, q, DIM);
        add(x, q), report("ATT_RES", 0, p, x, DIM);
        norm(a, x, rms_ffn), report("FFN_NORM", 0, p, a, DIM);
        multiply(gate, w1, a, HIDDEN, DIM), report("GATE", 0, p, gate, HIDDEN);
        multiply(up, w3, a, HIDDEN, DIM), report("UP", 0, p, up, HIDDEN);
        for (int i = 0; i < HIDDEN; i++)
            gate[i] = gate[i] / (1.0f + rough_exp(-gate[i])) * up[i];
        report("SWIGLU", 0, p, gate, HIDDEN);
        multiply(q, w2, gate, DIM, HIDDEN), report("FFN_OUT", 0, p, q, DIM);
        add(x, q), report("FFN_RES", 0, p, x, DIM);
        norm(a, x, rms_final), report("FINAL_NORM", -1, p, a, DIM);
        multiply(logits, tok_emb, a, VOCAB, DIM), report("LOGITS", -1, p, logits, VOCAB);
    }
    put("DONE!!!\n"), print_line();
    for (;;)
        ;
}
