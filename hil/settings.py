"""What a run works with: rig, seed, model, compiler, folders; and how a user says so, each option described once.

From the fields of Settings come the options of the `hil` command (`--rig`), those of pytest (`--hil-rig`), the keys of
its ini file (`hil_rig`), variables of the environment (`HIL_RIG`), the words of a replay command and the table in
docs/plugin.md, which `python -m hil.settings` prints. pytest loads this module in every project of the environment, so
it imports nothing that takes time.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import Field, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal, get_args

from hil.errors import HilError

SEED_DEFAULT = 0x5EED
"""Seed of everything random, unless the user gives one."""


Compiler = Literal["zig", "gcc"]


class SettingsError(HilError):
    """A value that a user gave for an option cannot be. The message says where he gave it."""


@dataclass(frozen=True, slots=True)
class Option:
    """How a user says what a field of Settings is.

    name: behind `--`, `--hil-`, `hil_` and `HIL_`. default: in words. read: the value of a text; raises ValueError that
    says what to give. show: the text of a value. many: may be given more than once. file: may be the path of a file.
    replay: whether a command that repeats a run names it; never, where it does not decide how the run goes.
    """

    name: str
    metavar: str
    help: str
    default: str = ""
    read: Callable[[str], Any] = str
    show: Callable[[Any], str] = str
    many: bool = False
    file: bool = False
    replay: Literal["always", "changed", "never"] = "changed"

    def usage(self, default: str | None = None) -> str:
        """What it means and what it is by default, for `--help`; default: words for another one."""
        return f"{self.help} ({'repeatable' if self.many else f'default: {default or self.default}'})"


def read_number(text: str) -> int:
    """A whole number, decimal or with its base, such as 0x5eed. Raises ValueError."""
    try:
        return int(text, 0)
    except ValueError:
        raise ValueError("give a whole number, such as 5 or 0x5eed") from None


def _read_world(text: str) -> int:
    from hil.rig.specs import WORLD_SIZE_MAX

    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= WORLD_SIZE_MAX:
        raise ValueError(f"a ring has 1 to {WORLD_SIZE_MAX} boards; give one of these numbers")
    return int(text)


def _read_keep(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise ValueError("give a whole number from 1")
    return int(text)


def _read_compiler(text: str) -> str:
    if text not in get_args(Compiler):
        raise ValueError(f"give {' or '.join(get_args(Compiler))}")
    return text


def _read_tables(text: str) -> str:
    if text not in ("checked", "any"):
        raise ValueError("give checked or any")
    return text


def _said(name: str, metavar: str, help: str, default: str = "", **more: Any) -> dict[str, Option]:
    return {"option": Option(name, metavar, help, default, **more)}


@dataclass(frozen=True, slots=True)
class Settings:
    """What a run works with. The defaults need no hardware and no system package."""

    rig: str = field(default="sim", metadata=_said(
        "rig", "RIG",
        "`sim`, `sim-loopback`, `sim-probe`, or the file of a rig: docs/rigs.md",
        file=True, replay="always",
    ))  # fmt: skip
    seed: int = field(default=SEED_DEFAULT, metadata=_said(
        "seed", "SEED", "seed of everything random", read=read_number, show=hex, replay="always"
    ))  # fmt: skip
    world_size: int = field(default=4, metadata=_said(
        "world", "N", "boards in the ring, 1 to 16, unless a rig file says it", read=_read_world
    ))  # fmt: skip
    model: str = field(default="tiny", metadata=_said("model", "MODEL", "`tiny`, or a llama2.c checkpoint", file=True))
    tokenizer: str | None = field(default=None, metadata=_said(
        "tokenizer", "FILE", "tokenizer.bin of that checkpoint", "beside it", file=True
    ))  # fmt: skip
    tables: str = field(default="checked", metadata=_said(
        "tables", "WHICH", "RoPE tables of that checkpoint: `checked` against cos and sin of theta, or `any`",
        read=_read_tables,
    ))  # fmt: skip
    logs: Path | None = field(default=None, metadata=_said(
        "logs", "DIR", "folder of pi{n}.log (with arrival times) and pi{n}.raw (every byte)",
        "a new one in .hil/runs", read=Path, replay="never",
    ))  # fmt: skip
    keep: int = field(default=20, metadata=_said(
        "keep", "N", "runs that stay in .hil/runs; older ones are removed", read=_read_keep, replay="never"
    ))  # fmt: skip
    compiler: Compiler = field(default="zig", metadata=_said(
        "compiler", "COMPILER", "compiler of the firmware: `zig` or `gcc` (arm-none-eabi-gcc)",
        read=_read_compiler,
    ))  # fmt: skip
    faults: tuple[str, ...] = field(default=(), metadata=_said(
        "fault", "FAULT", "fault of a simulated rig, like `open:1-2.D3`: docs/rigs.md", "none", many=True
    ))  # fmt: skip
    work: Path | None = None
    """Folder of simulated boards' cards; default: a new one beside the logs, which goes when the rig is closed."""


def _described(one: Field[Any]) -> Option:
    option: Option = one.metadata["option"]
    return replace(option, default=option.default or option.show(one.default))


OPTIONS = {one.name: _described(one) for one in fields(Settings) if one.metadata}
"""By the fields of Settings, in the order of help and docs."""


def read_values(
    given: Mapping[str, Any],
    *,
    dashes: str = "--",
    ini: Mapping[str, Any] | None = None,
    environment: Mapping[str, str] = os.environ,
) -> dict[str, Any]:
    """The values that somebody gave, by the fields of Settings; `Settings(**values)` has defaults for the others.

    The command line goes before the environment, the environment before the ini file. An empty variable counts as none.

    Args:
        given: texts of a command line by `hil_` and the option's name; lists of texts where it may be given repeatedly.
        dashes: what the options of this command line begin with.
        ini: the same of an ini file.
    Raises: SettingsError for a value that cannot be; it says where the value came from.
    """
    values = {}
    for name, option in OPTIONS.items():
        key = f"hil_{option.name}"
        said = environment.get(key.upper()) or None
        for place, found in (
            (f"{dashes}{option.name} ", given.get(key)),
            (f"{key.upper()}=", said.split() if said and option.many else said),
            (f"{key} = ", (ini or {}).get(key)),
        ):
            if found is not None:
                texts = [found] if isinstance(found, str) else found
                read = [_read(option, text, place) for text in texts]
                values[name] = tuple(read) if option.many else read[0]
                break
    return values


def _read(option: Option, text: str, place: str) -> Any:
    try:
        return option.read(text)
    except ValueError as error:
        raise SettingsError(f"{place}{text}: {error}") from None


def replay_words(settings: Settings, *usual: Settings, dashes: str = "--") -> list[str]:
    """The options of a command that repeats a run: those that are always said, and what is not as usual.

    Args:
        usual: what a command without these options would get beside the defaults, from environment and ini file.
    """
    words = []
    for name, option in OPTIONS.items():
        value = getattr(settings, name)
        changed = any(value != getattr(one, name) for one in (Settings(), *usual))
        if option.replay == "always" or (option.replay == "changed" and changed and value is not None):
            words += [f"{dashes}{option.name}={option.show(one)}" for one in (value if option.many else [value])]
    return words


def options_table() -> str:
    """The options as the table of docs/plugin.md, in Markdown."""
    rows = [f"| `--hil-{one.name} {one.metavar}` | `{one.default}` | {one.help} |" for one in OPTIONS.values()]
    return "\n".join(["| option | default | meaning |", "|---|---|---|", *rows]) + "\n"


if __name__ == "__main__":
    print(options_table(), end="")
