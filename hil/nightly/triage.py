"""Triage: what a failed check is put down to.

A failed check is run again on the rig, its boards booted anew, and then on the simulator with the same seed and image,
on sound wires. `classify` draws the conclusion; its rules are the table in docs/nightly.md. Owns: Trial, the rules,
the clean simulated rig.
"""

from __future__ import annotations

import shutil
import traceback
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from hil.checks.check import Left, Result, Setup, Sign
from hil.errors import BoardError, HilError, LinkError, PortError
from hil.nightly.record import Attempt, Cause, CheckKind
from hil.nightly.rounds import Planned
from hil.rig.specs import RigConfig, SimSpec
from hil.ring.link_faults import HELD_UP_TEXT
from hil.ring.ring import Ring
from hil.session import Session
from hil.toolchain import Image

RIG, SIMULATOR = "rig", "simulator"


@dataclass(frozen=True, slots=True)
class Trial:
    """One run of a check. found is None where the check raised; left: why it could not be tried at all.

    dead: boards that died while it ran, by rank, with a sentence on each.
    """

    attempt: Attempt
    found: Result | None
    sign: Sign | None = None
    detail: str = ""
    dead: Mapping[int, str] = field(default_factory=dict)
    left: str = ""

    @property
    def passed(self) -> bool:
        """Whether the check ran and all was well."""
        return self.attempt.passed


def dead_boards(ring: Ring) -> dict[int, str]:
    """Boards that do not answer, by rank, with a sentence on why."""
    lost = [board for board in ring.boards if board.dead is not None or not board.booted]
    return {board.rank: board.dead or f"board {board.rank}: has not booted" for board in lost}


def try_check(planned: Planned, setup: Setup, seed: int, where: str) -> Trial:
    """Run a check once. Whatever it raises becomes part of the trial; a full disk does not: that ends the night.

    Raises: OSError from the boards' logs, KeyboardInterrupt.
    """
    ring, loop = setup.ring, setup.ring.desk.loop
    met_before, start_s = len(ring.desk.contentions()), loop.now_s()
    dead_before = () if planned.kind is CheckKind.BOOT else dead_boards(ring)
    found, sign, sentence, detail, left = None, None, "", "", ""
    try:
        found = planned.run(setup, seed)
        sentence, detail, sign = found.sentence, found.detail, found.sign if found.sentence else None
    except Left as reason:
        left = str(reason)
    except (OSError, KeyboardInterrupt):
        raise
    except HilError as error:
        sentence, sign = str(error), sign_of(error)
    except Exception as error:
        sentence, sign, detail = f"{type(error).__name__}: {error}", Sign.HARNESS, traceback.format_exc()
    met = ring.desk.contentions()[met_before:]
    if met and sign is not Sign.HARNESS:
        sign = Sign.LINK
        sentence = "\n".join(filter(None, [sentence, f"outputs met on a wire, {len(met)} times: {met[0]}"]))
    dead = {rank: text for rank, text in dead_boards(ring).items() if rank not in dead_before}
    if dead and sign is not Sign.HARNESS:
        sign = Sign.BOARD
        sentence = sentence or "\n".join(dead.values())
    passed = not sentence and not left
    attempt = Attempt(where, passed, loop.now_s() - start_s, sentence or left)
    return Trial(attempt, found, sign, detail, dead, left)


def sign_of(error: HilError) -> Sign:
    """What an error of a check looks like."""
    if isinstance(error, LinkError):
        return Sign.BOARD if HELD_UP_TEXT in str(error) else Sign.LINK
    return Sign.BOARD if isinstance(error, BoardError | PortError) else Sign.VALUES


def classify(first: Trial, retry: Trial | None, simulated: Trial | None) -> Cause:
    """What a failure is put down to. The first rule that fits decides.

    Args:
        first: the failed trial on the rig.
        retry: the second one on the rig; None if it could not be made.
        simulated: that on the simulator with the same seed and image; None if it could not be made.
    """
    trials = [trial for trial in (first, retry, simulated) if trial is not None]
    if any(trial.sign is Sign.HARNESS for trial in trials):
        return Cause.HARNESS
    if simulated is not None and simulated.sign is not None:
        return Cause.FIRMWARE
    if any(trial.sign is Sign.BOARD for trial in trials):
        return Cause.BOARD
    if retry is not None and retry.passed:
        return Cause.NOT_REPRODUCED
    last = retry or first
    return Cause.WIRING if last.sign is Sign.LINK else Cause.BOARD


class Twin:
    """The simulator that failed checks are tried on: as many boards and the same links as the rig, and no faults.

    Opened when it is first needed, booted anew for every trial.
    """

    def __init__(self, session: Session, image: Image, logs: Path) -> None:
        self._session, self._image, self._logs = session, image, logs
        self._ring: Ring | None = None

    def try_check(self, planned: Planned, setup: Setup, seed: int) -> Trial:
        """The check with the same seed and image, all waiting in virtual time."""
        if self._ring is None:
            self._ring = self._session.open_ring(
                clean_rig(self._session.config), logs=self._logs, work=self._logs / "cards"
            )
        ring = self._ring
        with suppress(BoardError):  # an image that does not boot: the check says so
            ring.boot(self._image)
        return try_check(planned, replace(setup, ring=ring, time_up=lambda: False), seed, SIMULATOR)

    def close(self) -> None:
        """Close the simulated rig."""
        if self._ring is not None:
            self._ring.desk.close()
            self._ring = None
            shutil.rmtree(self._logs / "cards", ignore_errors=True)


def clean_rig(config: RigConfig) -> RigConfig:
    """The simulated rig with the boards, links and speeds of a rig, all sound."""
    boards = tuple(replace(spec, port=f"sim://{spec.rank}", serial=None) for spec in config.boards)
    return replace(config, name=f"{config.name}-clean", boards=boards, sim=SimSpec(), power=None, probe=None)
