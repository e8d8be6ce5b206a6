/* train_parts.h: what the files of training share. Private to firmware/model. */
#ifndef TRAIN_PARTS_H
#define TRAIN_PARTS_H

#include "train.h"

/* Tensors by number, in the order of a checkpoint: a tap's op is OP_GRAD_TOK_EMB or OP_PARAM_TOK_EMB plus this. */
enum train_kind {
    KIND_TOK_EMB,
    KIND_RMS_ATT,
    KIND_WQ,
    KIND_WK,
    KIND_WV,
    KIND_WO,
    KIND_RMS_FFN,
    KIND_W1,
    KIND_W2,
    KIND_W3,
    KIND_RMS_FINAL,
    KIND_WCLS,
    KINDS_PER_LAYER = KIND_W3 - KIND_RMS_ATT + 1
};
_Static_assert(OP_GRAD_WCLS == OP_GRAD_TOK_EMB + KIND_WCLS, "gradient taps follow the order of kinds");
_Static_assert(OP_PARAM_WCLS == OP_PARAM_TOK_EMB + KIND_WCLS, "parameter taps follow the order of kinds");

/* Activations of one slot and owned layer. */
struct train_activations train_activations_of(const struct model_train *t, uint32_t slot, uint32_t local);

static inline void zero(float *x, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        x[i] = 0.0f;
}

#endif
