"""One board over a real pseudo-terminal: boots, answers exactly once, and fails in one sentence."""

from pathlib import Path

import pytest

from hil.board.board import Board
from hil.errors import BoardError
from hil.line.log import BoardLog
from hil.line.loop import Loop, WallWaiter
from hil.protocol.messages import Blob, Command
from hil.rig.specs import BoardSpec
from hil.toolchain import Image
from tests.harness.doubles import Behaviour, BoardDouble

BUILD_ID = bytes(range(16))


@pytest.fixture
def image(tmp_path: Path) -> Image:
    path = tmp_path / "image.img"
    path.write_bytes(bytes(range(256)) * 8)
    return Image(
        path=path, elf=tmp_path / "none.elf", sha256="0" * 64, build_id=BUILD_ID, git_revision="t", compiler="zig"
    )


@pytest.fixture
def bench(tmp_path, image):
    """bench(behaviour, serial) -> (board, double): a double on a port, a Board on the other side, booting."""
    made = []

    def make(behaviour: Behaviour | None = None, serial: int | None = None):
        double = BoardDouble(BUILD_ID, behaviour or Behaviour())
        loop = Loop(WallWaiter())
        log = BoardLog(tmp_path / "logs", 0)
        board = Board(BoardSpec(0, double.path, serial), loop, log, 115200, session=7)
        made.append((double, loop, log))
        board.begin_boot(image)
        double.power_on()
        return board, double, loop

    yield make
    for double, loop, log in made:
        loop.close()
        double.close()
        log.close()


def boot(board: Board, loop: Loop, timeout_s: float = 20.0) -> None:
    loop.run_until(lambda: board.booted or board.dead is not None, timeout_s)


def test_board_boots_and_echoes(bench, image):
    board, double, loop = bench()
    boot(board, loop)
    assert board.booted, board.dead
    assert double.image == image.path.read_bytes()
    assert board.command(Command.PING, Blob(b"abc"), Blob).data == b"abc"
    assert double.complaints == []


def test_text_before_the_bootloader_is_kept_in_the_log(bench):
    board, _, loop = bench(Behaviour(before_boot=b"\r\nRaspberry Pi Bootcode\x1b[31m\r\n"))
    boot(board, loop)
    assert board.booted
    assert "Raspberry Pi Bootcode\\x1b[31m" in board.log.tail(100)


def test_raw_log_has_every_byte(bench):
    board, _, loop = bench(Behaviour(before_boot=b"noise\xff\x00"))
    boot(board, loop)
    raw = board.log.raw_path.read_bytes()
    assert raw.startswith(b"noise\xff\x00\x22\x22\x11\x11")
    assert len(raw) == board.log.size_bytes


@pytest.mark.parametrize(
    ("behaviour", "sentence"),
    [
        (
            Behaviour(refuse_offer=b"image too large"),
            r'refuses an image of 2048 bytes at 0x8000 \(the board says: "image',
        ),
        (Behaviour(crc_echo_xor=1), "the serial line damages bytes"),
        (Behaviour(report_damage=True), "arrived damaged"),
        (Behaviour(restart_mid_upload=True), "started again in the middle of the upload"),
        (Behaviour(build_id=b"\xee" * 16), "runs build eeeeeeeeeeee, but 000102030405 was sent"),
        (Behaviour(protocol=99), "speaks protocol 99"),
    ],
)
def test_boot_that_fails_says_why_and_where_the_log_is(bench, behaviour, sentence):
    board, _, loop = bench(behaviour)
    boot(board, loop)
    assert not board.booted
    assert board.dead is not None
    with pytest.raises(BoardError, match=sentence):
        raise BoardError(board.dead)
    assert board.dead.startswith("board 0 (/dev/")


def test_wrong_serial_number_is_named(bench):
    board, _, loop = bench(serial=0x1234)
    boot(board, loop)
    assert "has serial number 00000000b0a2d000, the rig file says 0000000000001234" in (board.dead or "")


@pytest.mark.parametrize(
    ("behaviour", "sentence"),
    [
        (Behaviour(silent=True), "no byte in 1 s; is it powered"),
        (
            Behaviour(only_garbage=b"\xf8\x1e\x9a" * 50),
            "150 bytes arrived but no word of the bootloader at 115200 baud",
        ),
        (Behaviour(silent_after_boot=True), "took the image but did not answer within 1 s"),
    ],
)
def test_boot_that_does_not_finish_is_told_apart(bench, behaviour, sentence):
    board, _, loop = bench(behaviour)
    boot(board, loop, timeout_s=0.5)
    assert not board.booted
    assert sentence in board.boot_problem(1.0)


def test_lost_response_is_asked_for_again_and_executed_once(bench):
    board, double, loop = bench(Behaviour(lose_responses=2))
    boot(board, loop)
    assert board.command(Command.PING, Blob(b"x"), Blob, timeout_s=30).data == b"x"
    assert double.executed.count(Command.PING) == 1


def test_response_that_comes_twice_is_taken_once(bench):
    board, double, loop = bench(Behaviour(repeat_responses=1))
    boot(board, loop)
    assert board.command(Command.PING, Blob(b"1"), Blob).data == b"1"
    assert board.command(Command.PING, Blob(b"2"), Blob).data == b"2"
    assert double.executed.count(Command.PING) == 2


def test_refused_command_shows_the_boards_sentence(bench):
    board, _, loop = bench(Behaviour(refuse_ping="not today"))
    boot(board, loop)
    with pytest.raises(BoardError, match=r"refuses PING \(BAD_ARGUMENT\): not today"):
        board.command(Command.PING, Blob(b""), Blob)


def test_crash_is_decoded_and_ends_the_wait(bench):
    board, _, loop = bench(Behaviour(crash_on_ping=True))
    boot(board, loop)
    with pytest.raises(BoardError, match=r"crashed: data abort at 0x00008010 .* fault address 0xdead0000"):
        board.command(Command.PING, Blob(b""), Blob)


def test_unplugged_board_ends_the_wait_with_the_port(bench):
    board, _, loop = bench(Behaviour(hang_up_on_ping=True))
    boot(board, loop)
    with pytest.raises(BoardError, match="is the adapter still plugged in"):
        board.command(Command.PING, Blob(b""), Blob)


def test_board_that_restarts_by_itself_is_named(bench):
    board, _, loop = bench(Behaviour(restart_on_ping=True))
    boot(board, loop)
    with pytest.raises(BoardError, match="board 0 .*: restarted by itself and waits in its bootloader"):
        board.command(Command.PING, Blob(b""), Blob)


def test_image_that_cannot_be_sent_is_named(bench, image):
    board, _, _ = bench()
    image.path.write_bytes(b"")
    with pytest.raises(BoardError, match=r"image\.img: .*empty"):
        board.begin_boot(image)
    image.path.unlink()
    with pytest.raises(BoardError, match=r"image\.img: cannot read the image: .*; check the path"):
        board.begin_boot(image)
