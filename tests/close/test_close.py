"""Close mode: firmware of another make passes when it is right and fails when it is not, at the op that is wrong."""

from __future__ import annotations

import numpy as np
import pytest

from golden.optimizer import Sgd
from golden.taps import NO_LAYER, Op, TapKey
from golden.tensors import step_tensors
from golden.weights import Config
from hil.checks.model.close import TRUNCATING, ReportedTensors, close_generation, close_step
from hil.model.synth import random_weights

CONFIG = Config(32, 44, 2, 4, 2, 50, 16)
UNTIED = Config(32, 44, 3, 2, 2, 50, 16, shared_classifier=False)
TOKENS = [1, 7, 3, 7, 9]
SEQUENCES = [[1, 5, 9, 7], [2, 5, 5, 40]]


def other_firmware(w, tokens):
    """A plain float32 transformer: NumPy's sums, exp and order, nothing of the contract's."""
    c, report = w.config, ReportedTensors()
    keys = np.zeros((c.n_layers, len(tokens), c.n_kv_heads, c.head_size), np.float32)
    values = np.zeros_like(keys)

    def norm(x, gain):
        return x / np.sqrt(np.mean(x * x) + np.float32(1e-5)) * gain

    def turn(x, p):
        pairs = x.reshape(-1, c.head_size // 2, 2)
        cos, sin = w.freq_cos[p], w.freq_sin[p]
        a, b = pairs[..., 0], pairs[..., 1]
        return np.stack([a * cos - b * sin, a * sin + b * cos], axis=-1).reshape(-1)

    for p, token in enumerate(tokens):
        x = w.tok_emb[token].copy()
        report.add(Op.EMBED, x, position=p)
        for n in range(c.n_layers):

            def tap(op, t, n=n, p=p):
                report.add(op, t, layer=n, position=p)
                return t

            att = tap("ATT_NORM", norm(x, w.rms_att[n]))
            q, k, v = tap("Q", w.wq[n] @ att), tap("K", w.wk[n] @ att), tap("V", w.wv[n] @ att)
            q, k = tap("Q_ROPE", turn(q, p)), tap("K_ROPE", turn(k, p))
            keys[n, p], values[n, p] = k.reshape(c.n_kv_heads, -1), v.reshape(c.n_kv_heads, -1)
            group = c.n_heads // c.n_kv_heads
            kk, vv = (np.repeat(a[n, : p + 1], group, axis=1) for a in (keys, values))
            scores = np.einsum("hd,thd->ht", q.reshape(c.n_heads, -1), kk) / np.float32(np.sqrt(c.head_size))
            probs = np.exp(scores - scores.max(axis=1, keepdims=True))
            probs = tap("ATT_PROB", (probs / probs.sum(axis=1, keepdims=True)).astype(np.float32))
            mix = tap("ATT_MIX", np.einsum("ht,thd->hd", probs.reshape(c.n_heads, -1), vv).reshape(-1))
            x = tap("ATT_RES", x + tap("ATT_OUT", w.wo[n] @ mix))
            ffn = tap("FFN_NORM", norm(x, w.rms_ffn[n]))
            gate, up = tap("GATE", w.w1[n] @ ffn), tap("UP", w.w3[n] @ ffn)
            hidden = tap("SWIGLU", (gate / (1 + np.exp(-gate)) * up).astype(np.float32))
            x = tap("FFN_RES", x + tap("FFN_OUT", w.w2[n] @ hidden))
        final = norm(x, w.rms_final)
        report.add("FINAL_NORM", final, position=p)
        report.add("LOGITS", w.wcls @ final, position=p)
    return report


@pytest.fixture(scope="module")
def weights():
    return random_weights(CONFIG, seed=3)


@pytest.fixture
def report(weights):
    return other_firmware(weights, TOKENS)


def test_firmware_with_sums_of_its_own_passes(weights, report):
    result = close_generation(weights, report, TOKENS)
    assert result.good, result.describe()
    assert result.compared == len(TOKENS) * (3 + 16 * CONFIG.n_layers)
    assert max(result.worst.values()) <= 1


@pytest.mark.parametrize(
    ("op", "layer", "factor"),
    [
        ("Q", 1, 1.0001),
        ("ATT_PROB", 0, 1.0001),
        ("SWIGLU", 1, 1.00001),
        ("FFN_RES", 0, 1.00001),
        ("LOGITS", None, 1.0001),
    ],
)
def test_op_beyond_its_bound_fails_first_at_that_op(weights, report, op, layer, factor):
    key = TapKey(1, NO_LAYER if layer is None else layer, Op[op])
    report.tensors[0][key] = (report.tensors[0][key] * np.float32(factor)).astype(np.float32)
    result = close_generation(weights, report, TOKENS)
    assert not result.good
    assert result.failures[0].key == key, result.describe()
    assert "times its bound off" in str(result.failures[0])


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_value_that_is_not_finite_fails(weights, report, bad):
    report.tensors[0][TapKey(4, 1, Op.UP)][5] = bad
    result = close_generation(weights, report, TOKENS)
    assert not result.good
    assert "UP layer 1 position 4: value [5] is" in result.describe()
    assert "1 of 44 are not finite" in result.describe()


def test_missing_tensor_and_wrong_size_fail(weights, report):
    del report.tensors[0][TapKey(2, 0, Op.V)]
    report.add("K", [1.0, 2.0], layer=0, position=2)
    text = close_generation(weights, report, TOKENS).describe()
    assert "V layer 0 position 2: missing: report the tensor of every op" in text
    assert "K layer 0 position 2: 2 values, it has 16" in text


def test_nothing_reported_is_no_pass(weights):
    assert not close_generation(weights, ReportedTensors(), TOKENS).good
    assert not close_generation(weights, ReportedTensors(), []).good


def test_hardware_that_cuts_off_gets_twice_the_room_and_no_more(weights, report):
    key, taps = TapKey(0, 0, Op.ATT_RES), report.tensors[0]
    exact = taps[TapKey(0, NO_LAYER, Op.EMBED)].astype(np.float64) + taps[TapKey(0, 0, Op.ATT_OUT)]
    rounded = exact.astype(np.float32)
    cut = np.where(np.abs(rounded) > np.abs(exact), np.nextafter(rounded, np.float32(0)), rounded)
    for values, expected in (
        (rounded, [True, True]),
        (cut, [False, True]),
        (np.nextafter(cut, cut * 0), [False, False]),
    ):
        taps[key] = values
        results = [close_generation(weights, report, TOKENS, units=units) for units in (1.0, TRUNCATING)]
        assert [all(one.key != key for one in result.failures) for result in results] == expected


def test_unknown_op_is_refused():
    with pytest.raises(ValueError, match="there is no op 'SOFTMAX'; golden/taps.py lists them: EMBED, ATT_NORM"):
        ReportedTensors().add("SOFTMAX", [1.0])


def step_report(weights):
    step = step_tensors(weights, [SEQUENCES], Sgd(0.1), 0.0)
    report = ReportedTensors()
    for number, taps in enumerate(step.microbatches):
        for key, values in taps.items():
            layer = None if key.layer == NO_LAYER else key.layer
            report.add(key.op, values.copy(), layer=layer, position=key.position, microbatch=number)
    for (name, layer), values in step.gradients.items():
        report.add_gradient(name, values, layer=None if layer == NO_LAYER else layer)
    return report


@pytest.mark.parametrize("config", [CONFIG, UNTIED], ids=["tied", "untied"])
def test_step_of_training_passes(config):
    weights = random_weights(config, seed=8)
    result = close_step(weights, step_report(weights), SEQUENCES)
    assert result.good, result.describe()
    assert {op for op in Op if Op.LOSS <= op <= Op.D_LAYER} <= set(result.worst)
    assert min(worst for op, worst in result.worst.items() if op is not Op.EMBED) > 1e-3


@pytest.mark.parametrize("op", [op for op in Op if Op.LOSS <= op <= Op.D_LAYER], ids=lambda op: op.name)
def test_wrong_gradient_of_an_activation_fails_at_that_op(weights, op):
    report = step_report(weights)
    layer = NO_LAYER if op <= Op.D_HEAD else 1
    values = report.tensors[1][TapKey(2, layer, op)]
    values[np.argmax(np.abs(values))] *= np.float32(1.001)
    result = close_step(weights, report, SEQUENCES)
    assert not result.good
    assert (result.failures[0].key.op, result.failures[0].microbatch) == (op, 1), result.describe()


@pytest.mark.parametrize(
    "piece", [("wq", 0), ("w2", 1), ("rms_att", 1), ("rms_final", NO_LAYER), ("tok_emb", NO_LAYER)]
)
def test_wrong_gradient_of_a_parameter_fails(weights, piece):
    report = step_report(weights)
    flat = report.gradients[piece].reshape(-1)
    flat[np.argmax(np.abs(flat))] *= np.float32(1.001)
    (failure,) = close_step(weights, report, SEQUENCES).failures
    assert failure.key == TapKey(0, piece[1], Op[f"GRAD_{piece[0].upper()}"])
    del report.gradients[piece]
    assert not close_step(weights, report, SEQUENCES).good


PROJECT = """
import numpy as np

TOKENS = [1, 7]

def test_our_firmware(golden, reported_tensors, close_check):
    from golden.forward import Forward
    from golden.taps import NO_LAYER

    board = Forward(golden.weights)  # stands for a board of another make
    for position, token in enumerate(TOKENS):
        board.step(token, position)
    for key, values in board.take_taps():
        layer = None if key.layer == NO_LAYER else key.layer
        reported_tensors.add(key.op.name, {values}, layer=layer, position=key.position)
    close_check.generation(reported_tensors, TOKENS)
"""


@pytest.mark.parametrize(("values", "passes"), [("values", True), ("values * np.float32(1.001)", False)])
def test_project_of_another_make_uses_the_fixture(pytester: pytest.Pytester, values, passes):
    pytester.makepyfile(PROJECT.replace("{values}", values))
    result = pytester.runpytest_inprocess("-p", "no:cacheprovider")
    result.assert_outcomes(passed=int(passes), failed=int(not passes))
    if not passes:
        result.stdout.fnmatch_lines(["*tensors compared, * fail", "*EMBED position 0: value * times its bound off"])
