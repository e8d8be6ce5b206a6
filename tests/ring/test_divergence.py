"""A firmware with one deliberate error is caught, and the error is named: op, layer, rank."""

import pytest

from golden.generate import GenerationRequest
from hil.checks.model.taps import compare_taps, golden_run
from tests.broken import broken_image

ERRORS = {
    "swiglu forgets its last element in layer 2": (
        "swiglu(b->hidden, b->up, c->hidden_dim);",
        "swiglu(b->hidden, b->up, c->hidden_dim - (at->number == 2));",
        "SWIGLU of layer 2 on rank 1, position 0",
    ),
    "layer 4 reads the norm weights of its neighbour": (
        "rmsnorm(b->norm, x, w->rms_ffn + at->local * c->dim, c->dim);",
        "rmsnorm(b->norm, x, w->rms_ffn + (at->number == 4 ? 1 : at->local * c->dim), c->dim);",
        "FFN_NORM of layer 4 on rank 2, position 0",
    ),
    "heads share the wrong keys from position 1 on": (
        "const float *key = keys + h / heads_per_kv * c->head_size;",
        "const float *key = keys + (h + at->position) / heads_per_kv % c->n_kv_heads * c->head_size;",
        "ATT_PROB of layer 0 on rank 0, position 1",
    ),
    "the head skips its norm weights": (
        "rmsnorm(m->buffers.norm, x, m->weights.rms_final, c->dim);",
        "rmsnorm(m->buffers.norm, x, x, c->dim);",
        "FINAL_NORM on rank 3, position 0",
    ),
}


@pytest.mark.parametrize("error", ERRORS)
def test_one_wrong_op_is_named(open_ring, tmp_path, error):
    right, wrong, named = ERRORS[error]
    session, ring = open_ring(image=broken_image(tmp_path, "model/forward.c", right, wrong))
    tokens = session.model.encode_prompt("Once", 4)
    ring.generate(tokens, 4)
    golden = golden_run(session.model.weights, GenerationRequest(tokens, 4), ring.world_size)
    comparison = compare_taps(ring, golden.by_rank)
    assert not comparison.good
    assert comparison.first.kind == "op"
    assert comparison.first.describe().startswith(f"first difference: {named}")
