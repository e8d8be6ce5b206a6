"""What a board refuses in a link test, each in one sentence; and a fault sentence for a run that lost its peer."""

from dataclasses import replace

import pytest

from hil.checks.link.runs import RunPlan, WireResult, ber_limit, histogram_text, run_links
from hil.errors import BoardError, LinkError
from hil.protocol.link_messages import Bank, LinkBank, LinkResult, Pattern
from hil.protocol.messages import Command, JobStarted

PLAN = RunPlan(Pattern.COUNT, 1, 64, 1)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"frames": 0}, "0 frames; ask for at least 1"),
        ({"length_bytes": 65537}, "frames of 65537 bytes; at most 65536"),
        ({"pattern": 9}, "pattern 9 does not exist; 0 to 8"),
        ({"stall_edge": 5}, "edge 5 does not exist; 1 to 4, or 0 for none"),
        ({"send_banks": 0}, "banks 0x0 send and 0x0 receive"),
        ({"send_banks": 4}, "banks 0x4 send and 0x0 receive"),
        ({"receive_banks": 1}, "banks 0x1 send and 0x1 receive; bit 0 is downstream, bit 1 upstream"),
    ],
)
def test_run_that_cannot_work_is_refused(shared_ring, changes, sentence):
    request = replace(PLAN.request(sends=[Bank.DOWNSTREAM]), **changes)
    with pytest.raises(BoardError, match=rf"refuses LINK_RUN \(BAD_ARGUMENT\): {sentence}"):
        shared_ring.boards[0].command(Command.LINK_RUN, request, JobStarted)


def test_result_of_a_bank_that_does_not_exist_is_refused(shared_ring):
    with pytest.raises(BoardError, match=r"refuses LINK_RESULT \(BAD_ARGUMENT\): bank 2 does not exist"):
        shared_ring.boards[0].command(Command.LINK_RESULT, LinkBank(2), LinkResult)


@pytest.fixture(scope="module")
def shared_ring(tmp_path_factory):
    from hil.session import Session
    from hil.settings import Settings

    folder = tmp_path_factory.mktemp("ring")
    session = Session(Settings(world_size=2, logs=folder / "logs", work=folder / "work"))
    ring = session.open_ring()
    ring.boot(session.image("ring"))
    yield ring
    ring.desk.close()


def test_broken_data_wire_ends_the_run_and_is_named(shared_ring):
    shared_ring.desk.set_faults(["open:0-1.D3"])
    with pytest.raises(LinkError, match=r"came damaged, again and again\n(.*\n)*  so:      link 0->1 D3: .*: open"):
        run_links(shared_ring, [shared_ring.desk.config.links[0]], replace(PLAN, frames=2), timeout_s=1)
    shared_ring.desk.set_faults(())
    (result,) = run_links(shared_ring, [shared_ring.desk.config.links[0]], PLAN)
    assert result.good, result.describe()


@pytest.mark.parametrize(("errors", "expected"), [(0, 2.9957), (1, 4.7439), (2, 6.2958), (10, 16.9622), (100, 118.079)])
def test_error_rate_is_bounded_as_tables_of_the_poisson_limit_say(errors, expected):
    assert ber_limit(1_000_000, errors) == pytest.approx(expected / 1e6, rel=1e-4)


def test_error_rate_is_never_zero_and_never_above_one():
    assert 0 < ber_limit(1 << 50, 0) < 1e-14
    assert ber_limit(0, 0) == 1.0
    assert ber_limit(10, 10) == 1.0
    assert WireResult("D3", 1_048_576, 0).describe() == "D3: 1,048,576 bits, 0 errors, BER < 2.9e-06 at 95 %"


def test_histogram_names_its_buckets():
    assert histogram_text({"ACK high": (2, 0, 5)}, "us").splitlines() == [
        "  ACK high  0 us                          2",
        "  ACK high  [2, 4) us                     5",
    ]
