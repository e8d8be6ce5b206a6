/* train.h: training of one shard: forward with kept activations, backward, optimiser.
 * Arithmetic and order: docs/arithmetic.md, sections 8 to 10. Python twins: golden/backward.py,
 * golden/optimizer.py, golden/train.py. Like model.h: no globals, no registers, no memory but what is handed in.
 * Parameters are changed where they stand: the shard must be writable memory.
 *
 * One step, for every microbatch i in turn (slot i % slots; the last forward of a slot is the one that backward
 * works on):
 *     embedding rank: model_train_embed      layers: model_train_forward       head rank: model_train_head
 *     layers in reverse: model_train_backward
 * then, after the head and the layers are through with all microbatches, and again for every microbatch in turn:
 *     embedding rank: model_train_embed_backward
 * then, rank by rank in ascending order: model_train_squares, each from the total of the rank before;
 * then on every rank: model_train_norm with the last total, and model_train_apply.
 * Every rank must see the microbatches in ascending order, forward and backward. The order of ranks' work is free. */
#ifndef TRAIN_H
#define TRAIN_H

#include "model.h"

enum {
    TRAIN_SLOTS_MAX = 64, /* microbatches between their forward and their backward pass */
};

struct train_settings {
    uint32_t positions_max; /* of one microbatch: 1 .. seq_len */
    uint32_t slots;         /* 1 .. TRAIN_SLOTS_MAX */
    uint32_t optimizer;     /* enum train_code */
    float learning_rate;
    float momentum;     /* SGD; 0 needs no state */
    float beta1, beta2; /* AdamW */
    float epsilon;      /* AdamW */
    float weight_decay; /* of matrices, not of the norms' gains */
    float clip;         /* largest norm of all gradients; 0: none */
};

/* One tensor of parameters (of one layer). */
struct train_parameter {
    float *value;    /* (rows, columns) in the shard */
    float *gradient; /* the same shape, as are the states */
    float *first;    /* momentum, or AdamW's first moment; 0 without */
    float *second;   /* AdamW's second moment; 0 without */
    uint32_t rows, columns;
    uint32_t kind;  /* OP_GRAD_TOK_EMB + kind and OP_PARAM_TOK_EMB + kind are its taps */
    uint32_t layer; /* of the whole model, NO_LAYER where there is none */
};

/* Kept from forward to backward; one per slot and owned layer, position p in row p. */
struct train_activations {
    float *x;       /* (positions_max, dim) */
    float *q;       /* (positions_max, dim) rotated */
    float *k;       /* (positions_max, kv_dim) rotated */
    float *v;       /* (positions_max, kv_dim) */
    float *probs;   /* (n_heads, p + 1) for each position p, packed */
    float *mix;     /* (positions_max, dim) */
    float *att_res; /* (positions_max, dim) */
    float *gate;    /* (positions_max, hidden_dim) */
    float *up;      /* (positions_max, hidden_dim) */
};

/* Working memory of the backward pass. */
struct train_scratch {
    float *norm;     /* (positions_max, dim) */
    float *hidden;   /* (positions_max, hidden_dim) */
    float *d_hidden; /* (hidden_dim,) */
    float *d_mix;    /* (positions_max, dim) */
    float *d_q;      /* (positions_max, dim) */
    float *d_k;      /* (positions_max, kv_dim) */
    float *d_v;      /* (positions_max, kv_dim) */
    float *d_att;    /* (n_heads, positions_max) */
    float *d_norm;   /* (dim,) */
};

struct model_train {
    struct model *model;
    struct train_settings settings;
    uint32_t arena_needed_bytes; /* set by model_train_init also when the arena is too small */
    uint32_t arena_bytes;        /* what was handed in */
    uint32_t parameter_count;    /* tensors */
    uint32_t parameter_words;    /* elements of all of them */
    uint32_t layer_words;        /* elements of one layer */
    float *gradients;            /* (parameter_words,) in the order of model_train_parameter */
    float *first, *second;       /* (parameter_words,) or 0 */
    struct train_activations activations;
    struct train_scratch scratch;
    float power1, power2; /* beta1, beta2 to the number of steps done */
    float norm, factor;   /* of the last step: norm of all gradients, factor by clipping */
};

/* Sets up t over a model that model_init has set up, and an arena of its own (4-byte aligned; all outlive t).
 * Gradients and states are zero. Returns MODEL_OK, MODEL_ERROR_SETTINGS, MODEL_ERROR_ARENA_ALIGN or
 * MODEL_ERROR_ARENA_SMALL; arena_needed_bytes then tells how much it takes. */
int model_train_init(struct model_train *t, struct model *m, const struct train_settings *settings,
                     void *arena, uint32_t arena_bytes);

/* The tensor `index` of parameter_count, in the contract's order: per owned layer rms_att wq wk wv wo rms_ffn w1 w2
 * w3, then tok_emb, rms_final, wcls where this rank has them (wcls only if it is not tok_emb). */
struct train_parameter model_train_parameter(const struct model_train *t, uint32_t index);

/* Zeroes the gradients; before the first microbatch of every step. */
void model_train_begin(struct model_train *t);

/* x (count, dim) = embeddings of tokens (count). Needs has_embed. Records EMBED. */
void model_train_embed(struct model_train *t, const uint16_t *tokens, float *x, uint32_t count);

/* x (count, dim) through the owned layers, in place; activations are kept in slot. The KV cache is not touched.
 * Records ATT_NORM .. FFN_RES, layer by layer and within a layer position by position. */
void model_train_forward(struct model_train *t, uint32_t slot, float *x, uint32_t count);

/* x (count, dim) in place: from the last layer's output to its gradient; adds to the gradients of wcls and
 * rms_final. targets (count): the token that should follow each position. microbatches: of this step. Needs
 * has_head. Records FINAL_NORM .. LOGITS, LOSS .. D_HEAD. Returns the mean cross-entropy of this microbatch. */
float model_train_head(struct model_train *t, float *x, const uint16_t *targets, uint32_t count,
                       uint32_t microbatches);

/* dx (count, dim) in place: from the gradient of the last owned layer's output to that of the first one's input;
 * adds to the layers' gradients. Spends the activations of slot. Records D_SWIGLU .. D_LAYER, the last layer
 * first. */
void model_train_backward(struct model_train *t, uint32_t slot, float *dx, uint32_t count);

/* Adds dx (count, dim) to the gradients of the tokens' embeddings. Needs has_embed. Call it in the order above: a
 * tied matrix gets the head's share of all microbatches first. */
void model_train_embed_backward(struct model_train *t, const uint16_t *tokens, const float *dx,
                                uint32_t count);

/* total plus the squares of all gradients of this rank; begin with +0 on rank 0. */
float model_train_squares(const struct model_train *t, float total);

/* Sets norm, sqrt(total) of all ranks' gradients, and the factor by clipping.
 * Records GRAD_ of every tensor, GRAD_NORM. */
void model_train_norm(struct model_train *t, float total);

/* Changes the parameters. Records PARAM_ of every tensor after the step. */
void model_train_apply(struct model_train *t);

/* What model_train_apply did last, to one tensor anywhere in memory. */
void model_train_update(const struct model_train *t, const struct train_parameter *p);

/* Sets up t to look at the tensors of a model in which nothing is trained: model_train_parameter then gives values
 * without gradients and states. */
void model_train_look(struct model_train *t, struct model *m);

#endif
