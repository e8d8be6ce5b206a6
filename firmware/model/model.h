/* model.h: one shard of a Llama-2-style transformer: forward pass, taps, sampling.
 * Arithmetic, order by order: docs/arithmetic.md. Python twin: golden/forward.py, golden/sampler.py.
 * No globals, no registers (but FPSCR in taps.c), no memory but the shard and the arena that are handed in,
 * so one program may hold any number of shards and the same source runs on the host.
 * The caller has set round-to-nearest, flush-to-zero and default-NaN before any call that computes. */
#ifndef MODEL_H
#define MODEL_H

#include <stdint.h>

#include "shard_header.h"
#include "taps.h"

enum model_error {
    MODEL_OK = 0,
    MODEL_ERROR_HEADER = -1,      /* no shard, or dimensions that cannot be */
    MODEL_ERROR_SHARD_SIZE = -2,  /* shard_bytes is not what the header needs */
    MODEL_ERROR_ARENA_SMALL = -3, /* arena_needed_bytes tells how much it takes */
    MODEL_ERROR_ARENA_ALIGN = -4, /* arena or shard is not 4-byte aligned */
    MODEL_ERROR_SETTINGS = -5,    /* settings of a training that cannot be (train.h) */
};

struct model_config {
    uint32_t dim;
    uint32_t hidden_dim;
    uint32_t n_layers; /* of the whole model */
    uint32_t n_heads;
    uint32_t n_kv_heads;
    uint32_t vocab_size;
    uint32_t seq_len;
    uint32_t shared_classifier;
    uint32_t head_size; /* dim / n_heads */
    uint32_t kv_dim;    /* head_size * n_kv_heads */
};

/* Tensors inside the shard; 0 where this rank has none. l: owned layers. */
struct model_weights {
    const float *tok_emb;             /* (vocab_size, dim) */
    const float *rms_att;             /* (l, dim) */
    const float *wq, *wk, *wv, *wo;   /* (l, dim, dim) (l, kv_dim, dim) (l, kv_dim, dim) (l, dim, dim) */
    const float *rms_ffn;             /* (l, dim) */
    const float *w1, *w2, *w3;        /* (l, hidden_dim, dim) (l, dim, hidden_dim) (l, hidden_dim, dim) */
    const float *rms_final;           /* (dim,) */
    const float *freq_cos, *freq_sin; /* (seq_len, head_size / 2) */
    const float *wcls;                /* (vocab_size, dim) */
};

/* Working memory inside the arena. */
struct model_buffers {
    float *norm;     /* (dim,) */
    float *q;        /* (dim,) */
    float *mix;      /* (dim,) */
    float *out;      /* (dim,) */
    float *gate;     /* (hidden_dim,) */
    float *up;       /* (hidden_dim,) */
    float *hidden;   /* (hidden_dim,) of SWIGLU; gate itself but in training */
    float *att;      /* (n_heads, position + 1), packed */
    float *keys;     /* (l, seq_len, kv_dim) */
    float *values;   /* (l, seq_len, kv_dim) */
    float *logits;   /* (vocab_size,) head only */
    float *probs;    /* (vocab_size,) head only */
    uint32_t *order; /* (vocab_size,) head only: candidates of top-p */
};

struct model {
    struct model_config config;
    uint32_t rank, world_size;
    uint32_t layer_start, layer_end; /* owned layers: [layer_start, layer_end) of the whole model */
    uint32_t has_embed, has_head;
    uint32_t shard_bytes;
    uint32_t arena_needed_bytes; /* set by model_init also when the arena is too small */
    uint32_t arena_bytes;        /* what was handed in */
    uint32_t cached_positions;   /* positions 0 .. cached_positions - 1 are in the KV cache */
    float score_scale;           /* 1 / sqrt(head_size) */
    struct model_weights weights;
    struct model_buffers buffers;
    struct tap_log taps;
    void (*service)(void *context); /* when set, called between ops (never inside one) */
    void *service_context;
    void (*enter_layer)(void *context, uint32_t layer); /* when set, called where a layer begins */
    void *enter_layer_context;
};

/* Total size of the shard in bytes computed from its header; 0 when there is no valid shard header or the
 * size is over limit_bytes. Reads no more than struct shard_header; shard is 4-byte aligned. */
uint32_t model_shard_bytes(const void *shard, uint32_t limit_bytes);

/* Sets up m over a shard and an arena (both 4-byte aligned, both outlive m). All fields of m are written;
 * service and enter_layer are 0 and taps are enabled. Returns MODEL_OK or a negative enum model_error. */
int model_init(struct model *m, const void *shard, uint32_t shard_bytes, void *arena, uint32_t arena_bytes,
               uint32_t tap_capacity);

/* A constant sentence for an error of model_init or model_train_init. */
const char *model_error_text(int error);

/* Forgets the KV cache and the taps; `taps.enabled` and `service` stay. */
void model_reset(struct model *m);

/* 1 when model_layers may be called for this position: below seq_len and not beyond the cached positions. */
int model_position_ok(const struct model *m, uint32_t position);

/* x (dim) = embedding of token. Needs has_embed and token < vocab_size. Records EMBED. */
void model_embed(struct model *m, uint32_t token, uint32_t position, float *x);

/* x (dim) through the owned layers, in place. Needs model_position_ok. Records ATT_NORM .. FFN_RES per layer. */
void model_layers(struct model *m, float *x, uint32_t position);

/* Logits (vocab_size) of x (dim), valid until the next call. Needs has_head. Records FINAL_NORM, LOGITS. */
const float *model_head(struct model *m, const float *x, uint32_t position);

struct sampler {
    float temperature; /* 0: argmax */
    float topp;        /* outside (0, 1): sample from all */
    uint64_t state;    /* xorshift64*, never 0 */
};

/* Seed 0 counts as 1; a temperature that is not above 0 counts as 0. */
void sampler_init(struct sampler *s, float temperature, float topp, uint64_t seed);

/* Chooses a token from logits (vocab_size). Records PROBS when temperature > 0. Needs has_head. Call it only
 * for positions whose next token is not given by the prompt: each call draws one random number. */
uint32_t sampler_next(struct sampler *s, struct model *m, const float *logits, uint32_t position);

#endif
