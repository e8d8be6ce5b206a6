"""The serial line: who is there before anything is loaded, raised bauds, the line's rate, the watchdog, late boards."""

from dataclasses import replace

import pytest

from hil.board.baud import ECHOES, echo_pattern, raise_baud
from hil.errors import BoardError
from hil.protocol.line_messages import BaudSet, SetBaud, Watchdog
from hil.protocol.messages import Blob, Command, Crash, Empty, Health
from hil.rig.specs import SimSpec, sim_rig
from hil.ring.boot import GATHER_S
from hil.ring.ring import Ring
from hil.session import Session
from hil.settings import Settings

SERIAL = 0xB0A2_D000


@pytest.fixture
def line_ring(tmp_path):
    """line_ring(config) -> (session, ring), not booted; closed after the test."""
    rings: list[Ring] = []

    def make(config, **settings) -> tuple[Session, Ring]:
        session = Session(Settings(logs=tmp_path / "logs", work=tmp_path / "work", **settings))
        session.config = config
        rings.append(session.open_ring(shards=False))
        return session, rings[-1]

    yield make
    for ring in rings:
        ring.desk.close()


def knowing(world_size: int, *serials: int, **changes):
    """A simulated rig whose rig file tells serial numbers; the boards have those of `sim`."""
    config = sim_rig(world_size)
    boards = tuple(replace(spec, serial=number) for spec, number in zip(config.boards, serials, strict=True))
    return replace(config, boards=boards, **changes)


def expect_serials(ring: Ring, *serials: int | None) -> None:
    """Change what the rig file says about boards that are plugged in already."""
    for board, number in zip(ring.boards, serials, strict=True):
        board.spec = replace(board.spec, serial=number)


def sent(ring: Ring, rank: int) -> str:
    return ring.boards[rank].log.path.read_text()


# --- serial numbers ----------------------------------------------------------------------------


def test_boards_with_the_right_serial_numbers_boot(line_ring):
    session, ring = line_ring(sim_rig(2))
    expect_serials(ring, SERIAL, SERIAL + 1)
    ring.boot(session.image("ring"))
    assert [identity.board_serial for identity in ring.identities()] == [SERIAL, SERIAL + 1]
    assert "boot     says: board serial 00000000b0a2d001, reset status 0x00001000" in sent(ring, 1)


def test_swapped_ports_stop_the_run_before_anything_is_loaded(line_ring):
    session, ring = line_ring(sim_rig(4))
    expect_serials(ring, SERIAL, SERIAL + 2, SERIAL + 1, SERIAL + 3)
    with pytest.raises(BoardError) as caught:
        ring.boot(session.image("ring"))
    lines = str(caught.value).splitlines()
    assert len(lines) == 2, lines
    for rank, line in zip((1, 2), lines, strict=True):
        assert line.startswith(f"board {rank} (sim://sim/{rank}): has serial number {SERIAL + rank:016x}, ")
        assert f"the rig file says {SERIAL + 3 - rank:016x}; two ports may be swapped; nothing was loaded" in line
    assert not any("image sent" in sent(ring, rank) for rank in range(4)), "no board was given an image"
    expect_serials(ring, SERIAL, SERIAL + 1, SERIAL + 2, SERIAL + 3)
    ring.boot(session.image("ring"))
    assert all(board.booted for board in ring.boards), "the next run is unharmed"


def test_board_that_comes_too_late_for_the_check_stops_the_run_all_the_same(line_ring):
    late_ms = 1000 * GATHER_S + 1000
    session, ring = line_ring(replace(sim_rig(2), sim=SimSpec(start_delay_ms=(0, late_ms))))
    expect_serials(ring, SERIAL, 0x77)
    with pytest.raises(BoardError, match=r"(?s)board 1 .*nothing was loaded.*board 0 .* had taken the image before"):
        ring.boot(session.image("ring"))
    assert "image sent" not in sent(ring, 1)


# --- baud --------------------------------------------------------------------------------------


@pytest.mark.parametrize("baud", [460800, 921600, 3_000_000])
def test_baud_is_raised_after_boot_and_the_line_is_sound(line_ring, baud):
    session, ring = line_ring(replace(sim_rig(2), baud=baud, boot_baud=115200))
    times = ring.boot(session.image("ring"))
    assert times.notes == ()
    for board in ring.boards:
        assert board.baud == baud
        assert abs(board.identify().baud - baud) < baud / 500
        data = bytes(range(256)) * 15
        started_s = board.now_s()
        assert board.command(Command.PING, Blob(data), Blob).data == data
        assert board.now_s() - started_s < 2 * len(data) * 10 / baud + 0.01, "bytes go at the new rate"
        health = board.command(Command.HEALTH, Empty(), Health)
        assert (health.uart_overruns, health.uart_bad_frames) == (0, 0)
    ring.boot(session.image("ring"))
    assert all(board.baud == baud for board in ring.boards), "a second boot begins at the boot's baud again"


def test_line_that_cannot_carry_the_baud_drops_back_on_both_ends(line_ring):
    session, ring = line_ring(replace(sim_rig(2), baud=921600, boot_baud=115200))
    ring.desk.set_faults(["uart-limit:1=460800"])
    times = ring.boot(session.image("ring"))
    (note,) = times.notes
    assert note.startswith("board 1 (sim://sim/1): stays at 115200 baud: at 921600 an echo of 1024 bytes ")
    assert [board.baud for board in ring.boards] == [921600, 115200]
    assert abs(ring.boards[1].identify().baud - 115200) < 200
    assert "back from 923076 to 115176 baud: nobody confirmed it" in sent(ring, 1)
    assert raise_baud(ring.boards[1], 460800) is None, "a rate that the line carries is taken"


def test_board_whose_clock_cannot_make_the_baud_says_so(line_ring):
    session, ring = line_ring(sim_rig(1))
    ring.boot(session.image("ring"))
    note = raise_baud(ring.boards[0], 6_000_000)
    assert note is not None
    assert "stays at 115200 baud: " in note
    assert "6000000 baud on trial for 1500 ms: 1200 to 3000000 baud" in note
    assert ring.boards[0].identify().baud == 115176


def test_board_left_at_a_raised_baud_comes_back_when_it_hears_another(line_ring):
    """The host that raised it was killed; the next one starts at the boot's baud and asks for a reboot."""
    session, ring = line_ring(replace(sim_rig(1), baud=921600, boot_baud=115200))
    ring.boot(session.image("ring"))
    board = ring.boards[0]
    board.begin_boot(session.image("ring"))
    assert board.baud == 115200
    board.expect_bootloader()
    assert board.wait_until(lambda: board.booted, 20), board.dead
    assert b"back from 923076 to 115176 baud: nothing but framing errors" in board.log.raw_path.read_bytes()


def test_trial_that_nobody_confirms_ends_by_itself(line_ring):
    session, ring = line_ring(sim_rig(1))
    ring.boot(session.image("ring"))
    board = ring.boards[0]
    board.command(Command.SET_BAUD, SetBaud(921600, 300), BaudSet)
    board.wait_until(lambda: False, 0.35)
    assert board.identify().baud == 115176
    with pytest.raises(BoardError, match="no baud is on trial; the line runs at 115176"):
        board.command(Command.KEEP_BAUD, Empty(), Empty)


def test_echo_patterns_hold_every_byte_and_differ():
    patterns = [echo_pattern(number) for number in range(ECHOES)]
    assert all(len(set(pattern)) == 256 and len(pattern) == 1024 for pattern in patterns)
    assert len(set(patterns)) == ECHOES


# --- the line's rate ---------------------------------------------------------------------------


@pytest.mark.parametrize("baud", [115200, 3_000_000])
def test_image_goes_at_the_lines_rate(line_ring, baud):
    session, ring = line_ring(replace(sim_rig(2), baud=baud))
    shares = ring.boot(session.image("ring")).line_shares
    assert len(shares) == 2
    assert all(0.98 <= share <= 1.001 for share in shares), shares


def test_image_over_a_slower_adapter_misses_the_rate(line_ring):
    """The twin: an adapter that is 2.5 % slow is still understood, and misses the 98 %."""
    session, ring = line_ring(sim_rig(1))
    ring.boards[0].port.set_baud(112_320)
    (share,) = ring.boot(session.image("ring")).line_shares
    assert 0.97 < share < 0.98


# --- watchdog ----------------------------------------------------------------------------------


def test_stuck_board_resets_itself_and_is_named(line_ring):
    session, ring = line_ring(replace(sim_rig(2), watchdog_s=0.3))
    ring.boot(session.image("ring"))
    board = ring.boards[1]
    board.command(Command.CRASH, Crash(3), Empty)
    stuck_s = board.now_s()
    with pytest.raises(BoardError, match=r"board 1 .*: reset itself: watchdog .* and waits in its bootloader"):
        board.command(Command.PING, Blob(b""), Blob)
    assert 1.2 < board.now_s() - stuck_s < 1.8, "0.3 s until the watchdog bites, a second to boot"
    assert ring.boards[0].command(Command.PING, Blob(b"fine"), Blob).data == b"fine"
    ring.boot(session.image("ring"))
    assert board.booted


def test_without_a_watchdog_a_stuck_board_stays_so(line_ring):
    session, ring = line_ring(replace(sim_rig(1), watchdog_s=0))
    ring.boot(session.image("ring"))
    ring.desk.set_faults(["halt:0@1ms"])
    with pytest.raises(BoardError, match="no answer to PING after 8 tries"):
        for _ in range(100):
            ring.boards[0].command(Command.PING, Blob(b""), Blob, timeout_s=60)


def test_halted_board_comes_back_to_its_bootloader_with_the_watchdog_of_every_ring(line_ring):
    session, ring = line_ring(sim_rig(1))
    ring.boot(session.image("ring"))
    board = ring.boards[0]
    ring.desk.set_faults(["halt:0@1ms"])
    board.wait_until(lambda: False, 17)
    assert board.dead is not None
    assert "reset itself: watchdog" in board.dead


def test_watchdog_never_bites_a_board_that_works(line_ring):
    """An idle board, and one in a job that lasts longer than the limit."""
    session, ring = line_ring(replace(sim_rig(2), watchdog_s=0.1))
    ring.boot(session.image("ring"))
    ring.link_frames(ring.desk.config.links[0], frames=40, length_bytes=16384, seed=1)
    assert ring.boards[0].now_s() > 2
    ring.boards[0].wait_until(lambda: False, 5)
    assert all(board.dead is None and board.identify() for board in ring.boards)


def test_reboot_that_was_asked_for_is_not_called_a_watchdog(line_ring):
    from hil.protocol.messages import Reboot

    session, ring = line_ring(sim_rig(1))
    ring.boot(session.image("ring"))
    board = ring.boards[0]
    board.command(Command.REBOOT, Reboot(10), Empty)
    assert not board.wait_until(lambda: False, 3)
    assert board.dead is not None
    assert "restarted by itself" in board.dead
    assert "watchdog" not in board.dead


def test_watchdog_out_of_range_is_refused(line_ring):
    session, ring = line_ring(sim_rig(1))
    ring.boot(session.image("ring"))
    with pytest.raises(BoardError, match="a watchdog of 16000 ms: 100 to 15999, or 0 for none"):
        ring.boards[0].command(Command.SET_WATCHDOG, Watchdog(16000), Watchdog)


# --- late boards -------------------------------------------------------------------------------


def test_slow_card_is_waited_for_with_progress_lines(line_ring):
    config = replace(sim_rig(3), sim=SimSpec(start_delay_ms=(0, 0, 30_000)))
    session, ring = line_ring(config)
    lines: list[str] = []
    times = ring.boot(session.image("ring"), on_progress=lines.append)
    assert times.seconds[2] > 30
    assert len(lines) == 6
    assert lines[0] == ("waiting for board 2 (sim://sim/2): no byte for 5 s; slow cards take 30 s, the limit is 60 s")


def test_boards_that_are_in_time_make_no_progress_lines(line_ring):
    session, ring = line_ring(sim_rig(2))
    lines: list[str] = []
    ring.boot(session.image("ring"), on_progress=lines.append)
    assert lines == []
