"""The runner: a night from its first boot to its report, whatever happens in between.

Every check enters the history as it ends. A check that fails is triaged at once: boards are reset, it is tried again on
the rig and on the simulator. Boards that stay dead leave the rest running. Ctrl-C, SIGTERM and a full disk end the
night early but in order; what a kill leaves behind is every check that had ended. All durations are on the rig's clock,
which is virtual on a simulated rig. Owns: Night's making, the loop over rounds.
"""

from __future__ import annotations

import errno
import re
import shutil
import sqlite3
import sys
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO

from hil.checks import boards
from hil.checks.check import Result, Setup, Sign
from hil.data import revision, version
from hil.errors import BoardError, HilError
from hil.nightly import evidence, triage
from hil.nightly.history import HISTORY_NAME, History, HistoryError
from hil.nightly.outputs.files import WAVES
from hil.nightly.progress import Progress
from hil.nightly.record import Attempt, BoardFigures, CheckKind, CheckRecord, Failure, Night, Outcome
from hil.nightly.reports import closing_lines, write_reports
from hil.nightly.rounds import Planned, Profile, check_seed, night_timeline, plan_round
from hil.nightly.series import figures_of, sum_links, sum_wires
from hil.nightly.trends import LOOKBACK_NIGHTS, marks_of
from hil.nightly.triage import Trial, Twin, dead_boards, try_check
from hil.session import Session
from hil.timeline.spans import Timeline
from hil.toolchain import Image

RESERVE_BYTES = 1 << 20
"""Kept on the disk and given up when it is full, so that the end of the night still fits."""
DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
MODEL_KINDS = (CheckKind.LAYERS, CheckKind.GRADIENTS, CheckKind.GENERATION, CheckKind.TRAINING)


class Terminated(KeyboardInterrupt):
    """SIGTERM: somebody, such as systemd, ends the night."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What the user asked for. rounds, limit_s: None for the profile's own; limit_s is on the rig's clock."""

    out: Path
    profile: Profile
    rounds: int | None = None
    limit_s: float | None = None


class Runner:
    """One night.

    Args:
        session: the rig, the model, the faults; its seed is the night's.
        image: instead of the session's ring image.
        stream: for progress and verdict.
        utc: the time of day.
        plan: the checks of a round, instead of the rig's own.
    """

    def __init__(
        self,
        session: Session,
        wish: Wish,
        *,
        image: Image | None = None,
        stream: TextIO = sys.stdout,
        utc: Callable[[], datetime] = lambda: datetime.now(UTC),
        plan: Sequence[Planned] | None = None,
    ) -> None:
        self.session, self.wish, self._utc = session, wish, utc
        self._image = image or session.image("ring")
        self._plan = list(plan) if plan is not None else plan_round(session.config, wish.profile)
        self._progress = Progress(stream, len(self._plan))
        self._night = self._new_night()
        self.folder = wish.out / "nights" / self._night.id
        self._number = 0
        self._lost: list[CheckRecord] = []
        self._twin = Twin(session, self._image, self.folder / "simulator")
        self._boards: dict[int, BoardFigures] = {}
        self._timeline: Timeline | None = None

    def _new_night(self) -> Night:
        session, started = self.session, self._utc()
        stamp = f"{started:%Y%m%dT%H%M%S}{started.microsecond // 1000:03}Z"
        rig = re.sub(r"[^A-Za-z0-9_.-]", "_", session.config.name)
        return Night(
            id=f"{stamp}-{rig}-{session.settings.seed & 0xFFFF:04x}",
            rig=session.config.name,
            simulated=session.config.sim is not None,
            world_size=session.config.world_size,
            profile=self.wish.profile.name,
            seed=session.settings.seed,
            started=_stamp(started),
            ended=None,
            stopped=None,
            harness=harness_revision(),
            firmware_sha256=self._image.sha256,
            firmware_git=self._image.git_revision,
            compiler=self._image.compiler,
            model=session.model.name,
        )

    # --- the night -----------------------------------------------------------------------------

    def run(self) -> Night:
        """Run it; the night as the history has it. Raises HistoryError if there is no history to write to."""
        with History(self.wish.out / HISTORY_NAME) as history:
            if history.set_aside is not None:
                self._progress.line(history.set_aside)
            self._history = history
            history.begin(self._night)
            self._progress.line(self._headline())
            stopped: str | None = None
            with suppress(OSError):
                self._reserve.write_bytes(bytes(RESERVE_BYTES))
            try:
                stopped = self._open_and_run()
            except Terminated:
                stopped = "ended by SIGTERM"
            except KeyboardInterrupt:
                stopped = "interrupted"
            except _DiskFull as full:
                stopped = f"the disk is full: {full}; make room and start again"
                self._progress.line(stopped)
            except HilError as error:
                stopped = str(error)
                self._progress.line(stopped)
            except Exception as error:  # an unattended night must end with a report whatever happens
                stopped = f"the program itself failed: {type(error).__name__}: {error}"
                self._progress.line(traceback.format_exc())
            return self._finish(stopped)

    @property
    def _reserve(self) -> Path:
        return self.wish.out / f".reserve-{self._night.id}"

    def _headline(self) -> str:
        night = self._night
        clock = "simulated, so its time is virtual" if night.simulated else "real"
        return (
            f"night {night.id}: rig {night.rig} ({clock}), profile {night.profile}, seed {night.seed:#x}, "
            f"firmware {night.firmware_sha256[:12]}"
        )

    def _open_and_run(self) -> str | None:
        if any(planned.kind in MODEL_KINDS for planned in self._plan):
            self.session.check_memory()
        work = self.folder / "cards"  # a folder of its own: two nights at once must not write the same cards
        try:
            ring = self.session.open_ring(logs=self.folder / "logs", work=work)
        except OSError as error:
            raise _as_full(error) from error
        self._ring = ring
        self._start_s = ring.desk.loop.now_s()
        try:
            return self._rounds()
        except OSError as error:
            raise _as_full(error) from error
        finally:
            for close in (self._twin.close, ring.desk.close):
                with suppress(OSError):
                    close()
            shutil.rmtree(work, ignore_errors=True)

    def _rounds(self) -> str | None:
        """Rounds until they are done or time is up; a sentence if not even one was completed."""
        wanted = self.wish.rounds or (None if self.wish.limit_s is not None else self.wish.profile.rounds)
        round_number = 0
        while wanted is None or round_number < wanted:
            round_number += 1
            for place, planned in enumerate(self._plan, 1):
                if self._time_up():
                    left = len(self._plan) - place + 1
                    return f"time was up in the first round, {left} checks did not run" if round_number == 1 else None
                self._progress.begin(round_number, place, planned.name, self._left_s())
                check = self._check(planned, round_number)
                self._keep(check)
                if check.kind is CheckKind.TRAINING and check.outcome is Outcome.PASSED and self._timeline is None:
                    self._trace_step()
            self._look_after_boards()
        return None

    def _trace_step(self) -> None:
        """The night's timeline, once; without one the night goes on."""
        self._progress.say("timeline of a step")
        try:
            self._timeline = night_timeline(self._setup())
        except HilError as error:
            self._progress.line(f"no timeline: {error}")

    def _limit_s(self) -> float | None:
        hours = self.wish.profile.hours
        if self.wish.limit_s is not None:
            return self.wish.limit_s
        return hours * 3600 if hours is not None and self.wish.rounds is None else None

    def _left_s(self) -> float | None:
        limit_s = self._limit_s()
        return None if limit_s is None else limit_s - (self._ring.desk.loop.now_s() - self._start_s)

    def _time_up(self) -> bool:
        left_s = self._left_s()
        return left_s is not None and left_s <= 0

    # --- one check -----------------------------------------------------------------------------

    def _setup(self) -> Setup:
        return Setup(
            self._ring, self.session.model, self._image, self.wish.profile, self._progress.update, self._time_up
        )

    def _check(self, planned: Planned, round_number: int) -> CheckRecord:
        self._number += 1
        seed = check_seed(self._night.seed, round_number, planned.name)
        check = CheckRecord(
            self._number, round_number, planned.name, planned.kind, Outcome.SKIPPED, seed, _stamp(self._utc()),
            0.0,
        )  # fmt: skip
        if planned.kind in MODEL_KINDS and self._ring.trained:
            self._revive()
        missing = self._missing(planned)
        if missing:
            return replace(check, sentence=missing)
        first = try_check(planned, self._setup(), seed, triage.RIG)
        self._note_boards()
        if first.left:
            return replace(check, sentence=first.left, seconds=first.attempt.seconds)
        if first.passed:
            return _with_trials(check, Outcome.PASSED, [first])
        return self._triage(check, planned, first)

    def _missing(self, planned: Planned) -> str:
        """Why the boards that a check needs are not there; empty if they are."""
        dead = dead_boards(self._ring) if planned.kind is not CheckKind.BOOT and self._number > 1 else {}
        needed = planned.ranks if planned.ranks is not None else set(range(len(self._ring.boards)))
        return "\n".join(text for rank, text in dead.items() if rank in needed)

    def _triage(self, check: CheckRecord, planned: Planned, first: Trial) -> CheckRecord:
        logs = evidence.log_ends(self._ring)
        self._progress.say("again on the rig")
        retry = self._again(planned, check, first)
        self._progress.say("again on the simulator")
        simulated = self._twin.try_check(planned, self._setup(), check.seed)
        cause = triage.classify(first, retry, simulated)
        failure = Failure(
            first.attempt.sentence,
            cause,
            self.replay(planned, check.seed),
            logs,
            waveform=evidence.handshake(self._vcd(check), first.attempt.sentence),
            mismatch_map=first.found.mismatch_map if first.found is not None else [],
            detail=_details(first, retry, simulated),
        )
        outcome = Outcome.FLAKY if retry.passed else Outcome.FAILED
        done = _with_trials(check, outcome, [first, retry])
        return replace(
            done, sentence=first.attempt.sentence, attempts=[*done.attempts, simulated.attempt], failure=failure
        )

    def _again(self, planned: Planned, check: CheckRecord, first: Trial) -> Trial:
        """The second trial on the rig, after every board was reset; boards that had died are counted."""
        for rank in first.dead:
            known = self._figures_of(rank)
            self._boards[rank] = replace(known, resets=known.resets + 1, retries=known.retries + 1)
        if planned.kind is not CheckKind.BOOT:
            self._revive()
            missing = self._missing(planned)
            if missing:
                return Trial(Attempt(triage.RIG, False, 0.0, f"not tried again: {missing}"), None, Sign.BOARD)
        with evidence.recorded_wires(self._ring, self._vcd(check)) as keep:
            trial = try_check(planned, self._setup(), check.seed, triage.RIG)
            keep(not trial.passed and Sign.LINK in (first.sign, trial.sign))
        self._note_boards()
        return trial

    def _vcd(self, check: CheckRecord) -> Path:
        return self.folder / WAVES / f"check-{check.number}.vcd"

    def replay(self, planned: Planned, seed: int) -> str:
        """The command that runs a check again by itself."""
        return evidence.replay_command(self.session.settings, self.wish.profile, planned.name, seed)

    # --- boards --------------------------------------------------------------------------------

    def _revive(self) -> None:
        """Reset and boot every board; those that do not come back stay dead, and the rest goes on."""
        with suppress(BoardError):
            self._ring.boot(self._image)
        self._note_boards()

    def _note_boards(self) -> None:
        """Take over what boots have shown: serial numbers and times."""
        for board in self._ring.boards:
            if board.identity is None or board.boot_done_s is None:
                continue
            self._boards[board.rank] = replace(
                self._figures_of(board.rank),
                serial=f"{board.identity.board_serial:016x}",
                boot_s=board.boot_done_s - board.boot_started_s,
            )

    def _figures_of(self, rank: int) -> BoardFigures:
        return self._boards.get(rank) or BoardFigures(rank, "", 0.0)

    def _look_after_boards(self) -> None:
        """The warmest temperature and every throttling of the night, by board."""
        for rank, known in list(self._boards.items()):
            with suppress(BoardError):
                health = boards.health(self._ring, rank)
                warmest = max(known.temperature_c or -273.15, health.temperature_mc / 1000)
                self._boards[rank] = replace(known, temperature_c=warmest, throttled=known.throttled | health.throttled)
        self._save(lambda: self._history.update(replace(self._night, boards=self._board_list())))

    def _board_list(self) -> list[BoardFigures]:
        return [self._boards[rank] for rank in sorted(self._boards)]

    # --- keeping -------------------------------------------------------------------------------

    def _keep(self, check: CheckRecord) -> None:
        """Into the history, then onto the terminal: what is shown as ended is kept.

        A check that could not be entered, because the history was busy, is tried again with the next.
        """
        self._lost.append(check)
        self._save(self._flush)
        self._progress.end(check)

    def _flush(self) -> None:
        entered = self._history.check_numbers(self._night.id)  # an interruption may have come right behind an entry
        while self._lost:
            if self._lost[0].number not in entered:
                self._history.add(self._night.id, self._lost[0])
            self._lost.pop(0)

    def _save(self, write: Callable[[], None]) -> None:
        try:
            write()
        except HistoryError as error:
            if isinstance(error.__cause__, sqlite3.Error) and error.__cause__.sqlite_errorcode == sqlite3.SQLITE_BUSY:
                self._progress.line(str(error))
                return
            raise _DiskFull(str(error)) from error

    def _finish(self, stopped: str | None) -> Night:
        """Enter the end, write the pages, say the verdict."""
        self._reserve.unlink(missing_ok=True)
        problems = []
        with suppress(HistoryError):
            self._flush()
        problems += [f"check {check.number} ({check.name}) could not be entered" for check in self._lost]
        night = replace(
            self._history.night(self._night.id), boards=self._board_list(), stopped=stopped,
            ended=_stamp(self._utc()), timeline=self._timeline,
        )  # fmt: skip
        before = self._history.figures(night.rig, night.started, LOOKBACK_NIGHTS)
        night = replace(night, marks=marks_of(before, figures_of(night)))
        try:
            self._history.update(night)
        except HistoryError as error:
            problems.append(str(error))
        problems += write_reports(self._history, self.wish.out, self.folder, night)
        for line in closing_lines(self._history, self.wish.out, self.folder, night, problems):
            self._progress.line(line)
        return replace(night, stopped="; ".join(filter(None, [stopped, *problems])) or None)


def harness_revision() -> str:
    """`0.1.0 3099970abcde`, with `+` behind it when files were changed; the version alone where none is known."""
    number, known = version(), revision()
    return number if known == "unknown" else f"{number} {known}"


class _DiskFull(Exception):
    """What could not be written."""


def _as_full(error: OSError) -> Exception:
    return _DiskFull(str(error)) if error.errno in DISK_FULL else error


def _stamp(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _with_trials(check: CheckRecord, outcome: Outcome, trials: Sequence[Trial]) -> CheckRecord:
    """The check with what its trials on the rig found: counts of all of them, figures of the last that has some."""
    found = [trial.found for trial in trials if trial.found is not None]
    last = found[-1] if found else Result()
    return replace(
        check,
        outcome=outcome,
        seconds=sum(trial.attempt.seconds for trial in trials),
        figures={name: float(value) for name, value in last.figures.items() if abs(value) < float("inf")},
        links=list(sum_links(link for one in found for link in one.links).values()),
        wires=list(sum_wires(wire for one in found for wire in one.wires).values()),
        losses=last.losses,
        golden_losses=last.golden_losses,
        attempts=[trial.attempt for trial in trials],
    )


def _details(first: Trial, retry: Trial, simulated: Trial) -> str:
    parts = [first.detail]
    for name, trial in (("again on the rig", retry), ("on the simulator", simulated)):
        text = trial.attempt.sentence or "passed"
        parts.append(f"{name}: {'as before' if text == first.attempt.sentence else text}")
        parts.append(trial.detail if trial.detail != first.detail else "")
    return "\n".join(filter(None, parts))
