/* forward.c: embedding, layers and head of one shard, one position at a time.
 * Order of ops and arithmetic: docs/arithmetic.md. Python twin: golden/forward.py. */
#include "forward.h"

#include "ops.h"

void model_reset(struct model *m)
{
    m->cached_positions = 0;
    tap_log_clear(&m->taps);
}

int model_position_ok(const struct model *m, uint32_t position)
{
    return position < m->config.seq_len && position <= m->cached_positions;
}

void model_record(struct model *m, uint32_t op, const struct layer *at, const float *data, uint32_t count)
{
    tap_record(&m->taps, op, at->number, at->position, data, count);
    if (m->service != 0)
        m->service(m->service_context);
}

void model_embed(struct model *m, uint32_t token, uint32_t position, float *x)
{
    uint32_t dim = m->config.dim;
    const struct layer at = {.number = NO_LAYER, .position = position};

    copy_flushed(x, m->weights.tok_emb + token * dim, dim);
    model_record(m, OP_EMBED, &at, x, dim);
}

/* q, and this position's row of the key and value cache. */
static void query_key_value(struct model *m, const struct layer *at, float *key, float *value)
{
    const struct model_config *c = &m->config;
    const struct model_weights *w = &m->weights;
    struct model_buffers *b = &m->buffers;
    const float *cos = w->freq_cos + at->position * (c->head_size / 2);
    const float *sin = w->freq_sin + at->position * (c->head_size / 2);

    matvec(b->q, w->wq + at->local * c->dim * c->dim, b->norm, c->dim, c->dim);
    model_record(m, OP_Q, at, b->q, c->dim);
    matvec(key, w->wk + at->local * c->kv_dim * c->dim, b->norm, c->kv_dim, c->dim);
    model_record(m, OP_K, at, key, c->kv_dim);
    matvec(value, w->wv + at->local * c->kv_dim * c->dim, b->norm, c->kv_dim, c->dim);
    model_record(m, OP_V, at, value, c->kv_dim);
    rope(b->q, cos, sin, c->n_heads, c->head_size);
    model_record(m, OP_Q_ROPE, at, b->q, c->dim);
    rope(key, cos, sin, c->n_kv_heads, c->head_size);
    model_record(m, OP_K_ROPE, at, key, c->kv_dim);
}

/* Probabilities (n_heads, position + 1) of every head over the cached keys. */
static void attention_probabilities(struct model *m, const struct layer *at, const float *keys)
{
    const struct model_config *c = &m->config;
    uint32_t count = at->position + 1;
    uint32_t heads_per_kv = c->n_heads / c->n_kv_heads;

    for (uint32_t h = 0; h < c->n_heads; h++) {
        const float *query = m->buffers.q + h * c->head_size;
        const float *key = keys + h / heads_per_kv * c->head_size;
        float *att = m->buffers.att + h * count;
        for (uint32_t t = 0; t < count; t++, key += c->kv_dim)
            att[t] = dot8(query, key, c->head_size) * m->score_scale;
        softmax(att, count);
    }
    model_record(m, OP_ATT_PROB, at, m->buffers.att, c->n_heads * count);
}

/* mix (dim) = per head, the values weighted by its probabilities, in order of position. */
static void attention_mix(struct model *m, const struct layer *at, const float *values)
{
    const struct model_config *c = &m->config;
    uint32_t count = at->position + 1;
    uint32_t heads_per_kv = c->n_heads / c->n_kv_heads;

    for (uint32_t h = 0; h < c->n_heads; h++) {
        const float *value = values + h / heads_per_kv * c->head_size;
        const float *att = m->buffers.att + h * count;
        float *mix = m->buffers.mix + h * c->head_size;
        for (uint32_t i = 0; i < c->head_size; i++)
            mix[i] = 0.0f;
        for (uint32_t t = 0; t < count; t++, value += c->kv_dim) {
            float weight = att[t];
            for (uint32_t i = 0; i < c->head_size; i++) {
                float product = weight * value[i];
                mix[i] = mix[i] + product;
            }
        }
    }
    model_record(m, OP_ATT_MIX, at, m->buffers.mix, c->dim);
}

void model_attention(struct model *m, float *x, const struct layer *at)
{
    const struct model_config *c = &m->config;
    const struct model_weights *w = &m->weights;
    struct model_buffers *b = &m->buffers;

    rmsnorm(b->norm, x, w->rms_att + at->local * c->dim, c->dim);
    model_record(m, OP_ATT_NORM, at, b->norm, c->dim);
    query_key_value(m, at, at->keys + at->position * c->kv_dim, at->values + at->position * c->kv_dim);
    attention_probabilities(m, at, at->keys);
    attention_mix(m, at, at->values);
    matvec(b->out, w->wo + at->local * c->dim * c->dim, b->mix, c->dim, c->dim);
    model_record(m, OP_ATT_OUT, at, b->out, c->dim);
    add_in_place(x, b->out, c->dim);
    model_record(m, OP_ATT_RES, at, x, c->dim);
}

void model_feed_forward(struct model *m, float *x, const struct layer *at)
{
    const struct model_config *c = &m->config;
    const struct model_weights *w = &m->weights;
    struct model_buffers *b = &m->buffers;
    uint32_t matrix = at->local * c->hidden_dim * c->dim;

    rmsnorm(b->norm, x, w->rms_ffn + at->local * c->dim, c->dim);
    model_record(m, OP_FFN_NORM, at, b->norm, c->dim);
    matvec(b->gate, w->w1 + matrix, b->norm, c->hidden_dim, c->dim);
    model_record(m, OP_GATE, at, b->gate, c->hidden_dim);
    matvec(b->up, w->w3 + matrix, b->norm, c->hidden_dim, c->dim);
    model_record(m, OP_UP, at, b->up, c->hidden_dim);
    if (b->hidden != b->gate)
        copy_flushed(b->hidden, b->gate, c->hidden_dim);
    swiglu(b->hidden, b->up, c->hidden_dim);
    model_record(m, OP_SWIGLU, at, b->hidden, c->hidden_dim);
    matvec(b->out, w->w2 + matrix, b->hidden, c->dim, c->hidden_dim);
    model_record(m, OP_FFN_OUT, at, b->out, c->dim);
    add_in_place(x, b->out, c->dim);
    model_record(m, OP_FFN_RES, at, x, c->dim);
}

void model_layers(struct model *m, float *x, uint32_t position)
{
    uint32_t cache = m->config.seq_len * m->config.kv_dim;

    for (uint32_t number = m->layer_start; number < m->layer_end; number++) {
        uint32_t local = number - m->layer_start;
        model_enter_layer(m, number);
        const struct layer at = {.number = number,
                                 .local = local,
                                 .position = position,
                                 .keys = m->buffers.keys + local * cache,
                                 .values = m->buffers.values + local * cache};
        model_attention(m, x, &at);
        model_feed_forward(m, x, &at);
    }
    m->cached_positions = position + 1;
}

const float *model_head(struct model *m, const float *x, uint32_t position)
{
    const struct model_config *c = &m->config;
    const struct layer at = {.number = NO_LAYER, .position = position};

    rmsnorm(m->buffers.norm, x, m->weights.rms_final, c->dim);
    model_record(m, OP_FINAL_NORM, &at, m->buffers.norm, c->dim);
    matvec(m->buffers.logits, m->weights.wcls, m->buffers.norm, c->vocab_size, c->dim);
    model_record(m, OP_LOGITS, &at, m->buffers.logits, c->vocab_size);
    return m->buffers.logits;
}
