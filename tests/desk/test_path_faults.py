"""Everything that can go wrong between the host and a board, each over real pseudo-terminals.

One row per fault. Each must end within its time in one sentence that names port and rank, with the logs of all boards
kept; the other board goes on, and the next run on the same ports works.
"""

from __future__ import annotations

import random
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from hil.desk.desk import Desk
from hil.errors import HilError, PortError
from hil.line.port import open_device
from hil.protocol.messages import Blob, Command
from hil.rig.specs import BoardSpec, RigConfig
from hil.ring.ring import Ring
from hil.toolchain import Image
from tests.desk.wires import LinkedBoard, LinkedPort
from tests.harness.doubles import Behaviour

BUILD_ID = bytes(range(16))
SERIALS = (0xA0, 0xA1)
BAD = 1
"""The board that has the fault; board 0 is well."""
BOOT_S = 15.0
AWAY_S = 0.6
"""How long a port may stay away, and a write take no byte, in these tests."""


class Table:
    """Two boards on linked ports, and the ring on the host's side."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("hil.desk.desk.RECONNECT_S", AWAY_S)
        monkeypatch.setattr("hil.line.loop.WRITE_LIMIT_S", AWAY_S)
        self.folder = folder
        self.links = [LinkedPort(folder / f"usb-adapter-{rank}") for rank in range(2)]
        self.doubles: list[LinkedBoard] = []
        self.desk: Desk | None = None
        (folder / "image.img").write_bytes(random.Random(5).randbytes(200_000))
        self.image = Image(folder / "image.img", folder / "none.elf", "0" * 64, BUILD_ID, "t", "zig")

    def behave(self, *behaviours: Behaviour, **fields: object) -> None:
        """New doubles on the ports."""
        for double in self.doubles:
            double.close()
        self.doubles = [
            LinkedBoard(BUILD_ID, replace(behaviour), link=link, **fields)  # type: ignore[arg-type]
            for behaviour, link in zip(behaviours, self.links, strict=True)
        ]

    def open(self, serials: tuple[int | None, ...] = (None, None)) -> Ring:
        """Open the ports; doubles are switched on where the harness resets a board."""
        boards = tuple(BoardSpec(r, str(link.path), serials[r]) for r, link in enumerate(self.links))
        self.desk = Desk(RigConfig("table", boards, (), watchdog_s=0), self.folder / "logs", seed=1)
        self.desk.power = _Switch(self)
        return Ring(self.desk)

    def replug_at_half_of_the_image(self, *, runs: bool = False) -> None:
        """The bad board's adapter goes and comes back as another device. runs: its image runs by then."""

        def replug() -> None:
            self.doubles[BAD].unplug()
            self.doubles[BAD] = LinkedBoard(BUILD_ID, Behaviour(), link=self.links[BAD], runs=runs)
            self.doubles[BAD].power_on()

        self.doubles[BAD].behaviour.on_half_image = replug

    def close(self) -> None:
        if self.desk is not None:
            self.desk.close()
            self.desk = None
        for double in self.doubles:
            double.close()
        for link in self.links:
            link.close()


class _Switch:
    """A power back end that switches the doubles on, once each."""

    def __init__(self, table: Table) -> None:
        self._table = table

    def reset(self, board) -> None:
        double = self._table.doubles[board.rank]
        if double._thread.ident is None:
            double.power_on()

    def describe(self) -> str:
        return "switch it on"

    def close(self) -> None:
        pass


@pytest.fixture
def table(tmp_path, monkeypatch):
    made = Table(tmp_path, monkeypatch)
    yield made
    made.close()


def ping(ring: Ring, rank: int, data: bytes = b"are you there") -> None:
    assert ring.boards[rank].command(Command.PING, Blob(data), Blob, timeout_s=BOOT_S).data == data


# --- what is done to the bad board --------------------------------------------------------------


def only_boot(table: Table, ring: Ring) -> None:
    ring.boot(table.image, timeout_s=BOOT_S)


def boot_briefly(table: Table, ring: Ring) -> None:
    ring.boot(table.image, timeout_s=3)


def boot_and_ping(table: Table, ring: Ring) -> None:
    ring.boot(table.image, timeout_s=BOOT_S)
    ping(ring, BAD)


def unplug_while_idle(table: Table, ring: Ring) -> None:
    ring.boot(table.image, timeout_s=BOOT_S)
    table.doubles[BAD].unplug()
    ping(ring, BAD)


def unplug_while_writing(table: Table, ring: Ring) -> None:
    ring.boot(table.image, timeout_s=BOOT_S)
    ring.boards[BAD].port.write(bytes(1_000_000))
    assert ring.boards[BAD].port.outgoing
    table.doubles[BAD].unplug()
    ping(ring, BAD)


def unplug_in_mid_upload(table: Table, ring: Ring) -> None:
    table.doubles[BAD].behaviour.on_half_image = table.doubles[BAD].unplug
    ring.boot(table.image, timeout_s=BOOT_S)


def replug_a_board_that_runs(table: Table, ring: Ring) -> None:
    """The cable was away for the last of the image: the board has all of it, and says nothing of a bootloader."""
    table.replug_at_half_of_the_image(runs=True)
    ring.boot(table.image, timeout_s=3)


@dataclass(frozen=True)
class Fault:
    """A row: what is wrong, what is done, what must be said (after `board 1`)."""

    name: str
    sentence: str
    behaviour: Behaviour = field(default_factory=Behaviour)
    act: Callable[[Table, Ring], None] = only_boot
    serials: tuple[int | None, ...] = (None, None)
    good_boots: bool = True


GARBAGE = random.Random(11).randbytes(1 << 20)
GONE = r": port {port}: (reading|writing) failed: .*; is the adapter still plugged in"
FAULTS = [
    Fault("unplugged mid-boot", GONE, act=unplug_in_mid_upload),
    Fault("away for the end of the upload", r" \({port}\): its port was away while the image was sent, and its "
          r"bootloader did not ask again in 3 s; it may have got all of it", act=replug_a_board_that_runs),
    Fault("unplugged mid-run, idle", GONE, act=unplug_while_idle),
    Fault("unplugged mid-run, in a command", GONE, Behaviour(hang_up_on_ping=True), boot_and_ping),
    Fault("unplugged while writing", GONE, act=unplug_while_writing),
    Fault("two ports swapped", r" \({port}\): has serial number 00000000000000a0, the rig file says 00000000000000a1; "
          r"two ports may be swapped; nothing was loaded", Behaviour(greets=True, serial=SERIALS[0]), serials=SERIALS,
          good_boots=False),
    Fault("wrong board, a bootloader that does not say who it is", r" \({port}\): has serial number 0000000000000077, "
          r"the rig file says 00000000000000a1", Behaviour(serial=0x77), serials=(None, SERIALS[1])),
    Fault("hung write", r": port {port}: took no byte for 0.6 s, \d+ wait to be written",
          Behaviour(stop_reading_in_upload=True)),
    Fault("1 MB of binary garbage", r" \({port}\): 1048576 bytes arrived but no word of the bootloader at 115200 baud",
          Behaviour(only_garbage=GARBAGE), boot_briefly),
    Fault("silent", r" \({port}\): no byte in 3 s; is it powered", Behaviour(silent=True), boot_briefly),
    Fault("silent after boot", r" \({port}\): took the image but did not answer within 3 s",
          Behaviour(silent_after_boot=True), boot_briefly),
    Fault("reboots by itself", r" \({port}\): restarted by itself and waits in its bootloader",
          Behaviour(restart_on_ping=True), boot_and_ping),
    Fault("reboots in mid-upload", r" \({port}\): the board started again in the middle of the upload",
          Behaviour(restart_mid_upload=True)),
]  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_fault_ends_in_one_sentence_and_harms_nobody_else(table, fault):
    good = Behaviour(greets=fault.behaviour.greets, serial=SERIALS[0])
    table.behave(good, replace(fault.behaviour))
    ring = table.open(fault.serials)
    port = str(table.links[BAD].path)
    with pytest.raises(HilError) as caught:
        fault.act(table, ring)
    about_bad = [line for line in str(caught.value).splitlines() if not line.startswith("  to start a board anew")]
    (sentence,) = about_bad
    assert sentence.startswith(f"board {BAD}"), sentence
    assert re.search(fault.sentence.format(port=re.escape(port)), sentence), sentence
    for rank in range(2):
        log = ring.boards[rank].log
        assert log.raw_path.stat().st_size == log.size_bytes, "every byte is kept"
    assert "boot" in ring.boards[0].log.tail(100), "the good board's log is kept"
    if fault.good_boots:
        ping(ring, 0)
    next_run(table, ring)


def next_run(table: Table, ring: Ring) -> None:
    """The same ports, opened again, with boards that are well (and adapters that are plugged in)."""
    assert table.desk is not None
    table.desk.close()
    table.behave(Behaviour(serial=SERIALS[0]), Behaviour(serial=SERIALS[1]))
    again = table.open(SERIALS)
    again.boot(table.image, timeout_s=BOOT_S)
    for rank in range(2):
        ping(again, rank)
        assert table.doubles[rank].complaints == []


def test_missing_port_names_port_and_rank(table):
    table.links[BAD].unplug()
    with pytest.raises(PortError) as caught:
        table.open()
    assert str(caught.value).startswith(
        f"board {BAD}: port {table.links[BAD].path}: does not exist; plug the adapter in"
    )
    table.links[BAD].plug()
    table.behave(Behaviour(), Behaviour())
    table.open().boot(table.image, timeout_s=BOOT_S)


def test_busy_port_names_port_and_rank(table):
    other = open_device(str(table.links[BAD].path), 115200)
    with pytest.raises(PortError) as caught:
        table.open()
    assert str(caught.value).startswith(f"board {BAD}: port {table.links[BAD].path}: is in use by another program")
    other.close()
    table.behave(Behaviour(), Behaviour())
    table.open().boot(table.image, timeout_s=BOOT_S)


def test_board_that_is_unplugged_mid_boot_and_plugged_back_boots(table):
    """The adapter enumerates anew as another device; the board has started again with it."""
    table.behave(Behaviour(), Behaviour())
    table.replug_at_half_of_the_image()
    ring = table.open()
    ring.boot(table.image, timeout_s=BOOT_S)
    ping(ring, BAD)
    assert table.doubles[BAD].image == table.image.path.read_bytes()
    assert "came back after" in ring.boards[BAD].log.path.read_text()


def test_board_that_is_unplugged_mid_run_and_plugged_back_goes_on(table):
    """The adapter's cable is pulled and put back within the time; the board has kept running."""
    table.behave(Behaviour(), Behaviour())
    ring = table.open()
    ring.boot(table.image, timeout_s=BOOT_S)
    ping(ring, BAD)
    before = ring.boards[BAD].log.size_bytes
    table.doubles[BAD].unplug()
    assert ring.boards[BAD].wait_until(lambda: ring.boards[BAD].port.lost is not None, BOOT_S)

    def plug_back() -> None:
        table.doubles[BAD] = LinkedBoard(BUILD_ID, Behaviour(), link=table.links[BAD], runs=True)
        table.doubles[BAD].power_on()

    timer = threading.Timer(0.2, plug_back)
    timer.start()
    ping(ring, BAD)
    timer.join()
    assert ring.boards[BAD].log.raw_path.stat().st_size == ring.boards[BAD].log.size_bytes > before


def test_a_megabyte_of_garbage_in_mid_run_is_kept_and_the_command_is_answered(table):
    table.behave(Behaviour(), Behaviour(garbage_on_ping=GARBAGE))
    ring = table.open()
    ring.boot(table.image, timeout_s=BOOT_S)
    ping(ring, BAD)
    ping(ring, 0)
    raw = ring.boards[BAD].log.raw_path.read_bytes()
    assert GARBAGE in raw
    assert ring.boards[BAD].junk_bytes > len(GARBAGE) * 0.9


def test_garbage_has_no_word_that_would_make_the_table_lie():
    for word in (0x11112222, 0xDDDDEEEE):
        assert word.to_bytes(4, "little") not in GARBAGE
