"""Link faults in words: the wire, or the board, that the two ends' views point to."""

import pytest

from hil.protocol.link_messages import Bank, LinkFault, Phase, Role
from hil.rig.specs import ring_links
from hil.ring.link_faults import FaultReport, WiresSaid, explain

LINKS = ring_links(4)
LOGS = [f"logs/pi{n}.log" for n in range(4)]
SENDER_CLK, RECEIVER_CLK, SENDER_ACK, RECEIVER_ACK = 1 << 24, 1 << 12, 1 << 25, 1 << 13


def report(rank, bank, role, phase, level, *, byte=1375, time_s=1.0, still=False):
    return FaultReport(rank, LinkFault(bank, role, phase, byte, 2052, level, 10_000), time_s, still)


def sender(level, phase=Phase.WAIT_ACK_HIGH, **kw):
    return report(1, Bank.DOWNSTREAM, Role.SENDER, phase, level, **kw)


def receiver(level, phase=Phase.WAIT_CLK_HIGH, **kw):
    return report(2, Bank.UPSTREAM, Role.RECEIVER, phase, level, **kw)


def test_levels_of_different_instants_are_not_compared():
    text = explain([sender(SENDER_CLK), receiver(0)], LINKS, LOGS)
    assert "link 1->2: byte 1375 of 2052 stopped after 10.0 ms" in text
    assert "does not carry its level: link" not in text
    assert "board 2 and board 1 lost step" in text


def test_clk_high_at_one_end_only_of_what_stands_still_names_the_clk_wire():
    text = explain([sender(SENDER_CLK, still=True), receiver(0, still=True)], LINKS, LOGS)
    assert "link 1->2: nothing moves at byte 1375 of 2052, for 0.0 s" in text
    assert (
        "the CLK wire does not carry its level: link 1->2 CLK: board 1 GPIO24 (pin 18) -> board 2 GPIO12 (pin 32)"
        in text
    )
    assert "board 1: CLK raised, waiting for ACK" in text
    assert "logs/pi1.log, logs/pi2.log" in text


def test_ack_high_at_one_end_only_names_the_ack_wire():
    waits = receiver(RECEIVER_CLK | RECEIVER_ACK, Phase.WAIT_CLK_LOW, still=True)
    text = explain([sender(SENDER_CLK, still=True), waits], LINKS, LOGS)
    assert "the ACK wire does not carry its level" in text


def test_levels_that_agree_point_to_step_not_wire():
    text = explain([sender(SENDER_CLK), receiver(RECEIVER_CLK)], LINKS, LOGS)
    assert "wire does not" not in text
    assert "lost step" in text


def test_board_that_was_held_up_is_told_from_a_wire():
    held = FaultReport(2, LinkFault(Bank.UPSTREAM, Role.RECEIVER, Phase.HELD_UP, 42, 84, 0, 25_000), 2.0)
    text = explain([sender(SENDER_CLK), held], LINKS, LOGS)
    assert (
        "board 1 waited for board 2, which did nothing for 25.0 ms in byte 42 (upstream bank, as receiver) "
        "by its own clock: the board was held up, no wire is to blame" in text
    )
    assert "board 2: did nothing: its own program was away" in text


def test_acknowledge_that_never_came_back_points_to_ack():
    text = explain([sender(SENDER_CLK, byte=9), receiver(RECEIVER_CLK, byte=10)], LINKS, LOGS)
    assert "board 2 has acknowledged byte 9, board 1 has not seen it: look at link 1->2 ACK: board 1 GPIO25" in text


def test_line_that_never_falls_idle_is_named():
    waits = receiver(1 << (4 + 3), Phase.WAIT_QUIET)
    text = explain([sender(1 << (16 + 3), Phase.WAIT_GRANT), waits], LINKS, LOGS)
    assert "D3 high where board 2 needs idle lines: look at link 1->2 D3: board 1 GPIO19" in text


def test_line_that_was_not_idle_but_now_is():
    text = explain([sender(0, Phase.WAIT_GRANT), receiver(0, Phase.WAIT_QUIET)], LINKS, LOGS)
    assert "board 2 found a line that was not idle, and now it is: restart the job" in text


def test_grant_that_is_held_low_is_said():
    fights = receiver(0, Phase.CONTESTED)
    text = explain([sender(0, Phase.WAIT_GRANT), fights], LINKS, LOGS)
    assert "board 2: drives ACK high as grant, reads it low" in text
    assert "board 2 drives ACK high and reads it low: a short to ground, or board 1 holds it: link 1->2 ACK" in text


def test_bytes_that_arrive_wrong_point_to_the_data_wires():
    text = explain([sender(0, Phase.DAMAGED), receiver(0, Phase.DAMAGED)], LINKS, LOGS)
    assert "board 1: every byte moved, but not as it was sent" in text
    assert "a broken or noisy wire among D0..D7 of link 1->2, or a bad ground; `hil wiring` finds a broken one" in text


def test_one_report_accuses_nobody():
    text = explain([sender(SENDER_CLK)], LINKS, LOGS)
    assert "so:      board 2 has reported nothing about this link; `hil wiring` measures its wires" in text


def test_board_that_does_not_answer_its_uart_is_the_cause():
    text = explain([sender(SENDER_CLK)], LINKS, LOGS, silent={2: "board 2: no answer to JOB_STATUS after 8 tries"})
    assert "so:      board 2 does not answer its UART either: it has no power, or its program has stopped" in text


def test_board_that_said_what_happened_to_it_is_quoted():
    text = explain([sender(SENDER_CLK)], LINKS, LOGS, silent={2: "board 2: restarted by itself"})
    assert "so:      no wire is to blame: board 2: restarted by itself" in text


def test_link_at_the_silent_board_is_explained_not_the_earliest():
    early = report(0, Bank.DOWNSTREAM, Role.SENDER, Phase.WAIT_GRANT, 0, time_s=0.1)
    text = explain([early, sender(SENDER_CLK)], LINKS, LOGS, silent={2: "board 2: no answer to PING"})
    assert text.startswith("link 1->2")


def test_what_the_wires_say_is_the_conclusion_and_is_asked_for_the_link_that_failed():
    asked = []

    def ask(link):
        asked.append(str(link))
        return WiresSaid("D3 is open", guilty=True)

    assert "so:      D3 is open" in explain([sender(SENDER_CLK), receiver(0)], LINKS, LOGS, ask_wires=ask)
    assert asked == ["1->2"]


@pytest.mark.parametrize("guilty", [True, False])
def test_board_that_was_held_up_is_told_unless_a_wire_is_wrong(guilty):
    held = FaultReport(2, LinkFault(Bank.UPSTREAM, Role.RECEIVER, Phase.HELD_UP, 42, 84, 0, 25_000), 2.0)
    said = WiresSaid("what the wires say", guilty)
    text = explain([sender(SENDER_CLK), held], LINKS, LOGS, ask_wires=lambda link: said)
    assert ("so:      what the wires say" in text) is guilty
    assert ("which did nothing for 25.0 ms" in text) is not guilty


def test_wires_are_not_asked_where_a_board_is_silent():
    def ask(link):
        raise AssertionError

    explain([sender(SENDER_CLK)], LINKS, LOGS, silent={2: "board 2: no answer to PING"}, ask_wires=ask)


def test_of_boards_that_stand_still_the_two_that_wait_for_each_other_are_told():
    waits = report(0, Bank.UPSTREAM, Role.RECEIVER, Phase.WAIT_CLAIM, 0, still=True)
    text = explain([waits, sender(0, Phase.WAIT_GRANT, still=True), receiver(0, still=True)], LINKS, LOGS)
    assert text.startswith("link 1->2: nothing moves")


def test_phase_that_does_not_exist_is_said():
    assert "board 1 reports a link fault of phase 99 (there is no such Phase)" in explain([sender(0, 99)], LINKS, LOGS)


def test_damage_has_no_byte_at_which_it_stopped():
    text = explain([sender(0, Phase.DAMAGED), receiver(0, Phase.DAMAGED)], LINKS, LOGS)
    assert text.startswith("link 1->2: a burst of 2052 bytes came damaged, again and again\n")
    assert "stopped" not in text


def test_two_receivers_are_named():
    other = report(1, Bank.DOWNSTREAM, Role.RECEIVER, Phase.WAIT_CLAIM, SENDER_ACK)
    assert "both boards wait as receivers" in explain([other, receiver(RECEIVER_ACK, Phase.WAIT_CLAIM)], LINKS, LOGS)


def test_two_senders_are_named():
    other = report(2, Bank.UPSTREAM, Role.SENDER, Phase.WAIT_GRANT, 0)
    assert "both boards wait as senders" in explain([sender(0, Phase.WAIT_GRANT), other], LINKS, LOGS)


def test_earliest_link_is_explained_not_the_ones_that_follow():
    later = report(3, Bank.UPSTREAM, Role.RECEIVER, Phase.WAIT_CLK_HIGH, 0, time_s=9.0)
    assert explain([later, sender(SENDER_CLK), receiver(0)], LINKS, LOGS).startswith("link 1->2")


def test_bank_without_link_is_said():
    with_no_link = FaultReport(9, sender(0).fault, 1.0)
    assert "not wired in this rig" in explain([with_no_link], LINKS, LOGS)


@pytest.mark.parametrize("wire", range(8))
def test_data_wire_that_differs_is_named(wire):
    claims = sender(1 << (16 + wire), Phase.WAIT_CLAIM_TAKEN, still=True)
    text = explain([claims, receiver(0, Phase.WAIT_CLAIM, still=True)], LINKS, LOGS)
    assert f"the D{wire} wire does not carry its level" in text


def test_report_with_numbers_that_there_are_not_is_a_sentence_and_the_others_are_explained():
    strange = report(3, Bank.UPSTREAM, Role.SENDER, 99, 0)
    sentence = "board 3 reports a link fault of phase 99 (there is no such Phase), so its report cannot be believed"
    assert explain([strange], LINKS, LOGS).startswith(sentence)
    text = explain([sender(SENDER_CLK), strange, receiver(0)], LINKS, LOGS)
    assert "board 1: CLK raised, waiting for ACK" in text
    assert sentence in text
    assert "role 7 (there is no such Role)" in explain([report(1, Bank.UPSTREAM, 7, Phase.WAIT_CLAIM, 0)], LINKS, LOGS)
