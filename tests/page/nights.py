"""Plausible nights from a seed: what the page's tests look at. Nothing here was measured on any rig."""

from __future__ import annotations

import dataclasses
import datetime
import math
import random
from collections.abc import Sequence
from typing import Any

from hil.checks.model.mismatch import MapRow
from hil.nightly.record import (
    Attempt,
    BoardFigures,
    Cause,
    CheckKind,
    CheckRecord,
    Failure,
    LinkFigures,
    LogLine,
    Night,
    Outcome,
    WireFigures,
)
from hil.rig.pins import WIRE_NAMES
from hil.timeline.spans import Span, Timeline

FIRST = datetime.datetime(2026, 10, 1, 1, 0, tzinfo=datetime.UTC)
WORN = ("1->2", "D3")
"""The wire that degrades."""
WORN_FROM = 20
"""Night, counted from 1, on which it starts."""
HOSTILE = (
    "<script>alert('x')</script>",
    "\x1b[31mred\x1b[0m \x1b]0;title\x07",
    "nul \x00 backspace \x08 delete \x7f csi \x9b1m",
    "right to left \u202egnp.exe zero\u200bwidth",
    "]]> &amp; \"quoted\" 'single' {{ 7 * 7 }} {% raw %}",
    "lone surrogate \udc80 and astral \U0001f9ea",
    "<img src=http://example.invalid/x.png onerror=alert(1)>",
)


def stamp(moment: datetime.datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"


def links_of(world_size: int) -> list[str]:
    return [f"{rank}->{(rank + 1) % world_size}" for rank in range(world_size)]


class Maker:
    """Makes the nights of one rig, one after the other."""

    def __init__(self, seed: int, world_size: int = 4, rig: str = "desk") -> None:
        self.random = random.Random(seed)
        self.world_size = world_size
        self.rig = rig
        self.links = links_of(world_size)

    def worn_rate(self, night: int) -> float:
        """Bit error rate of the worn wire: it doubles every night."""
        return 5e-9 * 2 ** (night - WORN_FROM) if night >= WORN_FROM else 0.0

    def errors(self, rate: float, bits: int) -> int:
        mean = rate * bits
        if mean > 50:
            return max(0, round(self.random.gauss(mean, math.sqrt(mean))))
        limit, count, product = math.exp(-mean), 0, self.random.random()
        while product > limit:
            count += 1
            product *= self.random.random()
        return count

    def link_check(self, base: dict[str, Any], link: str, night: int) -> CheckRecord:
        bits = 200_000_000
        wires = [
            WireFigures(link, name, bits, self.errors(self.worn_rate(night) if (link, name) == WORN else 0.0, bits))
            for name in WIRE_NAMES[:8]
        ]
        wrong = sum(wire.errors for wire in wires)
        figures = LinkFigures(
            link, bits, bits // 2048, resends=min(wrong, 900), timeouts=0,
            throughput_kb_s=self.random.gauss(214, 0.8) * (0.995 if wrong else 1.0),
            phases_us={"ACK high": [1.0, 1.5, 2.0 + self.random.random()], "ACK low": [0.9, 1.2, 1.9]},
        )  # fmt: skip
        return CheckRecord(
            name=f"link {link}", kind=CheckKind.LINK, outcome=Outcome.PASSED, links=[figures], wires=wires,
            figures={"kb_s": figures.throughput_kb_s}, **base,
        )  # fmt: skip

    def check(self, kind: CheckKind, base: dict[str, Any], night: int) -> CheckRecord:
        gauss = self.random.gauss
        figures: dict[str, float] = {}
        losses: list[float] = []
        if kind is CheckKind.BOOT:
            figures = {"boot_s": gauss(6.84, 0.01), "skew_s": abs(gauss(0.0137, 0.001))}
        elif kind is CheckKind.LAYERS:
            figures = {"taps": 5824, "taps_equal": 5824}
        elif kind is CheckKind.GRADIENTS:
            figures = {"taps": 1216, "taps_equal": 1216}
        elif kind is CheckKind.GENERATION:
            slow = 0.88 if night == 17 else 1.0
            figures = {"tokens_s": gauss(326, 1.5) * slow, "taps": 5824, "taps_equal": 5824}
        elif kind is CheckKind.TRAINING:
            losses = [4.1 * 0.83**step + 0.2 for step in range(10)]
            figures = {"step_s": gauss(0.412, 0.002), "taps": 9120, "taps_equal": 9120}
        return CheckRecord(
            name=kind.value, kind=kind, outcome=Outcome.PASSED, figures=figures,
            losses=losses, golden_losses=list(losses), **base,
        )  # fmt: skip

    def checks(self, night: int, rounds: int, begin: datetime.datetime) -> list[CheckRecord]:
        made: list[CheckRecord] = []
        at = begin
        for number in range(1, rounds + 1):
            for kind in CheckKind:
                for link in self.links if kind is CheckKind.LINK else [""]:
                    seconds = round(self.random.uniform(2, 40), 3)
                    base: dict[str, Any] = {
                        "number": len(made) + 1, "round": number, "seed": self.random.randrange(1 << 32),
                        "started": stamp(at), "seconds": seconds,
                    }  # fmt: skip
                    at += datetime.timedelta(seconds=seconds)
                    made.append(self.link_check(base, link, night) if link else self.check(kind, base, night))
        return made

    def timeline(self) -> Timeline:
        spans, at = [], 0.0
        for micro in range(4):
            at = 0.012 * micro
            for rank in [self.world_size - 1, *range(self.world_size - 1)]:
                work = 0.008 + 0.002 * self.random.random()
                spans.append(Span(rank, "wait", "for the hop", max(0.0, at - 0.003), at))
                spans.append(Span(rank, "receive", f"hop {micro}", at, at + 0.001))
                spans.append(Span(rank, "compute", f"layer {rank}", at + 0.001, at + work))
                spans.append(Span(rank, "send", f"hop {micro}", at + work, at + work + 0.001))
                at += work + 0.001
            spans.append(Span(self.world_size - 1, "host", "token", at, at + 0.0006))
        return Timeline("one step of training", spans, 1.3e-6)

    def night(self, number: int, rounds: int = 2) -> Night:
        begin = FIRST + datetime.timedelta(days=number - 1)
        checks = self.checks(number, rounds, begin)
        gauss = self.random.gauss
        boards = [
            BoardFigures(rank, f"00000000b0a2d{rank:03x}", gauss(6.84, 0.01), gauss(41.5, 0.7))
            for rank in range(self.world_size)
        ]
        firmware = "9bf75f90c962" if number < 12 else "41d7aa03e5b1"
        return Night(
            id=f"{begin:%Y-%m-%d}-{self.rig}", rig=self.rig, simulated=self.rig == "sim", world_size=self.world_size,
            profile="full", seed=self.random.randrange(1 << 32), started=stamp(begin),
            ended=stamp(begin + datetime.timedelta(seconds=sum(check.seconds for check in checks) + 60)), stopped=None,
            harness="0.1.0", firmware_sha256=firmware + "0" * 52, firmware_git=firmware[:12], compiler="zig",
            model="tiny", boards=boards, checks=checks, timeline=self.timeline(),
        )  # fmt: skip


def history(count: int = 30, seed: int = 0x5EED) -> list[Night]:
    """Nights of one rig, oldest first; WORN degrades from night WORN_FROM on."""
    maker = Maker(seed)
    return [maker.night(number) for number in range(1, count + 1)]


def waveform() -> dict[str, Any]:
    """A handshake that stops: CLK stays high and ACK never answers."""
    return {
        "head": {"text": "link 1->2, the last 10 edges"},
        "signal": [
            {"name": "D0-7", "wave": "=..=...=..", "data": ["0xa5", "0x13", "0x7f"]},
            {"name": "CLK", "wave": "010.1.0.1."},
            {"name": "ACK", "wave": "1.0.1.0..."},
            {"name": "ACK far", "wave": "1.0.1.0x.z"},
        ],
        "foot": {"tick": [0, 0.4, 0.9, 1.3, 1.7, 2.2, 2.6, 3.1, 3.5, 13.5], "text": "microseconds"},
    }


def logs(world_size: int, extra: Sequence[str] = ()) -> list[LogLine]:
    lines = [
        LogLine(
            rank, 4.51 + 0.01 * number + 0.003 * rank, f"+{127 + number:08d} response SERVE #{number} job=1 rank={rank}"
        )
        for number in range(6)
        for rank in range(world_size)
    ]
    return sorted(
        lines + [LogLine(1, 4.6 + 0.001 * n, text) for n, text in enumerate(extra)], key=lambda line: line.time_s
    )


def failure(cause: Cause, world_size: int = 4, extra: Sequence[str] = ()) -> Failure:
    """A failure put down to `cause`, with everything a failure can carry."""
    sentences = {
        Cause.WIRING: "link 1->2: byte 1375 of 2052 stopped after 10.0 ms\n"
        "  board 1: CLK raised, waiting for ACK      GPLEV 0x01a30000\n"
        "  board 2: waiting for CLK                  GPLEV 0x00000a30\n"
        "  so:      the CLK wire does not carry its level: "
        "link 1->2 CLK: board 1 GPIO24 (pin 18) -> board 2 GPIO12 (pin 32)",
        Cause.BOARD: "board 2 (/dev/ttyUSB2): no answer to JOB_ABORT after 8 tries; log: logs/pi2.log",
        Cause.FIRMWARE: "op FFN_DOWN of layer 3 on board 1 differs at position 17, index 204",
        Cause.HARNESS: "no space left on device: build/hil/nightly/pi3.raw",
        Cause.NOT_REPRODUCED: "link 3->0: frame 77 of 4096 had a wrong checksum twice",
    }
    rows = [MapRow(f"layer {layer} {op}", "=" * 17 + "x" * 3 + "?" * 12 if layer >= 3 else "=" * 32)
            for layer in range(5) for op in ("QUERY", "FFN_DOWN")]  # fmt: skip
    replay = "pytest 'hil/suite/test_link.py::test_patterns[1-2]' --hil-rig=desk.toml --hil-seed=0x5eed"
    wave = waveform() if cause in (Cause.WIRING, Cause.NOT_REPRODUCED) else None
    detail = "GPLEV of all boards:\n  0x01a30000\n  0x00000a30" if cause is Cause.WIRING else ""
    shown = rows if cause is Cause.FIRMWARE else []
    return Failure(sentences[cause], cause, replay, logs(world_size, extra), wave, shown, detail)


def broken(night: Night, number: int, fault: Failure, outcome: Outcome = Outcome.FAILED) -> Night:
    """The night with check `number` failed, or flaky."""
    first = Attempt("rig", False, 3.2, fault.sentence)
    again = Attempt("rig", outcome is Outcome.FLAKY, 3.1, "" if outcome is Outcome.FLAKY else fault.sentence)
    more = [] if outcome is Outcome.FLAKY else [Attempt("simulator", True, 1.0)]
    checks = [
        check if check.number != number else dataclasses.replace(
            check, outcome=outcome, sentence=fault.sentence, failure=fault, attempts=[first, again, *more]
        )
        for check in night.checks
    ]  # fmt: skip
    return dataclasses.replace(night, checks=checks)


def bad_night(seed: int = 7, extra: Sequence[str] = HOSTILE) -> Night:
    """A failure of each cause, a flaky check, skipped ones, a loss that leaves the golden's, resets."""
    maker = Maker(seed)
    night = maker.night(WORN_FROM + 4, rounds=3)
    numbers = [check.number for check in night.checks if check.round == 2]
    for number, cause in zip(
        numbers, (Cause.HARNESS, Cause.WIRING, Cause.WIRING, Cause.WIRING, Cause.BOARD), strict=False
    ):
        night = broken(night, number, failure(cause, extra=extra))
    night = broken(night, numbers[6], failure(Cause.FIRMWARE))
    night = broken(night, numbers[5], failure(Cause.NOT_REPRODUCED), Outcome.FLAKY)
    night = broken(night, night.checks[5].number, failure(Cause.NOT_REPRODUCED), Outcome.FLAKY)
    last = night.checks[-1]
    losses = [*last.losses[:6], *(loss * 1.07 for loss in last.losses[6:9]), math.nan]
    changed = {
        last.number: dataclasses.replace(last, losses=losses),
        numbers[7]: dataclasses.replace(
            night.checks[numbers[7] - 1], outcome=Outcome.SKIPPED, sentence="board 2 is dead", figures={}
        ),
    }
    boards = [
        dataclasses.replace(board, resets=2, retries=3, throttled=1, temperature_c=None) if board.rank == 2 else board
        for board in night.boards
    ]
    return dataclasses.replace(
        night, boards=boards, checks=[changed.get(check.number, check) for check in night.checks]
    )


def partial_night(seed: int = 8) -> Night:
    """Ctrl-C after some checks; no timeline."""
    night = Maker(seed).night(2)
    return dataclasses.replace(night, stopped="interrupted by Ctrl-C", checks=night.checks[:6], timeline=None)


def killed_night(seed: int = 9) -> Night:
    """The process was killed: no end, no boards' figures."""
    night = Maker(seed).night(3)
    return dataclasses.replace(night, ended=None, checks=night.checks[:4], timeline=None, boards=[])


def empty_night() -> Night:
    """Nothing was tested at all."""
    return dataclasses.replace(killed_night(), checks=[])


def hostile_night(seed: int = 10) -> Night:
    """Every text that comes from outside is hostile."""
    evil = " ".join(HOSTILE)
    night = broken(
        bad_night(seed),
        1,
        dataclasses.replace(failure(Cause.BOARD, extra=HOSTILE), sentence=evil, replay=evil, detail=evil),
    )
    boards = [dataclasses.replace(board, serial=evil) for board in night.boards]
    checks = [dataclasses.replace(night.checks[0], name=evil), *night.checks[1:]]
    spans = [dataclasses.replace(span, label=evil) for span in night.timeline.spans] if night.timeline else []
    return dataclasses.replace(
        night, id="../../" + evil, rig=evil, harness=evil, firmware_git=evil, compiler=evil, model=evil, stopped=evil,
        boards=boards, checks=checks, timeline=Timeline(evil, spans, 1e-6),
    )  # fmt: skip


def big_night(count: int = 10_000, seed: int = 11, failed: int = 300) -> Night:
    """A night of many checks, of which `failed` failed with all that a failure can carry."""
    maker = Maker(seed)
    per_round = len(CheckKind) - 1 + maker.world_size
    night = maker.night(1, rounds=-(-count // per_round))
    causes = list(Cause)
    fault = {cause: failure(cause, extra=HOSTILE) for cause in causes}
    checks = []
    for check in night.checks[:count]:
        if check.number % (count // failed) == 0:
            cause = causes[check.number % len(causes)]
            check = dataclasses.replace(
                check, outcome=Outcome.FAILED, failure=fault[cause], sentence=fault[cause].sentence,
                attempts=[Attempt("rig", False, 1.0, fault[cause].sentence)] * 2,
            )  # fmt: skip
        checks.append(check)
    return dataclasses.replace(night, checks=checks)
