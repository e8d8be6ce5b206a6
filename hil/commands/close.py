"""`hil close`: tensors that a firmware of any make printed, checked op by op within bounds. Format: docs/close.md."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from hil.commands.options import add_run_options, add_shared, settings_of
from hil.errors import ModelError

UNITS_HELP = "roundings of an op are N times coarser than 2^-24; OP may be `*`, for all others (repeatable)"


def add_verb(parser: argparse.ArgumentParser) -> None:
    """Declare `hil close`."""
    parser.add_argument("log", metavar="FILE", help="what the board printed, as a pi{n}.raw; - is standard input")
    parser.add_argument("--tokens", type=_tokens, metavar="T,...", help="one for each position (default: the prompt's)")
    add_shared(parser, "prompt", "positions", positions=16)
    parser.add_argument("--temperature", type=float, default=0.0, help="that PROBS was made with, where it was printed")
    parser.add_argument("--units", action="append", default=[], metavar="OP=N", help=UNITS_HELP)
    add_run_options(parser, "model", "tokenizer")
    parser.set_defaults(run=close)


def _tokens(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text}: give token numbers, as 1,403,407") from None


def close(options: argparse.Namespace) -> int:
    """Read, check, say; 1 if a tensor is missing or beyond its bound."""
    from hil.checks.model.close import ReportedTensors, close_generation, read_units
    from hil.model.bundle import load_model

    try:
        units = read_units(options.units)
    except ValueError as error:
        raise ModelError(f"--units {error}") from None
    settings = settings_of(options)
    model = load_model(settings.model, settings.tokenizer)
    tokens = options.tokens or model.encode_prompt(options.prompt, options.positions)
    vocab_size = model.weights.config.vocab_size
    wrong = next((token for token in tokens if not 0 <= token < vocab_size), None)
    if wrong is not None:
        raise ModelError(f"--tokens: {wrong} is no token of model {model.name}, which has 0 to {vocab_size - 1}")
    try:
        data = sys.stdin.buffer.read() if options.log == "-" else Path(options.log).read_bytes()
    except OSError as error:
        raise ModelError(f"{options.log}: cannot be read: {error.strerror}; give the board's text") from None
    reported = ReportedTensors()
    lines = reported.read(data.decode("utf-8", "replace"))
    if not lines:
        raise ModelError(f"{options.log}: no line of it reports a tensor; docs/close.md has the format")
    result = close_generation(model.weights, reported, tokens, temperature=options.temperature, units=units)
    count = sum(map(len, reported.tensors.values()))
    print(f"{lines} lines report {count} tensors; model {model.name}, {len(tokens)} positions")
    print(result.describe())
    return 0 if result.good else 1
