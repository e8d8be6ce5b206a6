/* train.c: memory of a training, and its forward pass.
 * Order: docs/arithmetic.md, section 8. Python twin: golden/backward.py. */
#include "train.h"

#include "backward_ops.h"
#include "forward.h"
#include "layout.h"
#include "ops.h"
#include "train_parts.h"

static int settings_ok(const struct train_settings *s, const struct model_config *c)
{
    return s->positions_max >= 1 && s->positions_max <= c->seq_len && s->slots >= 1 &&
           s->slots <= TRAIN_SLOTS_MAX && s->optimizer <= TRAIN_ADAMW;
}

static void layout_activations(struct train_activations *a, struct region *from, const struct model_config *c,
                               uint32_t sets, uint32_t positions)
{
    uint32_t triangle = positions * (positions + 1) / 2;

    a->x = take(from, sets, positions, c->dim);
    a->q = take(from, sets, positions, c->dim);
    a->k = take(from, sets, positions, c->kv_dim);
    a->v = take(from, sets, positions, c->kv_dim);
    a->probs = take(from, sets, triangle, c->n_heads);
    a->mix = take(from, sets, positions, c->dim);
    a->att_res = take(from, sets, positions, c->dim);
    a->gate = take(from, sets, positions, c->hidden_dim);
    a->up = take(from, sets, positions, c->hidden_dim);
}

static void layout_scratch(struct train_scratch *s, struct region *from, const struct model_config *c,
                           uint32_t positions)
{
    s->norm = take(from, positions, c->dim, 1);
    s->hidden = take(from, positions, c->hidden_dim, 1);
    s->d_hidden = take(from, c->hidden_dim, 1, 1);
    s->d_mix = take(from, positions, c->dim, 1);
    s->d_q = take(from, positions, c->dim, 1);
    s->d_k = take(from, positions, c->kv_dim, 1);
    s->d_v = take(from, positions, c->kv_dim, 1);
    s->d_att = take(from, positions, c->n_heads, 1);
    s->d_norm = take(from, c->dim, 1, 1);
}

static void layout_arena(struct model_train *t, struct region *from)
{
    const struct model *m = t->model;
    const struct train_settings *s = &t->settings;
    uint32_t layers = m->layer_end - m->layer_start;
    int adamw = s->optimizer == TRAIN_ADAMW;

    t->gradients = take(from, t->parameter_words, 1, 1);
    t->first = adamw || s->momentum != 0.0f ? take(from, t->parameter_words, 1, 1) : 0;
    t->second = adamw ? take(from, t->parameter_words, 1, 1) : 0;
    layout_activations(&t->activations, from, &m->config, s->slots * layers, s->positions_max);
    layout_scratch(&t->scratch, from, &m->config, s->positions_max);
}

/* Rows and columns of a layer's tensor. */
static void layer_shape(const struct model_config *c, uint32_t kind, struct train_parameter *p)
{
    int gain = kind == KIND_RMS_ATT || kind == KIND_RMS_FFN;
    int narrow = kind == KIND_WK || kind == KIND_WV;
    int tall = kind == KIND_W1 || kind == KIND_W3;

    p->kind = kind;
    p->rows = gain ? 1 : narrow ? c->kv_dim : tall ? c->hidden_dim : c->dim;
    p->columns = kind == KIND_W2 ? c->hidden_dim : c->dim;
}

static const float *layer_tensor(const struct model_weights *w, uint32_t kind)
{
    const float *const tensors[] = {0,     w->rms_att, w->wq, w->wk, w->wv,
                                    w->wo, w->rms_ffn, w->w1, w->w2, w->w3};
    return tensors[kind];
}

/* Shape and place of a tensor that belongs to no layer; which: 0, 1, ... among those of this rank. */
static const float *end_tensor(const struct model *m, uint32_t which, struct train_parameter *p)
{
    const struct model_weights *w = &m->weights;

    p->columns = m->config.dim;
    p->rows = m->config.vocab_size;
    p->layer = NO_LAYER;
    if (m->has_embed && which-- == 0) {
        p->kind = KIND_TOK_EMB;
        return w->tok_emb;
    }
    if (which == 0) {
        p->kind = KIND_RMS_FINAL;
        p->rows = 1;
        return w->rms_final;
    }
    p->kind = KIND_WCLS;
    return w->wcls;
}

struct train_parameter model_train_parameter(const struct model_train *t, uint32_t index)
{
    const struct model *m = t->model;
    uint32_t layers = m->layer_end - m->layer_start;
    uint32_t local = index / KINDS_PER_LAYER;
    uintptr_t offset = (uintptr_t)(local < layers ? local : layers) * t->layer_words;
    struct train_parameter p = {0};
    const float *value;

    if (local < layers) {
        for (uint32_t kind = KIND_RMS_ATT; kind < KIND_RMS_ATT + index % KINDS_PER_LAYER; kind++) {
            layer_shape(&m->config, kind, &p);
            offset += (uintptr_t)p.rows * p.columns;
        }
        layer_shape(&m->config, KIND_RMS_ATT + index % KINDS_PER_LAYER, &p);
        p.layer = m->layer_start + local;
        value = layer_tensor(&m->weights, p.kind) + (uintptr_t)local * p.rows * p.columns;
    } else {
        uint32_t which = index - layers * KINDS_PER_LAYER;
        for (uint32_t before = 0; before < which; before++) {
            (void)end_tensor(m, before, &p);
            offset += (uintptr_t)p.rows * p.columns;
        }
        value = end_tensor(m, which, &p);
    }
    p.value = (float *)(uintptr_t)value; /* the shard is writable in training */
    p.gradient = t->gradients == 0 ? 0 : t->gradients + offset;
    p.first = t->first == 0 ? 0 : t->first + offset;
    p.second = t->second == 0 ? 0 : t->second + offset;
    return p;
}

static void count_parameters(struct model_train *t)
{
    const struct model *m = t->model;
    struct train_parameter p;

    t->layer_words = 0;
    for (uint32_t kind = KIND_RMS_ATT; kind <= KIND_W3; kind++) {
        layer_shape(&m->config, kind, &p);
        t->layer_words += p.rows * p.columns;
    }
    uint32_t layers = m->layer_end - m->layer_start;
    uint32_t ends = m->has_embed + m->has_head + (m->has_head && !m->config.shared_classifier ? 1u : 0u);
    t->parameter_count = layers * KINDS_PER_LAYER + ends;
    t->parameter_words = layers * t->layer_words;
    for (uint32_t which = 0; which < ends; which++) {
        (void)end_tensor(m, which, &p);
        t->parameter_words += p.rows * p.columns;
    }
}

void model_train_look(struct model_train *t, struct model *m)
{
    *t = (struct model_train){.model = m};
    count_parameters(t);
}

int model_train_init(struct model_train *t, struct model *m, const struct train_settings *settings,
                     void *arena, uint32_t arena_bytes)
{
    *t = (struct model_train){.model = m, .settings = *settings, .arena_bytes = arena_bytes};
    t->power1 = 1.0f;
    t->power2 = 1.0f;
    if (!settings_ok(settings, &m->config))
        return MODEL_ERROR_SETTINGS;
    if ((uintptr_t)arena % sizeof(float) != 0)
        return MODEL_ERROR_ARENA_ALIGN;
    count_parameters(t);
    struct region need = {0};
    layout_arena(t, &need);
    uint64_t needed_bytes = need.words * sizeof(float);
    t->arena_needed_bytes = needed_bytes > UINT32_MAX ? UINT32_MAX : (uint32_t)needed_bytes;
    if (needed_bytes > arena_bytes)
        return MODEL_ERROR_ARENA_SMALL;
    struct region place = {.base = arena};
    layout_arena(t, &place);
    zero(t->gradients, t->parameter_words);
    zero(t->first, t->first == 0 ? 0 : t->parameter_words);
    zero(t->second, t->second == 0 ? 0 : t->parameter_words);
    return MODEL_OK;
}

struct train_activations train_activations_of(const struct model_train *t, uint32_t slot, uint32_t local)
{
    const struct model *m = t->model;
    const struct model_config *c = &m->config;
    const struct train_activations *all = &t->activations;
    uintptr_t positions = t->settings.positions_max;
    uintptr_t set = (uintptr_t)slot * (m->layer_end - m->layer_start) + local;
    uintptr_t triangle = positions * (positions + 1) / 2;

    return (struct train_activations){
        .x = all->x + set * positions * c->dim,
        .q = all->q + set * positions * c->dim,
        .k = all->k + set * positions * c->kv_dim,
        .v = all->v + set * positions * c->kv_dim,
        .probs = all->probs + set * triangle * c->n_heads,
        .mix = all->mix + set * positions * c->dim,
        .att_res = all->att_res + set * positions * c->dim,
        .gate = all->gate + set * positions * c->hidden_dim,
        .up = all->up + set * positions * c->hidden_dim,
    };
}

void model_train_begin(struct model_train *t) { zero(t->gradients, t->parameter_words); }

void model_train_embed(struct model_train *t, const uint16_t *tokens, float *x, uint32_t count)
{
    for (uint32_t p = 0; p < count; p++)
        model_embed(t->model, tokens[p], p, x + p * t->model->config.dim);
}

/* One layer over all positions, with the model's buffers pointing into the activations. */
static void forward_layer(struct model_train *t, const struct train_activations *act, struct layer *at,
                          float *x, uint32_t count)
{
    struct model *m = t->model;
    const struct model_config *c = &m->config;
    struct model_buffers *b = &m->buffers;

    for (uint32_t p = 0; p < count; p++, x += c->dim) {
        at->position = p;
        b->q = act->q + p * c->dim;
        b->mix = act->mix + p * c->dim;
        b->att = act->probs + (uintptr_t)p * (p + 1) / 2 * c->n_heads;
        b->gate = act->gate + p * c->hidden_dim;
        b->up = act->up + p * c->hidden_dim;
        copy_flushed(act->x + p * c->dim, x, c->dim);
        model_attention(m, x, at);
        copy_flushed(act->att_res + p * c->dim, x, c->dim);
        model_feed_forward(m, x, at);
    }
}

void model_train_forward(struct model_train *t, uint32_t slot, float *x, uint32_t count)
{
    struct model *m = t->model;
    const struct model_buffers own = m->buffers;

    m->buffers.hidden = t->scratch.d_hidden;
    for (uint32_t number = m->layer_start; number < m->layer_end; number++) {
        uint32_t local = number - m->layer_start;
        model_enter_layer(m, number);
        const struct train_activations act = train_activations_of(t, slot, local);
        struct layer at = {.number = number, .local = local, .keys = act.k, .values = act.v};
        forward_layer(t, &act, &at, x, count);
    }
    m->buffers = own;
}
