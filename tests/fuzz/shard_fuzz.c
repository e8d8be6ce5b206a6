/* shard_fuzz.c: the header of a shard (firmware/model/shard.c). Input: a tap capacity, a limit, the 56 bytes of the
 * header (each number as it comes, or small), then weights. Shard and arena lie in memory of exactly their size, and one position
 * goes through all layers that the shard has, so a wrong extent is a crash. */
#include <stddef.h>

#include "model.h"
#include "taps.h"

#include "fuzz_input.h"

enum {
    MEMORY_BYTES_MAX = 1 << 16, /* of shards and arenas that are really made */
    HEADER_BYTES = sizeof(struct shard_header),
    HEADER_WORDS = HEADER_BYTES / 4,
};

static void read_header(struct input *input, uint32_t *header)
{
    static const uint32_t good[HEADER_WORDS] = {8, 12, 2, 2, 1, 6, 4, SHARD_MAGIC, 0, 1, 0, 2, 1, 1};
    for (uint32_t i = 0; i < HEADER_WORDS; i++) {
        uint8_t how = input_byte(input);
        header[i] = how < 100   ? good[i]
                    : how < 200 ? how - 100u
                    : how < 210 ? (uint32_t)-(how - 200)
                                : input_word(input);
    }
}

/* Tensors lie one behind the other, each as large as the model needs it. */
static void check_extents(const struct model *m)
{
    const struct model_config *c = &m->config;
    const struct model_weights *w = &m->weights;
    const struct model_buffers *b = &m->buffers;
    size_t l = m->layer_end - m->layer_start;
    size_t cache = l * c->seq_len * c->kv_dim;
    CHECK(c->n_heads * c->head_size == c->dim && c->n_heads % c->n_kv_heads == 0 && c->head_size % 2 == 0);
    CHECK(w->wk - w->wq == (ptrdiff_t)(l * c->dim * c->dim) &&
          w->wv - w->wk == (ptrdiff_t)(l * c->kv_dim * c->dim));
    CHECK(w->w2 - w->w1 == (ptrdiff_t)(l * c->hidden_dim * c->dim) && w->w3 - w->w2 == w->w2 - w->w1);
    CHECK(w->freq_sin - w->freq_cos == (ptrdiff_t)(c->seq_len * (c->head_size / 2)));
    CHECK(b->keys - b->att == (ptrdiff_t)(c->n_heads * c->seq_len));
    CHECK(b->values - b->keys == (ptrdiff_t)cache && b->logits - b->values == (ptrdiff_t)cache);
    CHECK(b->up - b->gate == (ptrdiff_t)c->hidden_dim && b->q - b->norm == (ptrdiff_t)c->dim);
}

/* One token at the last position, as if all before it had been there. */
static void use(struct model *m)
{
    uint32_t position = m->config.seq_len - 1;
    float *x = calloc(m->config.dim, sizeof *x);
    m->cached_positions = position;
    CHECK(model_position_ok(m, position) && !model_position_ok(m, position + 1));
    if (m->has_embed)
        model_embed(m, m->config.vocab_size - 1, position, x);
    model_layers(m, x, position);
    if (m->has_head)
        model_head(m, x, position);
    free(x);
}

static void place(const uint32_t *header, uint32_t shard_bytes, uint32_t taps, struct input *input)
{
    struct model m;
    uint32_t *shard = calloc(1, shard_bytes);
    memcpy(shard, header, HEADER_BYTES);
    input_bytes(input, shard + HEADER_WORDS, shard_bytes - HEADER_BYTES);
    CHECK(model_init(&m, shard, shard_bytes - 4, shard, 0, taps) != MODEL_OK);
    int error = model_init(&m, shard, shard_bytes, shard, 0, taps);
    CHECK(error == MODEL_ERROR_ARENA_SMALL);
    CHECK(strncmp(model_error_text(error), "unknown", 7) != 0);
    if (m.arena_needed_bytes <= MEMORY_BYTES_MAX) {
        uint32_t arena_bytes = m.arena_needed_bytes;
        void *arena = malloc(arena_bytes);
        CHECK(model_init(&m, shard, shard_bytes, arena, arena_bytes - 1, taps) == MODEL_ERROR_ARENA_SMALL);
        CHECK(model_init(&m, shard, shard_bytes, arena, arena_bytes, taps) == MODEL_OK);
        check_extents(&m);
        use(&m);
        free(arena);
    }
    free(shard);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input input = {data, size};
    uint32_t taps = input_byte(&input);
    uint32_t limit = input_word(&input);
    uint32_t *header = malloc(HEADER_BYTES);
    struct model m;
    read_header(&input, header);
    uint32_t bytes = model_shard_bytes(header, UINT32_MAX);
    CHECK(model_shard_bytes(header, limit) == (bytes <= limit ? bytes : 0));
    CHECK(bytes == 0 || bytes >= HEADER_BYTES);
    int error = model_init(&m, header, bytes ? HEADER_BYTES : limit, header, 0, taps);
    CHECK(strncmp(model_error_text(error), "unknown", 7) != 0);
    if (bytes && bytes <= MEMORY_BYTES_MAX)
        place(header, bytes, taps, &input);
    free(header);
    return 0;
}
