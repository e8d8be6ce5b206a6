/* shard.c: reads a shard's header and lays out its tensors and the arena.
 * Format: docs/formats.md; its head: shard_header.h, generated. Python twin: hil/model/shard.py. Trusts nothing in the header. */
#include "layout.h"
#include "model.h"
#include "ops.h"

static int in_range(int32_t value, int32_t low, int32_t high) { return value >= low && value <= high; }

static int header_ok(const struct shard_header *h)
{
    int32_t vocab_size = h->vocab_size < 0 && h->vocab_size != INT32_MIN ? -h->vocab_size : h->vocab_size;

    if (h->magic != (int32_t)SHARD_MAGIC || !in_range(h->dim, 1, MODEL_DIM_MAX) ||
        !in_range(h->hidden_dim, 1, MODEL_HIDDEN_DIM_MAX) || !in_range(h->n_layers, 1, MODEL_N_LAYERS_MAX) ||
        !in_range(vocab_size, 1, MODEL_VOCAB_SIZE_MAX) || !in_range(h->seq_len, 1, MODEL_SEQ_LEN_MAX)) {
        return 0;
    }
    if (!in_range(h->n_heads, 1, h->dim) || !in_range(h->n_kv_heads, 1, h->n_heads))
        return 0;
    uint32_t n_heads = (uint32_t)h->n_heads;
    if ((uint32_t)h->dim % (2u * n_heads) != 0 || n_heads % (uint32_t)h->n_kv_heads != 0)
        return 0;
    /* A shared classifier is the embedding: a head without it has no matrix. */
    if (h->has_head == 1 && h->vocab_size > 0 && h->has_embed == 0)
        return 0;
    return in_range(h->world_size, 1, MODEL_WORLD_MAX) && in_range(h->rank, 0, h->world_size - 1) &&
           in_range(h->layer_start, 0, h->n_layers) && in_range(h->layer_end, h->layer_start, h->n_layers) &&
           in_range(h->has_embed, 0, 1) && in_range(h->has_head, 0, 1);
}

static void config_from_header(struct model_config *c, const struct shard_header *h)
{
    c->dim = (uint32_t)h->dim;
    c->hidden_dim = (uint32_t)h->hidden_dim;
    c->n_layers = (uint32_t)h->n_layers;
    c->n_heads = (uint32_t)h->n_heads;
    c->n_kv_heads = (uint32_t)h->n_kv_heads;
    c->vocab_size = (uint32_t)(h->vocab_size < 0 ? -h->vocab_size : h->vocab_size);
    c->seq_len = (uint32_t)h->seq_len;
    c->shared_classifier = h->vocab_size > 0;
    c->head_size = c->dim / c->n_heads;
    c->kv_dim = c->head_size * c->n_kv_heads;
}

static void layout_weights(struct model_weights *w, struct region *from, const struct model_config *c,
                           const struct shard_header *h)
{
    uint32_t l = (uint32_t)(h->layer_end - h->layer_start);

    w->tok_emb = h->has_embed ? take(from, c->vocab_size, c->dim, 1) : 0;
    w->rms_att = take(from, l, c->dim, 1);
    w->wq = take(from, l, c->dim, c->dim);
    w->wk = take(from, l, c->kv_dim, c->dim);
    w->wv = take(from, l, c->kv_dim, c->dim);
    w->wo = take(from, l, c->dim, c->dim);
    w->rms_ffn = take(from, l, c->dim, 1);
    w->w1 = take(from, l, c->hidden_dim, c->dim);
    w->w2 = take(from, l, c->dim, c->hidden_dim);
    w->w3 = take(from, l, c->hidden_dim, c->dim);
    w->rms_final = h->has_head ? take(from, c->dim, 1, 1) : 0;
    w->freq_cos = take(from, c->seq_len, c->head_size / 2, 1);
    w->freq_sin = take(from, c->seq_len, c->head_size / 2, 1);
    w->wcls = !h->has_head ? 0 : c->shared_classifier ? w->tok_emb : take(from, c->vocab_size, c->dim, 1);
}

static void layout_arena(struct model *m, struct region *from, uint32_t tap_capacity)
{
    const struct model_config *c = &m->config;
    struct model_buffers *b = &m->buffers;
    uint32_t l = m->layer_end - m->layer_start;
    uint32_t head_vocab = m->has_head ? c->vocab_size : 0;

    b->norm = take(from, c->dim, 1, 1);
    b->q = take(from, c->dim, 1, 1);
    b->mix = take(from, c->dim, 1, 1);
    b->out = take(from, c->dim, 1, 1);
    b->gate = take(from, c->hidden_dim, 1, 1);
    b->up = take(from, c->hidden_dim, 1, 1);
    b->hidden = b->gate;
    b->att = take(from, c->n_heads, c->seq_len, 1);
    b->keys = take(from, l, c->seq_len, c->kv_dim);
    b->values = take(from, l, c->seq_len, c->kv_dim);
    b->logits = take(from, head_vocab, 1, 1);
    b->probs = take(from, head_vocab, 1, 1);
    b->order = (uint32_t *)(void *)take(from, head_vocab, 1, 1);
    uint32_t *crc_table = (uint32_t *)(void *)take(from, TAP_CRC_TABLE_WORDS, 1, 1);
    void *entries = take(from, tap_capacity, sizeof(struct tap_record) / sizeof(float), 1);
    if (from->base != 0)
        tap_log_init(&m->taps, entries, tap_capacity, crc_table);
}

uint32_t model_shard_bytes(const void *shard, uint32_t limit_bytes)
{
    const struct shard_header *h = shard;
    struct model_config config;
    struct model_weights weights;
    struct region count = {0};

    if (limit_bytes < sizeof(struct shard_header) || !header_ok(h))
        return 0;
    config_from_header(&config, h);
    layout_weights(&weights, &count, &config, h);
    uint64_t bytes = sizeof(struct shard_header) + count.words * sizeof(float);
    return bytes > limit_bytes ? 0 : (uint32_t)bytes;
}

int model_init(struct model *m, const void *shard, uint32_t shard_bytes, void *arena, uint32_t arena_bytes,
               uint32_t tap_capacity)
{
    const struct shard_header *h = shard;

    *m = (struct model){0};
    m->shard_bytes = shard_bytes;
    m->arena_bytes = arena_bytes;
    if (((uintptr_t)shard | (uintptr_t)arena) % sizeof(float) != 0)
        return MODEL_ERROR_ARENA_ALIGN;
    if (shard_bytes < sizeof(struct shard_header) || !header_ok(h))
        return MODEL_ERROR_HEADER;
    if (model_shard_bytes(shard, shard_bytes) != shard_bytes)
        return MODEL_ERROR_SHARD_SIZE;
    config_from_header(&m->config, h);
    m->rank = (uint32_t)h->rank;
    m->world_size = (uint32_t)h->world_size;
    m->layer_start = (uint32_t)h->layer_start;
    m->layer_end = (uint32_t)h->layer_end;
    m->has_embed = (uint32_t)h->has_embed;
    m->has_head = (uint32_t)h->has_head;
    m->score_scale = 1.0f / sqrt_ieee((float)m->config.head_size);

    struct region need = {0};
    layout_arena(m, &need, tap_capacity);
    uint64_t needed_bytes = need.words * sizeof(float);
    m->arena_needed_bytes = needed_bytes > UINT32_MAX ? UINT32_MAX : (uint32_t)needed_bytes;
    if (needed_bytes > arena_bytes)
        return MODEL_ERROR_ARENA_SMALL;
    /* The layout only hands out addresses; the const is given back with the pointers of model_weights. */
    struct region body = {.base = (float *)((uintptr_t)shard + sizeof(struct shard_header))};
    layout_weights(&m->weights, &body, &m->config, h);
    struct region place = {.base = arena};
    layout_arena(m, &place, tap_capacity);
    return MODEL_OK;
}

const char *model_error_text(int error)
{
    switch (error) {
    case MODEL_OK:
        return "no error";
    case MODEL_ERROR_HEADER:
        return "no valid shard header: write the card again with a shard made for this model";
    case MODEL_ERROR_SHARD_SIZE:
        return "the shard's size is not what its header needs: the file is cut off or of another model";
    case MODEL_ERROR_ARENA_SMALL:
        return "too little memory for the shard's buffers and the tap log: use fewer layers per board or "
               "fewer taps";
    case MODEL_ERROR_ARENA_ALIGN:
        return "shard or arena does not start at a multiple of 4 bytes";
    case MODEL_ERROR_SETTINGS:
        return "the training's settings cannot be: give 1 to seq_len positions, 1 to 64 slots, and SGD or "
               "AdamW";
    default:
        return "unknown error of model_init";
    }
}
