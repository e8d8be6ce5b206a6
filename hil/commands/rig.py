"""`hil rig init`: ask every port who is there and write the rig file."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from hil.desk.identify import Answer, ask_ports
from hil.errors import RigError
from hil.line.names import plugged_in, resolve_port
from hil.protocol.messages import NO_RANK
from hil.rig.config import load_rig
from hil.rig.labgrid import is_labgrid
from hil.rig.specs import BAUD_DEFAULT, BAUD_MAX, BAUD_MIN, WORLD_SIZE_MAX


def add_verb(parser: argparse.ArgumentParser) -> None:
    """Declare `hil rig`."""
    parser.add_argument("action", choices=("init",), help="init: ask every port who it is; boots nothing")
    parser.add_argument("out", metavar="OUT.toml", type=Path, help="rig file to write; must not exist")
    parser.add_argument("--ports", nargs="+", metavar="PORT", help="ports to ask (default: every USB adapter)")
    parser.add_argument("--from", dest="source", metavar="RIG", help="ask the ports of a devices.conf or rig file")
    parser.add_argument("--baud", type=int, help=f"of the boards (default: {BAUD_DEFAULT}, or the rig file's)")
    parser.set_defaults(run=init)


def init(options: argparse.Namespace) -> int:
    """Ask, show the answers, write the file."""
    out: Path = options.out
    if out.exists():
        raise RigError(f"{out}: exists already; remove it, or name another file")
    if out.suffix != ".toml" or not out.absolute().parent.is_dir():
        raise RigError(f"{out}: name a new file NAME.toml in a folder that exists")
    ports, baud = _ports(options)
    if not BAUD_MIN <= baud <= BAUD_MAX:
        raise RigError(f"--baud {baud}: give a whole number from {BAUD_MIN} to {BAUD_MAX}")
    answers = ask_ports([resolve_port(port) for port in ports], baud=baud)
    for answer in answers:
        print(f"{answer.port}  {answer.who}  {answer.note}".rstrip())
    ranked = place(answers)
    out.write_text(rig_text(out.stem, baud, ranked, answers), encoding="utf-8")
    guessed = sum(answer.identity is None for answer in ranked)
    print(f"{out}: {len(ranked)} boards" + (f", {guessed} ranks guessed: check them" if guessed else ""))
    return 0


def _ports(options: argparse.Namespace) -> tuple[Sequence[str], int]:
    if options.source is not None:
        config = load_rig(options.source)
        if config.sim is not None:
            raise RigError(f"--from {options.source}: is simulated, it has no ports to ask; name a devices.conf")
        if is_labgrid(config):
            raise RigError(f"--from {options.source}: a labgrid environment is a rig as it is; give it to --rig")
        return [spec.port for spec in config.boards], options.baud or config.baud_at_boot
    ports = options.ports or [port.name for port in plugged_in() if port.is_usb]
    if not ports:
        raise RigError("no USB serial adapter is plugged in; plug the boards in, or name ports with --ports")
    return ports, options.baud or BAUD_DEFAULT


def place(answers: Sequence[Answer]) -> list[Answer]:
    """The boards by rank: those that know theirs stand there, the others fill what is free in the ports' order.

    Raises: RigError if there is no board, if two claim one rank, or if a rank lies beyond the boards found.
    """
    boards = [answer for answer in answers if answer.is_board]
    if not boards:
        raise RigError("no board answered at any port; power the boards, check TX and RX, or try another --baud")
    if len(boards) > WORLD_SIZE_MAX:
        raise RigError(
            f"{len(boards)} boards answered; a ring has at most {WORLD_SIZE_MAX}: name its ports with --ports"
        )
    places: dict[int, Answer] = {}
    for answer in boards:
        if answer.identity is None or answer.identity.rank == NO_RANK:
            continue
        rank = answer.identity.rank
        if rank in places:
            raise RigError(
                f"{places[rank].port} and {answer.port} both say rank {rank}; write one card for another rank"
            )
        if rank >= len(boards):
            raise RigError(
                f"{answer.port} says rank {rank} of {answer.identity.world_size}, but only {len(boards)} boards "
                "answered; power the others, or name their ports"
            )
        places[rank] = answer
    free = iter(rank for rank in range(len(boards)) if rank not in places)
    known = [id(answer) for answer in places.values()]
    places.update({next(free): answer for answer in boards if id(answer) not in known})
    return [places[rank] for rank in range(len(boards))]


def rig_text(name: str, baud: int, ranked: Sequence[Answer], answers: Sequence[Answer]) -> str:
    """The rig file; ports without a board are listed as comments."""
    lines = [
        "# Written by `hil rig init`. Format: docs/rigs.md.",
        "[rig]",
        f'name = "{_escaped(name)}"',
        f"baud = {baud}",
    ]
    for rank, answer in enumerate(ranked):
        lines += ["", "[[board]]", f"rank = {rank}", f'port = "{_escaped(answer.port)}"']
        if answer.identity is not None:
            lines[-2] += "" if answer.identity.rank == rank else "  # a guess: the board has no shard"
        else:
            lines[-2] += "  # a guess: a board in its bootloader does not know its rank"
        if answer.board_serial is not None:
            lines.append(f'serial = "{answer.board_serial:016x}"')
    others = [answer for answer in answers if not answer.is_board]
    lines += ["", *(f"# no board: {_escaped(answer.port)} ({answer.who})" for answer in others)] if others else []
    return "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    return text.encode("unicode_escape").decode("ascii").replace('"', '\\"')
