"""Options that verbs share, each declared once; and how verbs are registered.

A verb is named in a table (hil/cli.py, hil/bench/__init__.py) with its help and the function that declares it. That
function takes the verb's parser, declares its options and sets `run`, which gets them. The options of a run are
described in hil/settings.py.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any

from hil.errors import HilError
from hil.settings import OPTIONS, Settings, read_number, read_values

if TYPE_CHECKING:
    from hil.ring.training import Plan
    from hil.session import Session

# --- registering ----------------------------------------------------------------------------------


class VerbParser(argparse.ArgumentParser):
    """The parser of a verb. Imports the verb's module when the verb is asked for, so that `hil --help` imports none."""

    def __init__(self, *, declared_in: str, **keywords: Any) -> None:
        super().__init__(**keywords)
        self._declared_in: str | None = declared_in

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As any parser does, with the verb's options declared before the first time."""
        if self._declared_in is not None:
            declare, self._declared_in = resolve_name(self._declared_in), None
            declare(self)
        return super().parse_known_args(args, namespace)


def add_verbs(
    parser: argparse.ArgumentParser, verbs: Mapping[str, tuple[str, str]], *, dest: str, metavar: str
) -> None:
    """Give a parser its verbs.

    Args:
        verbs: by name, the function that declares the verb as `module:function`, and the verb's help.
        dest: attribute of the options that will have the name.
    """
    parsers = parser.add_subparsers(dest=dest, required=True, metavar=metavar, parser_class=VerbParser)
    for name, (declared_in, text) in verbs.items():
        parsers.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.", declared_in=declared_in)


# --- options of a run -----------------------------------------------------------------------------


def add_run_options(parser: argparse.ArgumentParser, *names: str, **defaults: str) -> None:
    """Declare options of a run: those of these names, or all. defaults: in words, where this verb's are others."""
    group = parser.add_argument_group("options of a run", "The environment may give them too, as HIL_RIG and so on.")
    for option in OPTIONS.values():
        if not names or option.name in names:
            group.add_argument(
                f"--{option.name}", dest=f"hil_{option.name}", action="append" if option.many else "store",
                metavar=option.metavar, help=option.usage(defaults.get(option.name)),
            )  # fmt: skip


def settings_of(options: argparse.Namespace) -> Settings:
    """What the options of a run, and the environment, say. Raises: SettingsError."""
    return Settings(**read_values(vars(options)))


def on_rig(parser: argparse.ArgumentParser, run: Callable[[Session, argparse.Namespace], int]) -> None:
    """Let the verb run on the rig, with the model and so on, that the user names: it gets a session of them."""
    add_run_options(parser)

    def run_on_rig(options: argparse.Namespace) -> int:
        from hil.session import Session

        return run(Session(settings_of(options), verb=options.verb), options)

    parser.set_defaults(run=run_on_rig)


# --- numbers --------------------------------------------------------------------------------------


def number(text: str) -> int:
    """A whole number in any base."""
    try:
        return read_number(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text}: {error}") from None


def at_least_one(text: str) -> int:
    """A whole number from 1."""
    if number(text) < 1:
        raise argparse.ArgumentTypeError(f"{text}: give 1 or more")
    return number(text)


def real(low: float, high: float, words: str) -> Callable[[str], float]:
    """Reads a number from low to high. words: what to give, for the message about another."""

    def read(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not low <= value <= high:  # not a number is in no range
            raise argparse.ArgumentTypeError(f"{text}: give {words}")
        return value

    return read


def seed64(text: str) -> int:
    """A whole number of 64 bits without sign, as a sampler takes it."""
    if not 0 <= number(text) < 1 << 64:
        raise argparse.ArgumentTypeError(f"{text}: give a whole number from 0 to 2**64 - 1")
    return number(text)


def count(text: str) -> int | None:
    """A whole number from 0; None for `all`."""
    if text != "all" and number(text) < 0:
        raise argparse.ArgumentTypeError(f"{text}: a count is 0 or more")
    return None if text == "all" else number(text)


# --- options of several verbs ---------------------------------------------------------------------

GENERATION = ("prompt", "positions", "temperature", "topp", "rng-seed")
"""Options of a generation."""
TRAINING = (
    "steps", "positions", "microbatches", "slots", "optimizer", "rate", "momentum", "decay", "clip", "text",
)  # fmt: skip
"""Options of a training."""

_DEFAULT = "(default: %(default)s)"
_FROM_0 = real(0, 1e30, "0 or more")
_SHARED: dict[str, dict[str, Any]] = {
    "prompt": {"default": "", "help": "text that a generation goes on from (default: none)"},
    "positions": {"type": number, "metavar": "T", "help": f"of a generation or of a microbatch {_DEFAULT}"},
    "temperature": {
        "type": real(0, 1e6, "0 or more"),
        "default": 0.0,
        "help": f"of a generation; 0 is greedy {_DEFAULT}",
    },
    "topp": {"type": real(0, 1, "0 to 1"), "default": 0.9, "help": f"top-p when temperature > 0 {_DEFAULT}"},
    "rng-seed": {"type": seed64, "default": 1, "help": f"seed of the sampler {_DEFAULT}"},
    "steps": {"type": at_least_one, "metavar": "N", "help": f"of a training {_DEFAULT}"},
    "microbatches": {"type": at_least_one, "default": 1, "metavar": "M", "help": f"of a step {_DEFAULT}"},
    "slots": {
        "type": at_least_one,
        "metavar": "S",
        "help": "microbatches under way at a time (default: all, at most 64)",
    },
    "optimizer": {"choices": ("adamw", "sgd"), "default": "adamw", "help": _DEFAULT[1:-1]},
    "rate": {"type": real(1e-30, 3e38, "a number above 0"), "default": 3e-4, "help": f"learning rate {_DEFAULT}"},
    "momentum": {"type": real(0, 1, "0 to 1"), "default": 0.0, "help": f"of sgd {_DEFAULT}"},
    "decay": {"type": _FROM_0, "default": 0.0, "help": f"weight decay, decoupled {_DEFAULT}"},
    "clip": {
        "type": real(0, 1e30, "0 or more"),
        "default": 0.0,
        "help": f"largest norm of all gradients; 0 for no limit {_DEFAULT}",
    },
    "text": {"type": Path, "metavar": "FILE", "help": "to train on (default: the first line of the shipped corpus)"},
    "no-verify": {"action": "store_true", "help": "do not record and compare"},
    "allow-degenerate": {
        "action": "store_true",
        "help": "values that are not finite, or zero throughout, count as good where the golden has them too",
    },
    "oracle": {
        "action": "store_true",
        "help": "compute the run in float64 with tables of theta as well, and show how far the golden drifts from it",
    },
    "verbose": {"action": "store_true", "help": "show the lines of all boards, not of the last rank alone"},
    "force": {"action": "store_true", "help": "replace files that are there already"},
    "json": {"action": "store_true", "help": "print what was found as JSON on the last line"},
}


def add_shared(parser: argparse.ArgumentParser, *names: str, **defaults: Any) -> None:
    """Declare options that several verbs have. defaults: where this verb's are others; by name."""
    for name in dict.fromkeys(names):
        keywords = dict(_SHARED[name])
        if name in defaults:
            keywords["default"] = defaults[name]
        parser.add_argument(*(["-v"] if name == "verbose" else []), f"--{name}", **keywords)


def need_free(*paths: Path, force: bool) -> None:
    """Refuse to write over what is there, unless that is asked for and it is a file. Raises: HilError."""
    for path in paths:
        if path.exists() and not path.is_file():
            raise HilError(f"{path}: is no file, so that none can be written there; name another")
        if not force and path.exists():
            raise HilError(f"{path}: is there already; name another file, or replace it with --force")


def slots_of(options: argparse.Namespace, microbatches: int) -> int:
    """How many microbatches are under way at a time: as said, or all that may be."""
    return min(microbatches, 64) if options.slots is None else int(options.slots)


def plan_of(options: argparse.Namespace) -> Plan:
    """What a training does in each step, by the options of TRAINING."""
    from golden.optimizer import AdamW, Sgd
    from hil.ring.training import Plan

    adamw = options.optimizer == "adamw"
    rule = (
        AdamW(options.rate, weight_decay=options.decay) if adamw
        else Sgd(options.rate, options.momentum, options.decay)
    )  # fmt: skip
    slots = slots_of(options, options.microbatches)
    return Plan(rule, options.positions, options.microbatches, slots, options.clip)
