"""Digests: generations whose tokens and tap digests are kept in the repository, as JSON in golden/digests/.

They show that the golden itself has not moved, and let a board be checked without running the golden.
`python -m golden.make_digests` writes them. Owns: the file format, RUNS.
"""

from __future__ import annotations

import base64
import json
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from golden.generate import Generation, GenerationRequest, generate
from golden.taps import NO_LAYER, Op, TapDigest, TapKey
from golden.weights import Weights

FOLDER = Path(__file__).resolve().parent / "digests"
_FORMAT = 1


RUNS: dict[str, GenerationRequest] = {
    "tiny_greedy": GenerationRequest((1,), 64, 0.0, 0.9, 1),
    "tiny_topp": GenerationRequest((1,), 64, 1.0, 0.9, 20),
}
"""The kept runs of fixtures/tiny.bin by file name."""


class DigestsError(ValueError):
    """A digest file that cannot be used; the message says which and why."""


@dataclass(frozen=True, slots=True)
class KeptRun:
    """A digest file: what was run, on which model file, and what came out."""

    settings: GenerationRequest
    model_sha256: str
    n_layers: int
    generation: Generation


def keep(weights: Weights, model_sha256: str, settings: GenerationRequest) -> KeptRun:
    """Runs the golden."""
    generation = generate(weights, settings)
    return KeptRun(settings, model_sha256, weights.config.n_layers, generation)


def write(run: KeptRun, path: Path) -> None:
    """Writes a digest file: settings and tokens readable, the CRCs packed in execution order."""
    s, taps = run.settings, run.generation.taps
    text = json.dumps(
        {
            "format": _FORMAT,
            "made_by": "python -m golden.make_digests",
            "model_sha256": run.model_sha256,
            "n_layers": run.n_layers,
            "prompt_tokens": s.prompt,
            "positions": s.positions,
            "temperature": s.temperature,
            "topp": s.topp,
            "rng_seed": s.rng_seed,
            "tokens": run.generation.tokens,
            "tap_count": len(taps),
            "tap_keys_crc32": _keys_crc32([key for key, _ in taps]),
            "tap_crc32_base64": base64.b64encode(np.array([crc for _, crc in taps], "<u4").tobytes()).decode(),
        },
    )
    path.write_text(text.replace(', "', ',\n "') + "\n")


def load(name: str, folder: Path = FOLDER) -> KeptRun:
    """Reads the digest file of a run.

    Raises: DigestsError when the file is missing, of another format, or does not fit itself.
    """
    path = folder / f"{name}.json"
    if not path.exists():
        known = ", ".join(sorted(p.stem for p in folder.glob("*.json"))) or "none"
        raise DigestsError(f"no digests named {name!r} in {folder} (there: {known}); run python -m golden.make_digests")
    try:
        data = json.loads(path.read_text())
        if data["format"] != _FORMAT:
            raise DigestsError(f"{path} has format {data['format']}, this version reads {_FORMAT}")
        settings = GenerationRequest(
            tuple(data["prompt_tokens"]), data["positions"], data["temperature"], data["topp"], data["rng_seed"]
        )
        crcs = np.frombuffer(base64.b64decode(data["tap_crc32_base64"], validate=True), "<u4").tolist()
        keys = tap_keys(settings, len(data["tokens"]), data["n_layers"])
        fits = len(crcs) == len(keys) == data["tap_count"] and _keys_crc32(keys) == data["tap_keys_crc32"]
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, DigestsError):
            raise
        raise DigestsError(f"{path} is damaged ({error}); run python -m golden.make_digests") from error
    if not fits:
        raise DigestsError(f"{path} does not hold the {len(keys)} taps of its run; run python -m golden.make_digests")
    taps: list[TapDigest] = list(zip(keys, crcs, strict=True))
    return KeptRun(settings, data["model_sha256"], data["n_layers"], Generation(data["tokens"], taps))


def tap_keys(settings: GenerationRequest, positions: int, n_layers: int) -> list[TapKey]:
    """Keys of all taps of a run in the execution order of a single board."""
    layer_ops = [op for op in Op if Op.ATT_NORM <= op <= Op.FFN_RES]
    keys: list[TapKey] = []
    for position in range(positions):
        keys.append(TapKey(position, NO_LAYER, Op.EMBED))
        keys += [TapKey(position, layer, op) for layer in range(n_layers) for op in layer_ops]
        keys += [TapKey(position, NO_LAYER, Op.FINAL_NORM), TapKey(position, NO_LAYER, Op.LOGITS)]
        if settings.temperature > 0 and position + 1 >= len(settings.prompt):
            keys.append(TapKey(position, NO_LAYER, Op.PROBS))
    return keys


def _keys_crc32(keys: list[TapKey]) -> int:
    return zlib.crc32(np.array([key.pack() for key in keys], "<u4").tobytes())
