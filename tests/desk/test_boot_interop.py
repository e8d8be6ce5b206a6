"""The boot protocol from its description, docs/protocol.md section 1, both ways.

Our bootloader is driven word by word by a host written here, and our host meets a board written here. Neither uses
hil/protocol/boot.py.
"""

from __future__ import annotations

import itertools
import os
import struct
import threading
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hil.desk.desk import Desk
from hil.model.card import write_card
from hil.rig.specs import BoardSpec, RigConfig
from hil.sim import BoardConfig, Netlist, Simulation
from hil.toolchain import build_image
from tests.desk.wires import LinkedPort
from tests.sim.programs import assemble

GET_PROG_INFO, PUT_PROG_INFO = 0x11112222, 0x33334444
GET_CODE, PUT_CODE = 0x55556666, 0x77778888
BOOT_SUCCESS, BOOT_ERROR, PRINT_STRING = 0x9999AAAA, 0xBBBBCCCC, 0xDDDDEEEE
SAYS_HELLO = """
main:
    mov r0, #26
    mov r1, #3
    bl uart_init
    mov r0, #'!'
    bl putc
    b stop
"""
MS = 1_000_000
MORE_THAN_A_MEGABYTE = 0x200000 - 0x8000 + 1


def word(value: int) -> bytes:
    return struct.pack("<I", value)


class Host:
    """A host at a simulated board's serial line that knows nothing but the words."""

    def __init__(self, sim: Simulation) -> None:
        self.sim = sim
        self.said = b""
        self.printed: list[bytes] = []

    def write(self, data: bytes, *, gap_ms: float = 0) -> None:
        for byte in data if gap_ms else ():
            self.sim.uart_write(0, bytes([byte]))
            self.sim.run(self.sim.time_ns + int(gap_ms * MS))
        if not gap_ms:
            self.sim.uart_write(0, data)

    def byte(self, limit_ms: int) -> int:
        until = self.sim.time_ns + limit_ms * MS
        while not self.said:
            assert self.sim.time_ns < until, f"nothing within {limit_ms} ms"
            self.sim.run(until, stop_on_rx=[0])
            self.said += self.sim.uart_read(0)
        first, self.said = self.said[0], self.said[1:]
        return first

    def word(self, limit_ms: int = 4000) -> int:
        """The next word; texts between are kept in `printed`."""
        while (value := int.from_bytes(bytes(self.byte(limit_ms) for _ in range(4)), "little")) == PRINT_STRING:
            size = int.from_bytes(bytes(self.byte(100) for _ in range(4)), "little")
            assert size <= 1024
            self.printed.append(bytes(self.byte(100) for _ in range(size)))
        return value

    def expect(self, value: int) -> None:
        while (got := self.word()) == GET_PROG_INFO and value != GET_PROG_INFO:
            pass  # one may have been on its way
        assert got == value, f"{got:#x} instead of {value:#x}; {self.printed}"

    def offer(self, address: int, size: int, crc: int) -> None:
        self.write(word(PUT_PROG_INFO) + word(address) + word(size) + word(crc))


@pytest.fixture(scope="module")
def kernel() -> Path:
    return build_image("kernel").path


@pytest.fixture
def host(tmp_path, kernel) -> Iterator[Host]:
    card = write_card(tmp_path / "card", kernel=kernel, shard=None, rank=0)
    with Simulation([BoardConfig(card.directory, serial=0xABC)], Netlist([]), seed=1) as sim:
        sim.power_on(0)
        yield Host(sim)


@pytest.fixture
def image() -> bytes:
    return assemble(SAYS_HELLO)


def load(host: Host, image: bytes, **how: float) -> None:
    host.expect(GET_PROG_INFO)
    host.offer(0x8000, len(image), zlib.crc32(image))
    host.expect(GET_CODE)
    assert host.word() == zlib.crc32(image)
    host.write(word(PUT_CODE) + image, **how)
    host.expect(BOOT_SUCCESS)
    assert host.byte(1000) == ord("!"), "the image runs"


def test_bootloader_loads_an_image(host, image):
    load(host, image)
    assert host.printed == [b"board serial 0000000000000abc, reset status 0x00001000\n"]


def test_bootloader_asks_every_300_ms_until_it_is_answered(host):
    times = []
    for _ in range(5):
        host.expect(GET_PROG_INFO)
        times.append(host.sim.time_ns / MS)
    gaps = [after - before for before, after in itertools.pairwise(times)]
    assert all(299 < gap < 310 for gap in gaps), gaps


def test_bootloader_takes_a_byte_every_millisecond(host, image):
    load(host, image[:600].ljust(600, b"\0") if len(image) > 600 else image, gap_ms=1)


def test_bootloader_skips_junk_between_words(host, image):
    host.expect(GET_PROG_INFO)
    host.write(bytes(range(256)) + word(PUT_CODE) + word(PUT_PROG_INFO)[:3])
    host.offer(0x8000, len(image), zlib.crc32(image))
    host.expect(GET_CODE)
    host.word()
    host.write(b"\x88\x77junk" + word(PUT_CODE) + image)
    host.expect(BOOT_SUCCESS)
    assert host.byte(1000) == ord("!")


def test_bootloader_finds_a_wrong_crc_and_asks_again(host, image):
    host.expect(GET_PROG_INFO)
    host.offer(0x8000, len(image), zlib.crc32(image))
    host.expect(GET_CODE)
    host.word()
    host.write(word(PUT_CODE) + image[:-1] + bytes([image[-1] ^ 1]))
    host.expect(BOOT_ERROR)
    assert host.printed[-1].startswith(b"boot: CRC is 0x")
    load(host, image)


@pytest.mark.parametrize(
    ("address", "size"), [(0x9000, 100), (0x8000, 0), (0x8000, MORE_THAN_A_MEGABYTE), (0x200000, 100), (0, 0x8000)]
)
def test_bootloader_refuses_what_cannot_fit_and_asks_again(host, image, address, size):
    host.expect(GET_PROG_INFO)
    host.offer(address, size, 1)
    host.expect(BOOT_ERROR)
    assert b"only images at 0x8000 that end below 0x200000 fit" in host.printed[-1]
    load(host, image)


@pytest.mark.parametrize("part", ["no code", "half the code"])
def test_bootloader_gives_up_on_bytes_that_stop_and_asks_again(host, image, part):
    host.expect(GET_PROG_INFO)
    host.offer(0x8000, len(image), zlib.crc32(image))
    host.expect(GET_CODE)
    host.word()
    host.write(b"" if part == "no code" else word(PUT_CODE) + image[: len(image) // 2])
    begin_ns = host.sim.time_ns
    host.expect(BOOT_ERROR)
    assert 1990 < (host.sim.time_ns - begin_ns) / MS < 2200
    load(host, image)


def test_half_an_offer_is_no_offer(host, image):
    host.expect(GET_PROG_INFO)
    host.write(word(PUT_PROG_INFO) + word(0x8000))
    load(host, image)


# --- our host, and a board from the description ---------------------------------------------------


class Board:
    """A board's bootloader on a terminal, in a thread: `script(board)` does what it likes."""

    def __init__(self, port: LinkedPort, script: Callable[[Board], None]) -> None:
        assert port.master is not None
        self._master = port.master
        self.offer = (0, 0, 0)
        self.image = b""
        self.problem: BaseException | None = None
        self._thread = threading.Thread(target=self._run, args=(script,), daemon=True)

    def start(self) -> None:
        self._thread.start()

    def join(self) -> None:
        self._thread.join(timeout=20)
        assert self.problem is None, self.problem

    def _run(self, script: Callable[[Board], None]) -> None:
        try:
            script(self)
        except BaseException as error:
            self.problem = error

    def send(self, data: bytes, *, dribble: bool = False) -> None:
        for part in [bytes([byte]) for byte in data] if dribble else [data]:
            os.write(self._master, part)

    def read(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            data += os.read(self._master, count - len(data))
        return data

    def say(self, text: bytes, *, dribble: bool = False) -> None:
        self.send(word(PRINT_STRING) + word(len(text)) + text, dribble=dribble)

    def take_offer(self) -> None:
        assert self.read(4) == word(PUT_PROG_INFO)
        self.offer = struct.unpack("<3I", self.read(12))

    def take_image(self) -> None:
        assert self.read(4) == word(PUT_CODE)
        self.image = self.read(self.offer[1])
        assert zlib.crc32(self.image) == self.offer[2]


@pytest.fixture
def meet(tmp_path, plug):
    """meet(script) -> (board, double) after our host has tried to boot 3000 bytes on it."""
    made = []

    def run(script: Callable[[Board], None]):
        port = plug(LinkedPort(tmp_path / "port"))
        double = Board(port, script)
        desk = Desk(RigConfig("meet", (BoardSpec(0, str(port.path)),), ()), tmp_path / "logs", seed=1)
        made.append(desk)
        (tmp_path / "theirs.img").write_bytes(bytes(range(250)) * 12)
        board = desk.boards[0]
        board.begin_program(tmp_path / "theirs.img")
        double.start()
        board.wait_until(lambda: board.boot_begun and board.boot_state.value == "booted", 20)
        return board, double

    yield run
    for desk in made:
        desk.close()


@pytest.mark.parametrize("dribble", [False, True], ids=["whole words", "byte by byte"])
def test_host_hears_texts_at_every_point(meet, dribble):
    def script(board: Board) -> None:
        board.send(b"\xfe\x22junk", dribble=dribble)
        board.say(b"hello", dribble=dribble)
        board.send(word(GET_PROG_INFO), dribble=dribble)
        board.take_offer()
        board.say(b"offer seen", dribble=dribble)
        board.send(word(GET_CODE) + word(board.offer[2]), dribble=dribble)
        board.say(b"and now the code", dribble=dribble)
        board.take_image()
        board.say(b"x" * 1024, dribble=dribble)
        board.say(b"", dribble=dribble)
        board.send(word(BOOT_SUCCESS), dribble=dribble)
        board.send(b"I run\n", dribble=dribble)

    board, double = meet(script)
    double.join()
    assert double.offer[:2] == (0x8000, 3000)
    board.expect("I run", timeout_s=20)
    log = board.log.path.read_text()
    for text in ("hello", "offer seen", "and now the code", "x" * 1024):
        assert f"boot     says: {text}" in log


@pytest.mark.parametrize(
    ("where", "sentence"),
    [("offer", "refuses an image of 3000 bytes at 0x8000"), ("image", "the image arrived damaged")],
)
@pytest.mark.parametrize("dribble", [False, True], ids=["whole words", "byte by byte"])
def test_host_understands_error_answers(meet, where, sentence, dribble):
    def script(board: Board) -> None:
        board.send(word(GET_PROG_INFO), dribble=dribble)
        board.take_offer()
        if where == "image":
            board.send(word(GET_CODE) + word(board.offer[2]), dribble=dribble)
            board.take_image()
        board.say(b"no, thank you", dribble=dribble)
        board.send(word(BOOT_ERROR), dribble=dribble)

    board, double = meet(script)
    double.join()
    assert sentence in str(board.dead)
    assert 'the board says: "no, thank you"' in str(board.dead)


def test_host_stops_at_a_crc_that_came_back_wrong(meet):
    def script(board: Board) -> None:
        board.send(word(GET_PROG_INFO))
        board.take_offer()
        board.send(word(GET_CODE) + word(board.offer[2] ^ 0x80))

    board, double = meet(script)
    double.join()
    assert "the serial line damages bytes" in str(board.dead)
    assert double.image == b""
