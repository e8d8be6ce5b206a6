"""Boards of the simulated ring: crashes, reboots, refusals, each in one sentence."""

import pytest

from hil.errors import BoardError, LinkError, ModelError
from hil.model.card import write_card
from hil.protocol.messages import Blob, Command, Crash, Empty, Event, Health, JobStarted, MemoryRead, Reboot, Serve


@pytest.mark.parametrize(("kind", "text"), [(0, "undefined instruction"), (1, "data abort"), (2, "prefetch abort")])
def test_crash_is_decoded_to_function_and_line(open_ring, kind, text):
    _, ring = open_ring(world_size=2)
    board = ring.boards[1]
    with pytest.raises(BoardError, match=rf"board 1 .*crashed: {text} at 0x[0-9a-f]+") as caught:
        board.command(Command.CRASH, Crash(kind), Empty)
        board.command(Command.PING, Blob(b""), Blob)
    assert "exceptions.c:" in str(caught.value) or "main.c:" in str(caught.value)
    assert ring.boards[0].command(Command.PING, Blob(b"ok"), Blob).data == b"ok"


def test_board_that_crashed_boots_again(open_ring):
    session, ring = open_ring(world_size=2)
    with pytest.raises(BoardError, match="crashed"):
        ring.boards[0].command(Command.CRASH, Crash(0), Empty)
        ring.boards[0].command(Command.PING, Blob(b""), Blob)
    ring.boot(session.image("ring"))
    assert ring.boards[0].command(Command.PING, Blob(b"back"), Blob).data == b"back"


def test_reboot_goes_through_the_bootloader(open_ring):
    session, ring = open_ring(world_size=1)
    board = ring.boards[0]
    board.command(Command.REBOOT, Reboot(10), Empty)
    board.begin_boot(session.image("ring"))
    ring.desk.loop.run_until(lambda: board.booted, 20)
    assert board.booted
    assert [event.event for event in board.events] == [Event.READY]


def test_health_reports_what_the_mailbox_says(open_ring):
    _, ring = open_ring(world_size=1)
    health = ring.boards[0].command(Command.HEALTH, Empty(), Health)
    assert health.uart_clock_hz == 48_000_000
    assert health.core_clock_hz == 250_000_000
    assert health.temperature_mc == 41_000
    assert health.uart_bad_frames == 0


def test_memory_holds_the_shard_where_the_card_put_it(open_ring):
    session, ring = open_ring(world_size=2)
    shard = session.model.shards(2)[1].read_bytes()
    found = ring.boards[1].command(Command.MEMORY_READ, MemoryRead(0x2000000, 256), Blob).data
    assert found == shard[:256]


def test_memory_outside_ram_is_refused(open_ring):
    _, ring = open_ring(world_size=1)
    with pytest.raises(BoardError, match=r"refuses MEMORY_READ \(BAD_ARGUMENT\)"):
        ring.boards[0].command(Command.MEMORY_READ, MemoryRead(0x20200000, 4), Blob)


def test_head_refuses_to_serve(open_ring):
    _, ring = open_ring(world_size=2)
    with pytest.raises(BoardError, match=r"refuses SERVE \(WRONG_ROLE\)"):
        ring.head.command(Command.SERVE, Serve(0, 1000), JobStarted)


def test_shard_of_another_world_size_is_named(open_ring, tmp_path):
    session, ring = open_ring(world_size=3, boot=False)
    wrong = session.model.shards(2)[0]
    write_card(tmp_path / "a/work/cards/sim/board0", kernel=session.image("kernel").path, shard=wrong, rank=0)
    ring.boot(session.image("ring"))
    with pytest.raises(ModelError, match="board 0 .*: holds the shard of rank 0 of 2, but stands at rank 0 of 3; swap"):
        ring.check_ranks()


def test_board_without_shard_is_named(open_ring, tmp_path):
    session, ring = open_ring(world_size=2, boot=False)
    write_card(tmp_path / "a/work/cards/sim/board1", kernel=session.image("kernel").path, shard=None, rank=1)
    ring.boot(session.image("ring"))
    with pytest.raises(ModelError, match="board 1 .*: no shard in memory; write its card with the shard of rank 1"):
        ring.check_ranks()


def test_dead_board_is_named_and_the_others_boot(open_ring):
    session, ring = open_ring(world_size=3, boot=False)

    class NotBoardOne:
        def reset(self, board):
            if board.rank != 1:
                ring.desk.simulation.power_on(board.rank)

        def describe(self):
            return "plug it in"

        def close(self):
            pass

    ring.desk.power = NotBoardOne()
    with pytest.raises(BoardError, match="board 1 .*: no byte in 30 s; is it powered") as caught:
        ring.boot(session.image("ring"), timeout_s=30)
    assert "board 0" not in str(caught.value)
    assert "plug it in" in str(caught.value)
    assert ring.boards[0].booted
    assert ring.boards[2].booted


def test_board_that_loses_power_in_mid_story_is_named_and_the_next_run_is_unharmed(open_ring):
    session, ring = open_ring()
    prompt = session.model.encode_prompt("", 8)

    def unplug(token):
        if token.position == 3:
            ring.desk.simulation.power_off(2)

    start_s = ring.desk.loop.now_s()
    with pytest.raises(
        LinkError, match="link (1->2|2->3): .*\n(.*\n)*.*so:      board 2 does not answer its UART either"
    ):
        ring.generate(prompt, 32, on_token=unplug)
    assert ring.desk.loop.now_s() - start_s < 15
    ring.boot(session.image("ring"))
    assert len(ring.generate(prompt, 8).tokens) == 8


def test_wrong_baud_is_told_from_silence(open_ring):
    session, ring = open_ring(world_size=1, boot=False)
    ring.boards[0].port.device.baudrate = 9600
    with pytest.raises(BoardError, match="bytes arrived but no word of the bootloader|the other end probably runs at"):
        ring.boot(session.image("ring"), timeout_s=10)
