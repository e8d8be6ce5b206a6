"""The wiring scan on paper: every kind of fault named, nothing held driven, nothing named that is not there."""

import itertools
import random
import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from types import SimpleNamespace

import pytest

from hil.bench.coverage import canonical, double_faults
from hil.checks.wiring import analyse, known_ranks
from hil.checks.wiring.model import nets_of
from hil.checks.wiring.pads import Held, Observation
from hil.checks.wiring.scan import CODES, observe, wrong_codes
from hil.errors import RigError
from hil.pictures.wiring import wiring_svg
from hil.rig.faults import single_faults
from hil.rig.pins import WIRE_NAMES
from hil.rig.specs import BoardSpec, LinkSpec, sim_rig
from tests.harness.wiring_doubles import PaperPins, scan

RING = sim_rig(4)
LOOP = sim_rig(1, name="sim-loopback", loopback=True)
BARE = sim_rig(1)
SEED = 0x5EED


def sample(kind, count):
    """Some single faults of a kind, by the seed; all if there are not more."""
    faults = [str(fault) for fault in single_faults(RING) if str(fault).startswith(f"{kind}:")]
    return random.Random(SEED).sample(faults, min(count, len(faults)))


# --- clean rigs ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("config", [sim_rig(n) for n in (2, 3, 4, 16)] + [LOOP, BARE], ids=lambda c: f"{c.world_size}")
def test_clean_rig_gives_no_finding(config):
    report = scan(config)
    assert report.good
    assert report.explained
    assert len(report.wires) == 10 * len(config.links)
    assert all(v.verdict == "ok" for v in report.wires)


# --- single faults -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "code",
    [code for kind, count in (("open", 12), ("stuck0", 8), ("stuck1", 8), ("bridge-and", 16), ("swap", 12),
                              ("reversed", 4), ("missing", 4), ("crossed", 6)) for code in sample(kind, count)],
)  # fmt: skip
def test_single_fault_is_named_and_nothing_else(code):
    report = scan(RING, [code])
    assert canonical(report.codes) == canonical([code])
    assert len(report.findings) == 1
    assert report.explained


def test_open_wire_is_named_with_its_pins():
    report = scan(RING, ["open:1-2.D3"])
    assert report.findings[0].text == (
        "link 1->2 D3: board 1 GPIO19 (pin 35) -> board 2 GPIO7 (pin 26): open; no level gets across, "
        "in either direction"
    )
    assert "link 1->2   9 of 10 wires right  D3:open" in report.text()
    assert "1 thing to mend" in report.text()


@pytest.mark.parametrize(("level", "rail"), [(0, "ground"), (1, "3.3 V")])
def test_stuck_wire_is_named_with_its_rail(level, rail):
    report = scan(RING, [f"stuck{level}:3-0.ACK"])
    assert report.findings[0].kind == f"stuck-{level}"
    assert report.findings[0].text == (
        "link 3->0 ACK: board 3 GPIO25 (pin 22) -> board 0 GPIO13 (pin 33): "
        f"stuck at {level}; it stays there against its pull, as if joined to {rail} or driven; it was not driven"
    )


def test_bridge_names_both_wires():
    (finding,) = scan(RING, ["bridge-or:1-2.D3,2-3.CLK"]).findings
    assert finding.text == (
        "bridged, each follows the other: link 1->2 D3: board 1 GPIO19 (pin 35) -> board 2 GPIO7 (pin 26); "
        "and link 2->3 CLK: board 2 GPIO24 (pin 18) -> board 3 GPIO12 (pin 32)"
    )
    assert finding.wires == ("1-2.D3", "2-3.CLK")


def test_swap_says_where_each_wire_goes():
    (finding,) = scan(RING, ["swap:1-2.D3,D4"]).findings
    assert finding.text == (
        "D3 of link 1->2 and D4 of link 1->2 are exchanged: board 1 GPIO19 (pin 35) goes to board 2 GPIO8 (pin 24), "
        "board 1 GPIO20 (pin 38) goes to board 2 GPIO7 (pin 26)"
    )


def test_three_wires_in_a_circle_are_one_finding():
    report = scan(RING, ["swap:1-2.D1,D2", "swap:1-2.D2,D3"])
    (finding,) = report.findings
    assert "exchanged in a circle" in finding.text
    assert set(finding.wires) == {"1-2.D1", "1-2.D2", "1-2.D3"}
    assert report.explained


def test_wires_swapped_between_links_are_named():
    report = scan(RING, ["swap:0-1.D1,2-3.D7"])
    assert report.codes == ("swap:0-1.D1,2-3.D7",)
    assert report.explained


def test_turned_connector_missing_cable_and_crossed_cables_are_one_sentence_each():
    texts = [scan(RING, [code]).findings[0].text for code in ("reversed:0-1", "missing:1-2", "crossed:0-1,1-2")]
    assert texts[0].startswith("link 0->1: one connector is turned round: D0 arrives where ACK should")
    assert texts[1] == (
        "link 1->2: none of its ten wires gets through; board 1's high bank and board 2's low bank are not joined"
    )
    assert texts[2] == (
        "link 0->1 and link 1->2 are crossed: board 0's high bank goes to board 2's low bank, not to board 1's; "
        "board 1's high bank goes to board 1's low bank, not to board 2's"
    )


def test_link_without_ground_is_one_finding_and_its_pads_are_not_driven():
    report = scan(RING, ["noground:1-2"])
    (finding,) = report.findings
    assert finding.kind == "no-ground"
    assert finding.text == (
        "link 1->2: board 1's high bank and board 2's low bank read noise whatever the pulls are: "
        "the two boards have no common ground"
    )
    assert report.explained


def test_noise_at_one_end_of_a_link_is_enough_to_miss_the_ground():
    report = scan(RING, ["missing:1-2", *(f"noise:1-2.{name}/far" for name in WIRE_NAMES)])
    assert report.codes == ("noground:1-2",)
    assert report.findings[0].text.startswith("link 1->2: board 2's low bank reads noise")


def test_one_noisy_wire_is_not_taken_for_a_missing_ground():
    report = scan(RING, ["noise:1-2.D3"])
    assert report.codes == ("noise:1-2.D3",)
    assert report.findings[0].text == (
        "link 1->2 D3: board 1 GPIO19 (pin 35) -> board 2 GPIO7 (pin 26): "
        "reads noise whatever its pull is; it was not driven"
    )


def test_cable_between_two_high_banks_is_told():
    pins = PaperPins((), [f"bridge:0.GPIO{n},1.GPIO{n}" for n in range(16, 26)], 4)
    texts = [finding.text for finding in analyse(observe(pins), RING).findings]
    assert "board 0's high bank is wired to board 1's high bank; this rig has no such link" in texts


def test_cable_that_the_rig_does_not_have_is_told_once_and_a_bridge_beside_it_too():
    chain = replace(sim_rig(2), links=(LinkSpec(0, 1),))
    report = scan(chain, ["bridge:0-1.D0,0-1.D1"], links=sim_rig(2).links)
    texts = [finding.text for finding in report.findings]
    assert texts[0] == "board 0's low bank is wired to board 1's high bank; this rig has no such link"
    assert [finding.kind for finding in report.findings] == ["cable", "bridge"]


# --- several faults ------------------------------------------------------------------------------------


@pytest.mark.parametrize("pair", double_faults(RING, 60, SEED), ids=lambda pair: "+".join(map(str, pair)))
def test_double_fault_is_explained_with_no_more_faults_than_there_are(pair):
    codes = [str(fault) for fault in pair]
    report = scan(RING, codes)
    assert not report.good
    assert report.explained
    assert len(report.codes) <= 2


def test_random_threefold_faults_are_all_explained_with_no_more_faults_than_there_are():
    rng, faults = random.Random(SEED), [str(fault) for fault in single_faults(RING)]
    kinds = sorted({fault.partition(":")[0] for fault in faults})
    by_kind = {kind: [fault for fault in faults if fault.startswith(f"{kind}:")] for kind in kinds}
    for _ in range(150):
        codes = [rng.choice(by_kind[rng.choice(kinds)]) for _ in range(3)]
        nets = nets_of(RING.links, codes, 4)
        report = analyse(Observation(4, nets.held, nets.groups), RING)
        assert report.explained, codes
        assert len(report.codes) <= 3, codes


def test_break_beside_a_short_is_told_with_its_end():
    report = scan(RING, ["open:1-2.D3", "stuck0:1-2.D3/far"])
    assert set(report.codes) == {"open:1-2.D3", "stuck0:1-2.D3/far"}
    text = next(f.text for f in report.findings if f.kind == "stuck-0")
    assert text.endswith(", at the end of board 2 GPIO7 (pin 26) only; it was not driven")


def test_open_wire_that_touches_another_is_told_with_its_loose_end():
    report = scan(RING, ["open:1-2.D3", "bridge:1-2.D3/far,2-3.D0"])
    assert canonical(report.codes) == canonical(["open:1-2.D3", "bridge:1-2.D3/far,2-3.D0"])
    assert report.explained


def test_bridge_to_a_stuck_wire_looks_like_two_stuck_wires_and_says_that_it_may_be():
    report = scan(RING, ["stuck0:1-2.D3", "bridge-and:1-2.D3,1-2.D4"])
    assert report.codes == ("stuck0:1-2.D3", "stuck0:1-2.D4")
    assert "If two wires are stuck alike, they may be bridged." in report.text()


# --- the order of the boards ---------------------------------------------------------------------------


def links_in_order(order):
    return tuple(LinkSpec(a, b) for a, b in zip(order, (*order[1:], order[0]), strict=True))


@pytest.mark.parametrize("order", [(0, *rest) for rest in itertools.permutations((1, 2, 3))])
def test_any_order_of_the_usb_cables_is_found(order):
    report = scan(RING, links=links_in_order(order))
    assert len(report.order) == 4
    assert set(links_in_order(report.order)) == set(links_in_order(order))
    assert report.good == (order == (0, 1, 2, 3))
    assert all(v.verdict == "ok" for v in report.wires)


def test_wrong_order_says_which_port_is_which_rank():
    report = scan(RING, links=links_in_order((0, 2, 1, 3)))
    assert report.codes == ("order:0,2,1,3",)
    assert report.findings[0].text == (
        "the boards stand in the ring in the order 0, 2, 1, 3 (numbers of the rig file), not 0, 1, 2, 3"
    )
    assert report.findings[0].advice.endswith("rank 1: sim://2; rank 2: sim://1.")
    assert report.links == ("0-2", "2-1", "1-3", "3-0")


def test_shards_tell_where_the_ring_begins_when_all_ports_are_one_off():
    report = scan(RING, known=(3, 0, 1, 2))
    assert report.order == (1, 2, 3, 0)
    assert report.codes == ("order:1,2,3,0",)


@pytest.mark.parametrize(
    ("known", "cause"),
    [
        ((0, 2, 1, 3), "the boards stand right and the USB cables were exchanged"),
        ((0, 1, 2, 3), "the ports are right: boards or link cables were exchanged"),
        ((), "USB cables, boards or link cables were exchanged"),
    ],
)
def test_what_boards_say_of_themselves_tells_what_was_exchanged(known, cause):
    report = scan(RING, links=links_in_order((0, 2, 1, 3)), known=known)
    assert report.codes == ("order:0,2,1,3",)
    assert cause in report.findings[0].advice


def test_serial_number_of_the_rig_file_counts_more_than_the_shard():
    boards = tuple(replace(spec, serial=100 + spec.rank) for spec in RING.boards)
    identities = [SimpleNamespace(rank=0xFF if n == 3 else 3 - n, board_serial=100 + n) for n in range(4)]
    assert known_ranks(identities, replace(RING, boards=boards)) == [0, 1, 2, 3]
    assert known_ranks(identities, RING) == [3, 2, 1, None]


def test_a_fault_is_named_whatever_the_order():
    report = scan(RING, ["open:2-1.D3"], links=links_in_order((0, 2, 1, 3)))
    assert set(report.codes) == {"order:0,2,1,3", "open:2-1.D3"}
    assert report.explained


def test_sixteen_boards_in_random_order_with_two_faults():
    order = [0, *random.Random(SEED).sample(range(1, 16), 15)]
    links = links_in_order(order)
    bad = f"open:{links[5].source}-{links[5].target}.CLK"
    report = scan(sim_rig(16), [bad, f"missing:{links[9].source}-{links[9].target}"], links=links)
    assert bad in report.codes
    assert report.explained


# --- what is neither joined nor apart ------------------------------------------------------------------


def test_pad_that_does_not_hear_itself_is_named():
    pins = PaperPins(RING.links, [], 4)
    pins.deaf.add((2, 20))
    texts = [finding.text for finding in analyse(observe(pins), RING).findings]
    assert "board 2 GPIO20 (pin 38) does not read its own level back while it drives" in texts


def test_contact_that_works_one_way_is_named_with_both_pads():
    pins = PaperPins(RING.links, [], 4)
    pins.one_way[(1, 19), 1] = (2, 7)
    report = analyse(observe(pins), RING)
    text = next(finding.text for finding in report.findings if finding.kind == "one-way")
    assert text == (
        "board 1 GPIO19 (pin 35) and board 2 GPIO7 (pin 26) follow each other in 3 of 4 tests: neither joined nor apart"
    )
    assert not report.explained


# --- the scan itself -----------------------------------------------------------------------------------


def test_every_free_pad_is_driven_both_ways_and_all_pads_are_released():
    pins = PaperPins(RING.links, ["stuck1:0-1.D0"], 4)
    observe(pins)
    assert pins.drives == 2 * (80 - 2)
    assert len(pins.restored) == 78


def test_scan_that_breaks_off_releases_everything():
    pins = PaperPins(RING.links, [], 4)
    pins.read_driven = None
    with pytest.raises(TypeError):
        observe(pins)
    assert pins.restored is not None


def test_noisy_bank_is_left_alone_as_a_whole():
    pins = PaperPins(RING.links, ["noground:0-1"], 4, seed=3)
    assert sum(held is Held.NOISE for held in observe(pins).held.values()) == 20


class CodePins(PaperPins):
    """Wires that carry codes; `spoil` may change what arrives."""

    def __init__(self, spoil=lambda levels: levels):
        super().__init__(RING.links, [], 4)
        self.driven, self.spoil = {}, spoil

    def drive_together(self, pins):
        for rank, (pin, level) in pins.items():
            self.driven |= dict.fromkeys(self.net[rank, pin], level)

    def read(self):
        return self.spoil(self._levels(self.driven))


def test_codes_arrive_on_clean_wires_and_tell_any_two_apart():
    assert wrong_codes(CodePins(), RING.links) == []
    for one, other in itertools.combinations(range(10), 2):
        assert any(code[one] != code[other] for code in CODES)


def test_wire_that_fails_only_together_with_others_is_caught_by_the_codes():
    pins = CodePins(lambda levels: [word & ~(1 << 7) if word >> 8 & 1 else word for word in levels])
    wrong = wrong_codes(pins, RING.links)
    assert wrong
    assert wrong[0].startswith("link 0->1: sent ")


# --- the model and the picture -------------------------------------------------------------------------


def test_findings_that_do_not_explain_are_said_not_to():
    report = replace(scan(RING, ["open:1-2.D3"]), explained=False)
    assert "These findings do not explain everything that was seen. Mend them, then scan again." in report.text()


def test_unknown_wire_is_refused_by_name():
    with pytest.raises(RigError, match="this rig has no link `1-3`; its links are 0-1, 1-2, 2-3, 3-0"):
        nets_of(RING.links, ["open:1-3.D0"], 4)
    with pytest.raises(RigError, match="there is no wire `1-3.D0` in this rig; wires are named like 1-2.D3"):
        nets_of(RING.links, ["noise:1-3.D0"], 4)


def test_a_wrong_name_is_not_taken_for_the_right_one():
    assert canonical(["open:1-2.D3"]) != canonical(["open:1-2.D4"])
    assert canonical(["bridge-and:1-2.D3,1-2.D4"]) == canonical(["bridge:1-2.D4,1-2.D3"])
    assert canonical(["stuck0:1-2.D3"]) != canonical(["stuck1:1-2.D3"])


def wires_drawn_bad(picture: str) -> int:
    """Lines in red above the legend."""
    drawn, _, _ = picture.partition(">right<")
    return len(re.findall(r'class="(?:wire )?bad[^"]*"><(?:title|/line)', drawn))


@pytest.mark.parametrize("config", [sim_rig(2), RING, sim_rig(16), LOOP, BARE], ids=lambda c: f"{c.world_size}")
def test_picture_is_well_formed_and_red_only_where_something_is_wrong(config):
    good = wiring_svg(scan(config))
    ET.fromstring(good)
    if not config.links:
        return
    link = config.links[0]
    bad = wiring_svg(scan(config, [f"open:{link.source}-{link.target}.D3"]))
    ET.fromstring(bad)
    assert wires_drawn_bad(good) == 0
    assert wires_drawn_bad(bad) >= 1


def test_port_names_are_escaped_in_the_picture():
    boards = (BoardSpec(0, "<script>"), *RING.boards[1:])
    picture = wiring_svg(scan(replace(RING, boards=boards)))
    assert "<script>" not in picture
    assert "&lt;script&gt;" in picture


def test_report_as_json_has_a_verdict_for_every_wire():
    report = scan(RING, ["stuck1:2-3.D7"]).to_json()
    assert report["good"] is False
    assert [w["wire"] for w in report["wires"] if w["verdict"] != "ok"] == ["2-3.D7"]
    assert report["findings"][0]["codes"] == ("stuck1:2-3.D7",)
