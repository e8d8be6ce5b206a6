/* backward.c: the backward pass of one shard: head, layers, embedding.
 * Order: docs/arithmetic.md, section 8. Python twin: golden/backward.py. */
#include "backward_ops.h"
#include "forward.h"
#include "ops.h"
#include "train.h"
#include "train_parts.h"

/* One layer's backward pass in work. */
struct work {
    struct model_train *t;
    struct train_activations act;
    struct layer at;
    float *dx; /* (count, dim) */
    uint32_t count;
};

static struct train_parameter layer_parameter(const struct work *w, uint32_t kind)
{
    return model_train_parameter(w->t, w->at.local * KINDS_PER_LAYER + kind - KIND_RMS_ATT);
}

static void record(const struct work *w, uint32_t op, uint32_t position, const float *data, uint32_t n)
{
    struct layer at = w->at;

    at.position = position;
    model_record(w->t->model, op, &at, data, n);
}

/* Gradient of a matrix (rows, columns): adds dy[t][r] * x[t][i], t ascending; dy (count, rows), x (count, columns). */
static void add_matrix_gradient(const struct work *w, uint32_t kind, const float *dy, const float *x)
{
    struct train_parameter p = layer_parameter(w, kind);
    struct model *m = w->t->model;

    for (uint32_t r = 0; r < p.rows; r++)
        sum_scaled(p.gradient + (uintptr_t)r * p.columns, p.columns, dy + r, p.rows, x, p.columns, w->count);
    if (m->service != 0)
        m->service(m->service_context);
}

/* out (columns) += matrix transposed times dy (rows). */
static void add_transposed(const struct work *w, uint32_t kind, float *out, const float *dy)
{
    struct train_parameter p = layer_parameter(w, kind);

    sum_scaled(out, p.columns, dy, 1, p.value, p.columns, p.rows);
}

/* d (dim) in place through a norm of x: its gain's gradient grows, dx (dim) gets the result added. */
static void norm_backward(const struct work *w, uint32_t kind, float *d, const float *x, float *dx)
{
    struct train_parameter p = layer_parameter(w, kind);

    rmsnorm_backward(d, x, p.value, p.gradient, p.columns);
    add_in_place(dx, d, p.columns);
}

/* Everything of one position from the layer's output to ATT_RES, and on through wo; gate and up become gradients. */
static void feed_forward_position(const struct work *w, uint32_t p)
{
    const struct model_config *c = &w->t->model->config;
    const struct train_scratch *s = &w->t->scratch;
    float *dx = w->dx + p * c->dim;
    float *gate = w->act.gate + p * c->hidden_dim;
    float *up = w->act.up + p * c->hidden_dim;
    const float *x = w->act.att_res + p * c->dim;

    zero(s->d_hidden, c->hidden_dim);
    add_transposed(w, KIND_W2, s->d_hidden, dx);
    record(w, OP_D_SWIGLU, p, s->d_hidden, c->hidden_dim);
    swiglu_backward(gate, up, s->d_hidden, c->hidden_dim);
    record(w, OP_D_GATE, p, gate, c->hidden_dim);
    record(w, OP_D_UP, p, up, c->hidden_dim);
    zero(s->d_norm, c->dim);
    add_transposed(w, KIND_W1, s->d_norm, gate);
    add_transposed(w, KIND_W3, s->d_norm, up);
    record(w, OP_D_FFN_NORM, p, s->d_norm, c->dim);
    norm_backward(w, KIND_RMS_FFN, s->d_norm, x, dx);
    record(w, OP_D_ATT_RES, p, dx, c->dim);
    float *d_mix = s->d_mix + p * c->dim;
    zero(d_mix, c->dim);
    add_transposed(w, KIND_WO, d_mix, dx);
    record(w, OP_D_ATT_MIX, p, d_mix, c->dim);
}

static void feed_forward_backward(const struct work *w)
{
    const struct model_config *c = &w->t->model->config;
    const struct train_scratch *s = &w->t->scratch;
    const float *gain = layer_parameter(w, KIND_RMS_FFN).value;

    for (uint32_t p = 0; p < w->count; p++) {
        float *hidden = s->hidden + p * c->hidden_dim;
        copy_flushed(hidden, w->act.gate + p * c->hidden_dim, c->hidden_dim);
        swiglu(hidden, w->act.up + p * c->hidden_dim, c->hidden_dim);
        rmsnorm(s->norm + p * c->dim, w->act.att_res + p * c->dim, gain, c->dim);
    }
    add_matrix_gradient(w, KIND_W2, w->dx, s->hidden);
    for (uint32_t p = 0; p < w->count; p++)
        feed_forward_position(w, p);
    add_matrix_gradient(w, KIND_W1, w->act.gate, s->norm);
    add_matrix_gradient(w, KIND_W3, w->act.up, s->norm);
    add_matrix_gradient(w, KIND_WO, w->dx, w->act.mix);
}

/* Row p of the attention: its scores' gradients, and what they give to its query and to keys and values before. */
static void attention_row(const struct work *w, uint32_t p)
{
    const struct model_config *c = &w->t->model->config;
    const struct train_scratch *s = &w->t->scratch;
    const float *probs = w->act.probs + (uintptr_t)p * (p + 1) / 2 * c->n_heads;
    const float *d_mix = s->d_mix + p * c->dim;
    const float *query = w->act.q + p * c->dim;
    float *d_query = s->d_q + p * c->dim;
    uint32_t count = p + 1;
    uint32_t size = c->head_size;
    uint32_t heads_per_kv = c->n_heads / c->n_kv_heads;

    for (uint32_t h = 0; h < c->n_heads; h++) {
        const float *value = w->act.v + h / heads_per_kv * size;
        for (uint32_t i = 0; i < count; i++, value += c->kv_dim)
            s->d_att[h * count + i] = dot8(d_mix + h * size, value, size);
    }
    record(w, OP_D_ATT_PROB, p, s->d_att, c->n_heads * count);
    for (uint32_t h = 0; h < c->n_heads; h++)
        softmax_backward(s->d_att + h * count, probs + h * count, w->t->model->score_scale, count);
    record(w, OP_D_ATT_SCORE, p, s->d_att, c->n_heads * count);
    zero(d_query, c->dim);
    for (uint32_t h = 0; h < c->n_heads; h++) {
        const float *d = s->d_att + h * count;
        uint32_t column = h / heads_per_kv * size;
        sum_scaled(d_query + h * size, size, d, 1, w->act.k + column, c->kv_dim, count);
        for (uint32_t i = 0; i < count; i++) {
            uint32_t row = i * c->kv_dim + column;
            sum_scaled(s->d_k + row, size, d + i, 1, query + h * size, size, 1);
            sum_scaled(s->d_v + row, size, probs + h * count + i, 1, d_mix + h * size, size, 1);
        }
    }
    record(w, OP_D_Q_ROPE, p, d_query, c->dim);
}

/* One position from rotated query and key back to the layer's input. */
static void attention_input(const struct work *w, uint32_t p)
{
    const struct model_config *c = &w->t->model->config;
    const struct model_weights *weights = &w->t->model->weights;
    const struct train_scratch *s = &w->t->scratch;
    const float *cos = weights->freq_cos + p * (c->head_size / 2);
    const float *sin = weights->freq_sin + p * (c->head_size / 2);
    float *d_q = s->d_q + p * c->dim;
    float *d_k = s->d_k + p * c->kv_dim;
    float *d_v = s->d_v + p * c->kv_dim;

    record(w, OP_D_K_ROPE, p, d_k, c->kv_dim);
    record(w, OP_D_V, p, d_v, c->kv_dim);
    rope_backward(d_q, cos, sin, c->n_heads, c->head_size);
    record(w, OP_D_Q, p, d_q, c->dim);
    rope_backward(d_k, cos, sin, c->n_kv_heads, c->head_size);
    record(w, OP_D_K, p, d_k, c->kv_dim);
    zero(s->d_norm, c->dim);
    add_transposed(w, KIND_WQ, s->d_norm, d_q);
    add_transposed(w, KIND_WK, s->d_norm, d_k);
    add_transposed(w, KIND_WV, s->d_norm, d_v);
    record(w, OP_D_ATT_NORM, p, s->d_norm, c->dim);
    norm_backward(w, KIND_RMS_ATT, s->d_norm, w->act.x + p * c->dim, w->dx + p * c->dim);
    record(w, OP_D_LAYER, p, w->dx + p * c->dim, c->dim);
}

static void attention_backward(const struct work *w)
{
    const struct model_config *c = &w->t->model->config;
    const struct train_scratch *s = &w->t->scratch;
    const float *gain = layer_parameter(w, KIND_RMS_ATT).value;

    zero(s->d_k, w->count * c->kv_dim);
    zero(s->d_v, w->count * c->kv_dim);
    for (uint32_t p = 0; p < w->count; p++) {
        attention_row(w, p);
        rmsnorm(s->norm + p * c->dim, w->act.x + p * c->dim, gain, c->dim);
    }
    for (uint32_t p = 0; p < w->count; p++)
        attention_input(w, p);
    add_matrix_gradient(w, KIND_WQ, s->d_q, s->norm);
    add_matrix_gradient(w, KIND_WK, s->d_k, s->norm);
    add_matrix_gradient(w, KIND_WV, s->d_v, s->norm);
}

void model_train_backward(struct model_train *t, uint32_t slot, float *dx, uint32_t count)
{
    const struct model *m = t->model;

    for (uint32_t number = m->layer_end; number > m->layer_start; number--) {
        uint32_t local = number - 1 - m->layer_start;
        model_enter_layer(m, number - 1);
        const struct work w = {.t = t,
                               .act = train_activations_of(t, slot, local),
                               .at = {.number = number - 1, .local = local},
                               .dx = dx,
                               .count = count};
        feed_forward_backward(&w);
        attention_backward(&w);
    }
}

/* One position of the head: x (dim) becomes its gradient. Returns the cross-entropy. */
static float head_position(struct model_train *t, float *x, uint32_t target, float scale, uint32_t position)
{
    struct model *m = t->model;
    const struct model_config *c = &m->config;
    const struct layer at = {.number = NO_LAYER, .position = position};
    uint32_t has_own = c->shared_classifier ? 0u : 1u;
    const struct train_parameter gain = model_train_parameter(t, t->parameter_count - 1 - has_own);
    const struct train_parameter wcls = model_train_parameter(t, t->parameter_count - (has_own ? 1u : 2u));
    float *d_logits = m->buffers.logits;
    float *d = t->scratch.d_norm;

    (void)model_head(m, x, position);
    float loss = cross_entropy(d_logits, target, scale, c->vocab_size);
    model_record(m, OP_LOSS, &at, &loss, 1);
    model_record(m, OP_D_LOGITS, &at, d_logits, c->vocab_size);
    zero(d, c->dim);
    sum_scaled(d, c->dim, d_logits, 1, wcls.value, c->dim, c->vocab_size);
    model_record(m, OP_D_FINAL_NORM, &at, d, c->dim);
    for (uint32_t v = 0; v < c->vocab_size; v++) {
        sum_scaled(wcls.gradient + (uintptr_t)v * c->dim, c->dim, d_logits + v, 1, m->buffers.norm, c->dim,
                   1);
    }
    rmsnorm_backward(d, x, gain.value, gain.gradient, c->dim);
    copy_flushed(x, d, c->dim);
    model_record(m, OP_D_HEAD, &at, x, c->dim);
    return loss;
}

float model_train_head(struct model_train *t, float *x, const uint16_t *targets, uint32_t count,
                       uint32_t microbatches)
{
    float scale = 1.0f / (float)(count * microbatches);
    float total = 0.0f;

    for (uint32_t p = 0; p < count; p++) {
        float loss = head_position(t, x + p * t->model->config.dim, targets[p], scale, p);
        total = total + loss;
    }
    return total / (float)count;
}

void model_train_embed_backward(struct model_train *t, const uint16_t *tokens, const float *dx,
                                uint32_t count)
{
    uint32_t dim = t->model->config.dim;
    const struct model *m = t->model;
    const struct train_parameter tok_emb =
        model_train_parameter(t, (m->layer_end - m->layer_start) * KINDS_PER_LAYER);

    for (uint32_t p = 0; p < count; p++)
        add_in_place(tok_emb.gradient + (uintptr_t)tokens[p] * dim, dx + p * dim, dim);
}
