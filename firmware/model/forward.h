/* forward.h: the parts of the forward pass that training uses as well. Private to firmware/model.
 * Contract: docs/arithmetic.md. */
#ifndef FORWARD_H
#define FORWARD_H

#include "model.h"

/* One layer in work: which one, and its place in the stacked tensors. */
struct layer {
    uint32_t number; /* of the whole model, for taps */
    uint32_t local;  /* among the owned ones, for tensors */
    uint32_t position;
    float *keys;   /* (positions, kv_dim) of this layer */
    float *values; /* (positions, kv_dim) of this layer */
};

/* x (dim) through the attention of a layer, in place; position's rows of keys and values are written. Records
 * ATT_NORM .. ATT_RES. Leaves q, att and mix in the buffers. */
void model_attention(struct model *m, float *x, const struct layer *at);

/* x (dim) through the feed-forward part, in place. Records FFN_NORM .. FFN_RES. Leaves up in the buffers, and
 * gate unless hidden is the same buffer. */
void model_feed_forward(struct model *m, float *x, const struct layer *at);

/* Tells who wants to know that a layer begins; number: of the whole model. */
static inline void model_enter_layer(const struct model *m, uint32_t number)
{
    if (m->enter_layer != 0)
        m->enter_layer(m->enter_layer_context, number);
}

/* Records a tap and calls the service. */
void model_record(struct model *m, uint32_t op, const struct layer *at, const float *data, uint32_t count);

#endif
