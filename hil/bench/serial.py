"""`hil bench serial`: round trip of a command, bytes per second and bytes lost, on pseudo-terminals of another process.

The whole path is measured: pyserial, the loop, the board's frames and logs. The boot's share of the line rate is that
of a simulated board, in virtual time.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
import tty
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from hil.bench import serial_peer
from hil.bench.report import host_cpu, tell
from hil.commands.options import add_shared, on_rig
from hil.desk.desk import Desk
from hil.errors import BoardError
from hil.protocol.messages import Blob, Command
from hil.rig.specs import BoardSpec, RigConfig, sim_rig
from hil.session import Session
from hil.toolchain import Image

ROUND_TRIPS = 3000
PING_BYTES = 16
PORTS = 4
FLOOD_BYTES = 8_000_000
"""Per port."""
FLOOD_LIMIT_S = 300.0
BOOT_BAUDS = (115200, 3_000_000)


@contextlib.contextmanager
def terminals(count: int, folder: Path) -> Iterator[tuple[list[int], Desk]]:
    """(masters, desk): pseudo-terminals, and a desk that has their other ends open."""
    pairs = [os.openpty() for _ in range(count)]
    try:
        for master, slave in pairs:
            tty.setraw(master)
            tty.setraw(slave)
        boards = tuple(BoardSpec(rank, os.ttyname(slave)) for rank, (_, slave) in enumerate(pairs))
        with Desk(RigConfig("bench-serial", boards, (), watchdog_s=0), folder, seed=1) as desk:
            yield [master for master, _ in pairs], desk
    finally:
        for descriptor in (fd for pair in pairs for fd in pair):
            os.close(descriptor)


@contextlib.contextmanager
def peer(*words: object, descriptors: list[int]) -> Iterator[subprocess.Popen[str]]:
    """The process at the other end."""
    command = [sys.executable, "-m", serial_peer.__name__, *map(str, words)]
    process = subprocess.Popen(command, pass_fds=descriptors, stdout=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def round_trips_ms(count: int, folder: Path) -> list[float]:
    """Wall milliseconds of `count` PINGs one after the other."""
    image_file = folder / "image"
    image_file.write_bytes(bytes(64))
    image = Image(image_file, folder / "none", "", serial_peer.BUILD_ID, "", "none")
    with terminals(1, folder) as (masters, desk), peer("echo", masters[0], descriptors=masters):
        board = desk.boards[0]
        board.begin_boot(image)
        if not board.wait_until(lambda: board.booted, 60.0):
            raise BoardError(board.dead or board.boot_problem(60.0))
        times = []
        for number in range(count):
            data = number.to_bytes(PING_BYTES, "little")
            started = time.perf_counter()
            answer = board.command(Command.PING, Blob(data), Blob)
            times.append((time.perf_counter() - started) * 1000)
            if answer.data != data:
                raise BoardError(f"{board}: echoed {answer.data.hex()} for {data.hex()}")
        return times


def flood(count: int, folder: Path, *, seed: int) -> tuple[float, int]:
    """(megabytes of 10^6 bytes per second, bytes lost) of `count` bytes on each of four ports at once.

    A raw log that has all bytes but not the same ones counts as lost altogether.
    """
    with terminals(PORTS, folder) as (masters, desk):
        started = time.perf_counter()
        with peer("flood", count, seed, *masters, descriptors=masters) as process:
            desk.loop.run_until(lambda: all(b.log.size_bytes >= count for b in desk.boards), FLOOD_LIMIT_S)
            seconds = time.perf_counter() - started
            assert process.stdout is not None
            complete = all(board.log.size_bytes >= count for board in desk.boards)
            sent = process.stdout.readline().split() if complete else [""] * PORTS
        logs = [board.log.raw_path for board in desk.boards]
    lost = 0
    for log, expected in zip(logs, sent, strict=True):
        content = log.read_bytes()
        missing = count - len(content)
        lost += missing if missing or hashlib.sha256(content).hexdigest() == expected else count
    return PORTS * count / seconds / 1e6, lost


def boot_share(session: Session, baud: int, folder: Path) -> float:
    """Time of the image's bits at the line rate, over the time of its upload, on a simulated board."""
    other = Session(replace(session.settings, rig="sim", world_size=1, logs=folder / "boot", work=folder / "work"))
    other.config = replace(sim_rig(1), baud=baud)
    ring = other.open_ring(shards=False)
    with ring.desk:
        return ring.boot(other.image("ring")).line_shares[0]


def add_verb(parser: argparse.ArgumentParser) -> None:
    """Declare `hil bench serial`."""
    add_shared(parser, "json")
    on_rig(parser, bench_serial)


def bench_serial(session: Session, options: argparse.Namespace) -> int:
    """Measure and print; 1 if a byte was lost."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        times = round_trips_ms(ROUND_TRIPS, folder)
        mb_s, lost = flood(FLOOD_BYTES, folder, seed=session.settings.seed)
        shares = {baud: boot_share(session, baud, folder) for baud in BOOT_BAUDS}
    figures = {
        "rtt_ms": round(statistics.median(times), 4),
        "rtt_99_ms": round(sorted(times)[len(times) * 99 // 100], 4),
        "mb_s": round(mb_s, 2),
        "lost": lost,
        **{f"boot_share_{baud}": round(share, 4) for baud, share in shares.items()},
        "cpu": host_cpu(),
    }
    notes = {
        "rtt_ms": f"median of {ROUND_TRIPS} PINGs on a pseudo-terminal",
        "rtt_99_ms": "of 100 PINGs, 99 are quicker",
        "mb_s": f"{PORTS} ports at once, {FLOOD_BYTES:,} bytes each, into the raw logs, 10^6 bytes per second",
        "lost": "bytes written that are not in the raw logs",
        "boot_share_115200": "of the line rate, while an image goes to a simulated board",
    }
    tell(figures, options, notes)
    return 1 if lost else 0
