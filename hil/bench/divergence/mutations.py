"""Mutations: wrong lines of C, all in one image, each asleep until a word in memory names it.

So a few hundred faults cost one build. With no fault named the image computes what the right one does, which is
checked first. A line is found by its text, which must stand exactly once, so a change of the firmware that moves it
is noticed.
Owns: MUTATIONS, the word `fault_plan` in the image.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from elftools.elf.elffile import ELFFile

from hil.errors import HilError
from hil.toolchain import Image, build_image, default_out, firmware_folder

PLAN_WORDS = 8
SYMBOL = "fault_plan"
_DECLARATION = f"""extern volatile uint32_t {SYMBOL}[{PLAN_WORDS}];
#define FAULT(n) ({SYMBOL}[0] == (n))
#define FAULT_AT(n, place) ((uint32_t)({SYMBOL}[0] == (n) && {SYMBOL}[1] == (uint32_t)(place)))
"""


class MutationError(HilError):
    """A line that was to be changed is not in the firmware."""


@dataclass(frozen=True, slots=True)
class Mutation:
    """One wrong line. In `wrong`, FAULT is whether it is awake; HERE the same for one layer or rank."""

    name: str
    file: str
    right: str
    wrong: str


_F, _B, _O = "model/forward.c", "model/backward.c", "model/ops.c"
_BO, _P, _T, _S, _L = "model/backward_ops.c", "model/optimizer.c", "model/train.c", "model/sampler.c", "link/link.c"


def _skip(name: str, file: str, statement: str, place: str) -> Mutation:
    return Mutation(name, file, statement, f"if (!HERE({place})) {statement}")


MUTATIONS: tuple[Mutation, ...] = (
    # skipped ops; whole statements come first, so that parts of them can be changed below
    _skip("skip Q_ROPE", _F, "rope(b->q, cos, sin, c->n_heads, c->head_size);", "at->number"),
    _skip("skip K_ROPE", _F, "rope(key, cos, sin, c->n_kv_heads, c->head_size);", "at->number"),
    _skip("skip SWIGLU", _F, "swiglu(b->hidden, b->up, c->hidden_dim);", "at->number"),
    _skip("skip UP", _F, "matvec(b->up, w->w3 + matrix, b->norm, c->hidden_dim, c->dim);", "at->number"),
    Mutation("skip ATT_RES", _F, "add_in_place(x, b->out, c->dim);\n    model_record(m, OP_ATT_RES",
             "if (!HERE(at->number)) add_in_place(x, b->out, c->dim);\n    model_record(m, OP_ATT_RES"),
    _skip("no ATT_MIX", _F, "model_record(m, OP_ATT_MIX, at, m->buffers.mix, c->dim);", "at->number"),
    _skip("skip D_Q", _B, "rope_backward(d_q, cos, sin, c->n_heads, c->head_size);", "w->at.number"),
    _skip("skip D_K", _B, "rope_backward(d_k, cos, sin, c->n_kv_heads, c->head_size);", "w->at.number"),
    _skip("skip D_FFN_NORM", _B, "add_transposed(w, KIND_W3, s->d_norm, up);", "w->at.number"),
    _skip("skip GRAD_W2", _B, "add_matrix_gradient(w, KIND_W2, w->dx, s->hidden);", "w->at.number"),
    _skip("skip GRAD_WQ", _B, "add_matrix_gradient(w, KIND_WQ, s->d_q, s->norm);", "w->at.number"),
    _skip("skip update", _P, "model_train_update(t, &p);", "t->model->rank"),
    # order of layers
    Mutation("swap layers", _F, "        model_enter_layer(m, number);\n",
             "        model_enter_layer(m, number);\n        if (HERE(m->rank)) local = m->layer_end - 1 - number;\n"),
    Mutation("skip layer", _F, "        model_enter_layer(m, number);\n",
             "        if (HERE(number)) continue;\n        model_enter_layer(m, number);\n"),
    Mutation("reverse layers", _F,
             "for (uint32_t number = m->layer_start; number < m->layer_end; number++) {\n"
             "        uint32_t local = number - m->layer_start;",
             "for (uint32_t turn = m->layer_start; turn < m->layer_end; turn++) {\n"
             "        uint32_t number = HERE(m->rank) ? m->layer_end - 1 - (turn - m->layer_start) : turn;\n"
             "        uint32_t local = number - m->layer_start;"),
    Mutation("train swap layers", _T,
             "        uint32_t local = number - m->layer_start;\n",
             "        uint32_t local = number - m->layer_start;\n"
             "        if (HERE(m->rank)) local = m->layer_end - 1 - number;\n"),
    Mutation("train skip layer", _T,
             "        uint32_t local = number - m->layer_start;\n",
             "        uint32_t local = number - m->layer_start;\n        if (HERE(number)) continue;\n"),
    Mutation("backward swap layers", _B,
             "        uint32_t local = number - 1 - m->layer_start;\n",
             "        uint32_t local = number - 1 - m->layer_start;\n"
             "        if (HERE(m->rank)) local = m->layer_end - number;\n"),
    Mutation("backward skip layer", _B,
             "        uint32_t local = number - 1 - m->layer_start;\n",
             "        uint32_t local = number - 1 - m->layer_start;\n        if (HERE(number - 1)) continue;\n"),
    # positions in the cache
    Mutation("key one on", _F, "at->keys + at->position * c->kv_dim,",
             "at->keys + (at->position + HERE(at->number)) * c->kv_dim,"),
    Mutation("key one back", _F, "at->keys + (at->position +",
             f"at->keys + (at->position - (HERE(at->number) && at->position == {SYMBOL}[2]) +"),
    Mutation("value one on", _F, "at->values + at->position * c->kv_dim);",
             "at->values + (at->position + HERE(at->number)) * c->kv_dim);"),
    Mutation("read keys one on", _F, "attention_probabilities(m, at, at->keys);",
             "attention_probabilities(m, at, at->keys + HERE(at->number) * m->config.kv_dim);"),
    Mutation("read values one on", _F, "attention_mix(m, at, at->values);",
             "attention_mix(m, at, at->values + HERE(at->number) * m->config.kv_dim);"),
    # constants
    Mutation("length of ATT_NORM", _F, "w->rms_att + at->local * c->dim, c->dim);",
             "w->rms_att + at->local * c->dim, c->dim - HERE(at->number));"),
    Mutation("length of FFN_NORM", _F, "w->rms_ffn + at->local * c->dim, c->dim);",
             "w->rms_ffn + at->local * c->dim, c->dim - HERE(at->number));"),
    Mutation("scale of ATT_PROB", _F, "dot8(query, key, c->head_size) * m->score_scale;",
             "dot8(query, key, c->head_size) * (HERE(at->number) ? 0.5f : m->score_scale);"),
    Mutation("offset of Q", _F, "w->wq + at->local * c->dim * c->dim, b->norm",
             "w->wq + at->local * c->dim * c->dim + HERE(at->number), b->norm"),
    Mutation("offset of GATE", _F, "w->w1 + matrix, b->norm", "w->w1 + matrix + HERE(at->number), b->norm"),
    Mutation("offset of FFN_OUT", _F, "w->w2 + matrix, b->hidden", "w->w2 + matrix + HERE(at->number), b->hidden"),
    Mutation("offset of LOGITS", _F, "m->weights.wcls, m->buffers.norm",
             "m->weights.wcls + FAULT, m->buffers.norm"),
    Mutation("epsilon of norm", _O, "sqrt_ieee(mean + NORM_EPSILON)",
             "sqrt_ieee(mean + (FAULT ? 2e-5f : NORM_EPSILON))"),
    Mutation("C2 of exp", _O, "* r + EXP_C2;", "* r + (FAULT ? 0x1.fdfffcp-2f : EXP_C2);"),
    Mutation("ln2 of exp", _O, "- whole * LN2_LOW;", "- whole * (FAULT ? 0.0f : LN2_LOW);"),
    Mutation("one of sigmoid", _O, "1.0f / (1.0f + exp_f32(-x));", "(FAULT ? 1.0001f : 1.0f) / (1.0f + exp_f32(-x));"),
    Mutation("temperature of PROBS", _S, "logits[i] / s->temperature;",
             "logits[i] / (FAULT ? s->temperature * 1.01f : s->temperature);"),
    Mutation("scale of D_ATT_SCORE", _B, "w->t->model->score_scale, count);",
             "HERE(w->at.number) ? 0.5f : w->t->model->score_scale, count);"),
    Mutation("length of D_GATE", _B, "swiglu_backward(gate, up, s->d_hidden, c->hidden_dim);",
             "swiglu_backward(gate, up, s->d_hidden, c->hidden_dim - HERE(w->at.number));"),
    Mutation("scale of D_LOGITS", _BO, "prob - 1.0f : prob) * scale;",
             "prob - 1.0f : prob) * (FAULT ? scale * 1.001f : scale);"),
    Mutation("C3 of log", _BO, "+ LOG_C3) * z;", "+ (FAULT ? 0x1.5p-1f : LOG_C3)) * z;"),
    Mutation("length of D_HEAD", _BO, "dot8(d, x, n) / (float)n;", "dot8(d, x, n) / (float)(n + FAULT);"),
    Mutation("bias of AdamW", _P, "s->learning_rate / (1.0f - t->power1);",
             "s->learning_rate / ((HERE(t->model->rank) ? 0.5f : 1.0f) - t->power1);"),
    Mutation("factor of clipping", _P, "? s->clip / t->norm : 1.0f;",
             "? s->clip / t->norm * (HERE(t->model->rank) ? 0.5f : 1.0f) : 1.0f;"),
    Mutation("decay of weights", _P, "1.0f - s->learning_rate * s->weight_decay;",
             "1.0f - s->learning_rate * s->weight_decay * (HERE(t->model->rank) ? 2.0f : 1.0f);"),
    # a gradient that is not set to zero; hops
    Mutation("stale gradient", _T, "void model_train_begin(struct model_train *t) "
             "{ zero(t->gradients, t->parameter_words); }",
             "void model_train_begin(struct model_train *t)\n{\n"
             "    for (uint32_t i = 0; i < t->parameter_count; i++) {\n"
             "        struct train_parameter p = model_train_parameter(t, i);\n"
             f"        if (!(HERE(t->model->rank) && {SYMBOL}[2] == i)) zero(p.gradient, p.rows * p.columns);\n"
             "    }\n}"),
    Mutation("hop", _L, "    link->payload = payload;\n    link->open_limit_us",
             f"    if (HERE(link->rank) && {SYMBOL}[2] == type && length > 8 &&\n"
             f"        *(const uint32_t *)payload == {SYMBOL}[3])\n"
             f"        ((uint32_t *)(uintptr_t)payload)[2 + {SYMBOL}[4]] ^= {SYMBOL}[5];\n"
             "    link->payload = payload;\n    link->open_limit_us"),
)  # fmt: skip
NUMBERS = {mutation.name: number + 1 for number, mutation in enumerate(MUTATIONS)}


def mutated_image(folder: Path) -> Image:
    """Build the image with every mutation asleep; sources are written into folder.

    Raises: MutationError if a line is not there exactly once, BuildError.
    """
    source = folder / "firmware"
    shutil.rmtree(source, ignore_errors=True)
    shutil.copytree(firmware_folder(), source)
    for mutation in MUTATIONS:
        _apply(source / mutation.file, mutation)
    for file in sorted({mutation.file for mutation in MUTATIONS}):
        path = source / file
        path.write_text("#include <stdint.h>\n" + _DECLARATION + path.read_text())
    taps = source / "model" / "taps.c"
    taps.write_text(
        taps.read_text() + f"\nextern volatile uint32_t {SYMBOL}[];\nvolatile uint32_t {SYMBOL}[{PLAN_WORDS}];\n"
    )
    return build_image("ring", source=source, objects=default_out() / "objects")


def _apply(path: Path, mutation: Mutation) -> None:
    text = path.read_text()
    count = text.count(mutation.right)
    if count != 1:
        raise MutationError(
            f"mutation {mutation.name!r}: its line stands {count} times in {mutation.file}, not once; "
            "bring hil/bench/divergence/mutations.py up to date"
        )
    number = NUMBERS[mutation.name]
    wrong = mutation.wrong.replace("HERE(", f"FAULT_AT({number}, ")
    wrong = (
        wrong.replace("FAULT ", f"FAULT({number}) ")
        .replace("FAULT,", f"FAULT({number}),")
        .replace("FAULT)", f"FAULT({number}))")
    )
    path.write_text(text.replace(mutation.right, wrong))


def plan_address(image: Image) -> int:
    """Where the word that names the fault stands."""
    with image.elf.open("rb") as stream:
        symbols = ELFFile(stream).get_section_by_name(".symtab").get_symbol_by_name(SYMBOL)
        return int(symbols[0]["st_value"])
