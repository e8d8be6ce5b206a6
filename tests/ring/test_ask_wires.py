"""What the wires say when a link gave up, and what boards say about their jobs before anybody gives up."""

import struct

import pytest

from hil.checks.ask_wires import ask_wires, cause_text
from hil.checks.wiring import scan_wiring
from hil.errors import BoardError, LinkError
from hil.protocol.link_messages import Bank, Phase, Role
from hil.protocol.messages import Activity, Command, Empty, Generate, JobStarted, JobState, Serve

LIMIT_S = 15
GLITCHES = "=0.05"


def test_what_wires_say(open_ring):
    """On one ring: each sentence with its fault, and the sound ring's."""
    _, ring = open_ring(world_size=3)
    link = ring.desk.config.links[1]
    for faults, guilty, text in (
        ((), False, "link 1->2 carries bytes again: a contact or a disturbance that came and went"),
        (("open:1-2.D3",), True, "link 1->2 D3: board 1 GPIO19 (pin 35) -> board 2 GPIO7 (pin 26): open;"),
        (("open:1-2.D3", "stuck1:0-1.CLK"), True, "; link "),
        ((f"glitch:1-2.D5{GLITCHES}",), True, "bits come wrong over link 1->2 D5: board 1 GPIO21 (pin 40)"),
        ((f"glitch:1-2.CLK{GLITCHES}",), True, "link 1->2: look for noise on its CLK and ACK, or a bad ground"),
        ((f"glitch:0-1.D5{GLITCHES}",), False, "came and went"),
    ):
        ring.desk.set_faults(faults)
        said = ask_wires(ring, link)
        assert said.guilty is guilty, said
        assert text in said.text
    ring.desk.set_faults(["halt:2@0s"])
    assert ask_wires(ring, link) is None


@pytest.mark.parametrize(
    ("fault", "text"),
    [
        ("open:0-1.D3", "link 0->1 D3 is open (board 0 pin 35)"),
        ("stuck0:1-0.ACK", "link 1->0 ACK is stuck at 0 (board 1 pin 22)"),
        ("missing:0-1", "link 0->1: none of its ten wires gets through"),
    ],
)
def test_cause_is_short(open_ring, fault, text):
    _, ring = open_ring(world_size=2)
    ring.desk.set_faults([fault])
    assert cause_text(scan_wiring(ring)).startswith(text)


@pytest.mark.parametrize("fault", ["open:1-2.ACK", "stuck0:1-2.CLK", "missing:1-2"])
def test_ring_that_waits_for_ever_is_noticed_and_works_after_the_repair(open_ring, fault):
    """Ten minutes of silence in former times: a hop's first wait is the limit of the job."""
    session, ring = open_ring()
    prompt = session.model.encode_prompt("", 8)

    def spoil(token):
        if token.position == 2:
            ring.desk.set_faults([fault])

    start_s = ring.desk.loop.now_s()
    with pytest.raises(LinkError, match="link 1->2: ") as caught:
        ring.generate(prompt, 32, on_token=spoil)
    assert ring.desk.loop.now_s() - start_s < LIMIT_S
    assert "so:      link 1->2" in str(caught.value)
    ring.desk.set_faults(())
    assert len(ring.generate(prompt, 8).tokens) == 8


def state_of(board):
    return board.command(Command.JOB_STATUS, Empty(), JobState)


def test_board_that_waits_says_where_and_does_not_move(open_ring):
    _, ring = open_ring(world_size=2)
    board = ring.boards[0]
    assert state_of(board).activity == Activity.NONE
    board.command(Command.SERVE, Serve(0, 600_000), JobStarted)
    first, second = state_of(board), state_of(board)
    assert (first.activity, first.bank, first.role) == (Activity.LINK, Bank.UPSTREAM, Role.RECEIVER)
    assert first.phase == Phase.WAIT_CLAIM
    assert first.moves == second.moves
    assert first.waited_us < second.waited_us
    assert first.gplev0 >> 13 & 1, "its grant is seen: the pins are as the burst holds them"
    ring.quiet()
    assert state_of(board).activity == Activity.NONE


def test_board_that_computes_moves(open_ring):
    session, ring = open_ring(world_size=1)
    board, prompt = ring.boards[0], session.model.encode_prompt("", 8)
    request = Generate(0, 64, 0.0, 0.9, 1, 600_000, struct.pack(f"<{len(prompt)}H", *prompt))
    board.command(Command.GENERATE, request, JobStarted)
    first, second = state_of(board), state_of(board)
    assert first.activity == second.activity == Activity.COMPUTING
    assert first.moves < second.moves
    ring.quiet()


def test_board_that_restarts_is_named_again_by_the_next_command(open_ring):
    """Not that a command was still waiting for its answer."""
    session, ring = open_ring(world_size=2)
    ring.desk.set_faults(["reset:1@0.01s"])
    for _ in range(2):
        with pytest.raises((LinkError, BoardError), match="board 1 .*: restarted by itself"):
            ring.generate(session.model.encode_prompt("", 8), 64)


def test_board_that_is_lost_before_all_jobs_have_begun_leaves_no_job_behind(open_ring):
    session, ring = open_ring(world_size=2)
    ring.desk.set_faults(["reset:1@0.01s"])
    with pytest.raises(BoardError, match="board 1 .*: restarted by itself"):
        ring.generate(session.model.encode_prompt("", 8), 64)
    assert state_of(ring.boards[0]).activity == Activity.NONE
