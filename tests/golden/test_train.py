"""Optimisers, clipping and training runs of the golden."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from golden import backward as backward_module
from golden import train as train_module
from golden.backward import Backward, Piece, parameters, pieces
from golden.make_digests import TINY, read_tiny
from golden.optimizer import AdamW, Optimizer, Settings, Sgd, clip_factor, gradient_norm
from golden.taps import NO_LAYER, Op, digest
from golden.train import accumulate, train
from golden.weights import Config, Weights
from hil.model.synth import random_weights
from hil.model.tokenizer import Tokenizer

SEED = 4
CONFIG = Config(32, 44, 2, 4, 2, 40, 24)
STEPS = 6
FIXTURES = Path(__file__).resolve().parents[2] / "fixtures"


def batch_of(microbatches: int, positions: int) -> list[list[int]]:
    shape = (microbatches, positions + 1)
    return np.random.default_rng(SEED).integers(0, CONFIG.vocab_size, shape).tolist()


def by_formula(settings: Settings, value: np.ndarray, gradients: list[np.ndarray], decays: bool) -> np.ndarray:
    """The optimiser's definition in float64 with beta to the power of the step's number."""
    first = second = np.zeros_like(value)
    for number, g in enumerate(gradients, 1):
        kept = value * (1 - settings.learning_rate * settings.weight_decay) if decays else value
        if isinstance(settings, AdamW):
            first = settings.beta1 * first + (1 - settings.beta1) * g
            second = settings.beta2 * second + (1 - settings.beta2) * g * g
            m, v = first / (1 - settings.beta1**number), second / (1 - settings.beta2**number)
            value = kept - settings.learning_rate * m / (np.sqrt(v) + settings.epsilon)
        else:
            first = settings.momentum * first + g
            value = kept - settings.learning_rate * first
    return value


def worst_change(settings: Settings, *, corrected: bool = True) -> float:
    """Largest error of a parameter after STEPS steps, in shares of the learning rate; perhaps without correction."""
    rng = np.random.default_rng(SEED)
    names: list[Piece] = [("wq", 0), ("rms_att", 0)]
    start = {piece: rng.normal(size=(16, 8) if piece[0] == "wq" else 8).astype(np.float32) for piece in names}
    values = {piece: value.copy() for piece, value in start.items()}
    steps = [{p: rng.normal(size=v.shape).astype(np.float32) for p, v in start.items()} for _ in range(STEPS)]
    optimizer = Optimizer(settings, values)
    if not corrected:
        optimizer._power1 = optimizer._power2 = np.float32(0)
    for gradients in steps:
        optimizer.step(gradients, np.float32(1))
    errors = []
    for piece, value in start.items():
        wide = [gradients[piece].astype(np.float64) for gradients in steps]
        expected = by_formula(settings, value.astype(np.float64), wide, piece[0] == "wq")
        errors.append(np.abs(values[piece] - expected).max())
    return float(max(errors)) / settings.learning_rate


OPTIMIZERS: list[Settings] = [
    AdamW(1e-2, weight_decay=0.3),
    AdamW(1e-2, beta1=0.8, beta2=0.95, epsilon=1e-3),
    Sgd(1e-2, weight_decay=0.3),
    Sgd(1e-2, momentum=0.9, weight_decay=0.1),
]


@pytest.mark.parametrize("settings", OPTIMIZERS, ids=str)
def test_optimizer_follows_its_formula(settings: Settings) -> None:
    # 1 - beta2 of float32 is off by up to 2^-25 / 0.001 = 3e-5; each of 6 steps moves a parameter by about one rate.
    assert worst_change(settings) < 1e-3


def test_optimizer_without_bias_correction_is_noticed() -> None:
    assert worst_change(AdamW(1e-2), corrected=False) > 1e-1


def test_decay_of_gains_would_be_noticed() -> None:
    rng = np.random.default_rng(SEED)
    value = rng.normal(size=8)
    gradients = [rng.normal(size=8) for _ in range(STEPS)]
    with_decay, without = (by_formula(OPTIMIZERS[0], value, gradients, decays) for decays in (True, False))
    assert np.abs(with_decay - without).max() / OPTIMIZERS[0].learning_rate > 1e-1


def test_norm_is_that_of_all_gradients() -> None:
    rng = np.random.default_rng(SEED)
    tensors = [rng.normal(size=shape).astype(np.float32) for shape in ((30, 17), (9,), (5, 64))]
    exact = np.sqrt(sum(float((t.astype(np.float64) ** 2).sum()) for t in tensors))
    assert float(gradient_norm(tensors)) == pytest.approx(exact, rel=1e-6)
    assert float(gradient_norm(tensors[:2])) != pytest.approx(exact, rel=1e-6)


@pytest.mark.parametrize(("norm", "limit", "factor"), [(2.0, 1.0, 0.5), (1.0, 1.0, 1.0), (5.0, 0.0, 1.0)])
def test_clipping_scales_only_what_is_over_the_limit(norm: float, limit: float, factor: float) -> None:
    assert clip_factor(np.float32(norm), limit) == np.float32(factor)


def test_clipping_leaves_a_nan_alone() -> None:
    assert clip_factor(np.float32(np.nan), 1.0) == 1


def test_microbatches_give_the_gradient_of_one_batch() -> None:
    weights = random_weights(CONFIG, seed=SEED)
    batch = batch_of(3, 8)
    together = Backward(weights, record=False)
    accumulate(together, batch, digest)
    alone = []
    for tokens in batch:
        alone.append(Backward(weights, record=False))
        accumulate(alone[-1], [tokens], digest)
    for piece, gradient in together.gradients.items():
        mean = np.mean([one.gradients[piece].astype(np.float64) for one in alone], axis=0)
        assert np.linalg.norm(gradient - mean) < 1e-5 * np.linalg.norm(mean), piece


def test_tied_gradient_has_both_shares() -> None:
    weights = random_weights(CONFIG, seed=SEED)
    tokens = batch_of(1, 8)[0]
    work = Backward(weights, record=False)
    work.head(work.embed(tokens[:-1]), tokens[1:], np.float32(1))
    head_share = work.gradients["tok_emb", NO_LAYER].copy()
    dx = np.ones((8, CONFIG.dim), np.float32)
    work.embed_backward(tokens[:-1], dx)
    rows = np.abs(work.gradients["tok_emb", NO_LAYER] - head_share).sum(axis=1)
    assert head_share.any()
    assert set(np.flatnonzero(rows)) == set(tokens[:-1])


def test_step_records_every_gradient_and_parameter() -> None:
    weights = random_weights(CONFIG, seed=SEED)
    step = train(weights, [batch_of(1, 4)], Sgd(1e-2)).steps[0]
    ops = [key.op for key, _ in step.parameter_taps]
    count = len(pieces(CONFIG))
    assert len(ops) == 2 * count + 1
    assert ops[count] is Op.GRAD_NORM
    assert len({key for key, _ in step.parameter_taps}) == 2 * count + 1


def test_training_lowers_the_loss_and_leaves_the_input_alone() -> None:
    weights = random_weights(CONFIG, seed=SEED)
    before = parameters(weights)
    result = train(weights, [batch_of(2, 10)] * 15, AdamW(1e-2), 1.0, record=False)
    assert result.steps[-1].loss < 0.5 * result.steps[0].loss
    assert all(np.array_equal(before[p], value) for p, value in parameters(weights).items())
    assert result.weights.wcls is result.weights.tok_emb
    again = train(weights, [batch_of(2, 10)] * 15, AdamW(1e-2), 1.0, record=False)
    assert [s.loss for s in again.steps] == [s.loss for s in result.steps]


def test_stale_gradients_would_be_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    weights = random_weights(CONFIG, seed=SEED)
    batches = [batch_of(1, 6)] * 2
    right = train(weights, batches, Sgd(1e-2))
    first: list[Backward] = []

    def stale(*arguments: object, **how: bool) -> Backward:
        work = backward_module.Backward(*arguments, **how)  # type: ignore[arg-type]
        if first:
            work.gradients = first[0].gradients
        first.append(work)
        return work

    monkeypatch.setattr(train_module, "Backward", stale)
    wrong = train(weights, batches, Sgd(1e-2))
    assert wrong.steps[0] == right.steps[0]
    assert wrong.steps[1].parameter_taps != right.steps[1].parameter_taps


@pytest.mark.parametrize(
    ("batch", "sentence"),
    [
        ([], "step 0: microbatches of \\[\\] tokens; give one or more, all of one length"),
        ([[1, 2], [1, 2, 3]], "step 0: microbatches of \\[2, 3\\] tokens"),
        ([[1]], "step 0: a microbatch has 1 tokens; this model takes 2 to 25"),
        ([[1] * 26], "step 0: a microbatch has 26 tokens"),
        ([[1, 40]], "step 0: token 40 is outside the vocabulary of 40"),
    ],
)
def test_unusable_batch_is_refused(batch: list[list[int]], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        train(random_weights(CONFIG, seed=SEED), [batch], Sgd(1e-2))


def paragraph(weights: Weights) -> list[int]:
    text = (FIXTURES / "corpus.txt").read_text().splitlines()[0]
    return Tokenizer.load(FIXTURES / "tiny_tokenizer.bin", weights.config.vocab_size).encode(text)


def losses_on_paragraph(weights: Weights, steps: int, learning_rate: float) -> list[float]:
    batches = [[paragraph(weights)]] * steps
    result = train(weights, batches, AdamW(learning_rate), 1.0, record=False)
    return [step.loss for step in result.steps]


def test_tiny_model_overfits_a_paragraph() -> None:
    losses = losses_on_paragraph(read_tiny(TINY), 7, 2e-3)
    assert losses[0] > 0.15
    assert losses[-1] < 0.1


def test_without_a_learning_rate_nothing_is_learnt() -> None:
    losses = losses_on_paragraph(read_tiny(TINY), 2, 0.0)
    assert losses[0] == losses[1] > 0.15


@pytest.mark.slow
def test_model_of_random_weights_overfits_a_paragraph() -> None:
    weights = random_weights(read_tiny(TINY).config, seed=1)
    losses = losses_on_paragraph(weights, 22, 3e-3)  # below 0.1 from step 19 on
    assert losses[0] > 5
    assert losses[-1] < 0.1
