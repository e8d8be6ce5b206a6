"""From what a scan saw to findings: what is wrong, on which wire, in plain words. Pure functions.

Order of the questions: which cable goes where (order of the boards, crossed, missing, turned), which wire goes where
(swaps), what is each wire's state (open, stuck, no ground), what is joined that should not be (bridges).
What cannot be told apart electrically: docs/limits.md.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping, Sequence

from hil.checks.wiring.model import Nets, nets_of, ring_order, seen_nets
from hil.checks.wiring.pads import (
    WIRES,
    Held,
    Observation,
    Pad,
    Wire,
    bank_name,
    bank_pad,
    pad_code,
    pad_name,
    wires_of,
)
from hil.checks.wiring.report import OK, WireVerdict, WiringFinding, WiringReport
from hil.checks.wiring.scan import NOISY_PADS
from hil.checks.wiring.trace import Tracks, exchanges, find_cables, find_wires, net_numbers
from hil.protocol.link_messages import Bank
from hil.rig.pins import WIRE_NAMES, wire_name
from hil.rig.specs import LinkSpec, RigConfig

STUCK = {Held.LOW: ("stuck-0", "stuck0"), Held.HIGH: ("stuck-1", "stuck1"), Held.NOISE: ("noise", "noise")}
RAIL = {Held.LOW: "ground", Held.HIGH: "3.3 V"}


def analyse(observation: Observation, config: RigConfig, known: Sequence[int | None] = ()) -> WiringReport:
    """What a scan says about a rig's wires.

    Args:
        known: the rank that each board has by its serial number or shard, as far as known. Not used to find the order,
            only to tell where the ring begins and what was exchanged.
    """
    return _Analysis(observation, config, known).report()


class _Analysis:
    """One analysis; findings are added in the order of the questions."""

    def __init__(self, observation: Observation, config: RigConfig, known: Sequence[int | None]) -> None:
        self.seen = observation
        self.config = config
        self.known = known
        self.findings: list[WiringFinding] = []
        self.state: dict[Wire, list[str]] = {}
        self.net = net_numbers(observation)
        self.groundless: set[Pad] = set()
        self.odd: Sequence[tuple[tuple[int, Bank], tuple[int, Bank]]] = ()
        sources = [(link.source, Bank.DOWNSTREAM) for link in config.links]
        targets = [(link.target, Bank.UPSTREAM) for link in config.links]
        self.wired = {bank_pad(bank, number) for bank in sources + targets for number in range(WIRES)}

    def report(self) -> WiringReport:
        """Ask all questions."""
        cables = find_cables(self.seen, self.config.links)
        self.odd = cables.odd
        for ends in cables.odd:
            self._odd_cable(ends)
        links, arrives = self._place_boards(cables.target)
        wires = wires_of(links)
        self.state = {wire: [] for wire in wires}
        tracks = find_wires(self.seen, wires, {link: (arrives[link], Bank.UPSTREAM) for link in links})
        for link in sorted(tracks.turned, key=links.index):
            self._turned(link)
        self._swaps(tracks)
        for link in links:
            self._states(link, tracks)
        self._lone_pads()
        self._bridges(tracks)
        self._odd_pads()
        return WiringReport(
            rig=self.config.name,
            ports=tuple(spec.port for spec in self.config.boards),
            order=self._from_first(ring_order(links)),
            wires=tuple(self._verdict(wire, tracks) for wire in wires),
            findings=tuple(self.findings),
            explained=self._explained(links),
            seen=seen_nets(self.seen),
        )

    # --- cables --------------------------------------------------------------------------------

    def _place_boards(self, target: Mapping[int, int]) -> tuple[list[LinkSpec], dict[LinkSpec, int]]:
        """The links as they are, and the board at which each one's cable arrives."""
        links = list(self.config.links)
        found = [LinkSpec(links[i].source, links[target[i]].target) for i in range(len(links))]
        order = self._from_first(ring_order(found))
        if self.config.is_ring and order:
            if order != tuple(range(len(links))):
                self._order(order)
            found.sort(key=lambda link: order.index(link.source))
            return found, {link: link.target for link in found}
        for circle in exchanges(target, {i: i for i in range(len(links))}):
            self._crossed([links[i] for i in circle])
        return links, {link: other.target for link, other in zip(links, found, strict=True)}

    def _from_first(self, order: tuple[int, ...]) -> tuple[int, ...]:
        """Turn a ring so that it begins where the boards say, or else where most boards agree with the rig file."""
        if not order:
            return order
        turns = [order[k:] + order[:k] for k in range(len(order))]
        known = dict(enumerate(self.known))

        def agreement(turn: tuple[int, ...]) -> tuple[int, int]:
            by_board = sum(known.get(rank) == place for place, rank in enumerate(turn))
            return by_board, sum(rank == place for place, rank in enumerate(turn))

        return max(turns, key=agreement)

    def _order(self, order: tuple[int, ...]) -> None:
        ports = "; ".join(
            f"rank {place}: {self.config.boards[rank].port}" for place, rank in enumerate(order) if rank != place
        )
        moved = [place for place, rank in enumerate(order) if rank != place]
        known = dict(enumerate(self.known))
        if all(known.get(order[place]) == place for place in moved):
            cause = "By their cards or serial numbers the boards stand right and the USB cables were exchanged"
        elif all(known.get(place) == place for place in moved):
            cause = "By their cards or serial numbers the ports are right: boards or link cables were exchanged"
        else:
            cause = "USB cables, boards or link cables were exchanged"
        self._add(
            "order",
            (f"order:{','.join(map(str, order))}",),
            f"the boards stand in the ring in the order {', '.join(map(str, order))} (numbers of the rig file), "
            f"not {', '.join(map(str, range(len(order))))}",
            f"{cause}. To leave the wires as they are, give the rig file these ports: {ports}.",
        )

    def _crossed(self, links: Sequence[LinkSpec]) -> None:
        ends = [*links[1:], links[0]]
        goes = "; ".join(
            f"board {link.source}'s high bank goes to board {end.target}'s low bank, not to board {link.target}'s"
            for link, end in zip(links, ends, strict=True)
        )
        codes = tuple(f"crossed:{_link(a)},{_link(b)}" for a, b in itertools.pairwise(links))
        names = " and ".join(f"link {link}" for link in links)
        advice = "Exchange the cables at these low banks."
        self._add("crossed", codes, f"{names} are crossed: {goes}", advice, links=links)

    def _odd_cable(self, ends: tuple[tuple[int, Bank], tuple[int, Bank]]) -> None:
        one, other = map(bank_name, ends)
        advice = "A cable goes from a high bank (GPIO16..25) to the next board's low bank (GPIO4..13)."
        self._add("cable", (), f"{one} is wired to {other}; this rig has no such link", advice)

    def _turned(self, link: LinkSpec) -> None:
        self._add(
            "reversed",
            (f"reversed:{_link(link)}",),
            f"link {link}: one connector is turned round: D0 arrives where ACK should, D1 where CLK should, and so on",
            f"Turn the connector at board {link.target}'s low bank or at board {link.source}'s high bank round.",
            links=[link],
        )

    # --- wires ---------------------------------------------------------------------------------

    def _swaps(self, tracks: Tracks) -> None:
        for circle in exchanges(tracks.far, tracks.expected):
            circle = sorted(circle) if len(circle) == 2 else circle
            codes = tuple(_swap_code(a, b) for a, b in itertools.pairwise(circle))
            goes = ", ".join(f"{pad_name(wire.near)} goes to {pad_name(tracks.far[wire])}" for wire in circle)
            names = " and ".join(f"{WIRE_NAMES[wire.number]} of link {wire.link}" for wire in circle)
            word = "exchanged" if len(circle) == 2 else "exchanged in a circle"
            self._add("swap", codes, f"{names} are {word}: {goes}", "Exchange these jumpers at one end.", circle)

    def _states(self, link: LinkSpec, tracks: Tracks) -> None:
        """Open, stuck and no ground, wire by wire of a link."""
        wires = wires_of([link])
        noisy = [bank for bank in self._ends(link, tracks) if self._noisy(bank)]
        if noisy:
            self._no_ground(wires, noisy, tracks)
            return
        cut = [wire for wire in wires if not self._whole(wire, tracks)]
        missing = len(cut) == WIRES
        if missing:
            ends = f"{bank_name((link.source, Bank.DOWNSTREAM))} and {bank_name((link.target, Bank.UPSTREAM))}"
            self._add(
                "missing",
                (f"missing:{_link(link)}",),
                f"link {link}: none of its ten wires gets through; {ends} are not joined",
                "Plug the cable in at both ends; if it is, the wrong row of pins may be used.",
                links=[link],
            )
        for wire in wires:
            if wire in cut and not missing:
                self._open(wire)
            elif missing:
                self.state[wire].append("missing")
            self._stuck(wire, tracks)

    def _ends(self, link: LinkSpec, tracks: Tracks) -> list[tuple[int, Bank]]:
        ranks = {tracks.far[wire][0] for wire in wires_of([link])}
        return [(link.source, Bank.DOWNSTREAM), *((rank, Bank.UPSTREAM) for rank in sorted(ranks))]

    def _noisy(self, bank: tuple[int, Bank]) -> bool:
        pads = [bank_pad(bank, number) for number in range(WIRES)]
        return sum(self.seen.held.get(pad) is Held.NOISE for pad in pads) >= NOISY_PADS

    def _no_ground(self, wires: Sequence[Wire], noisy: Sequence[tuple[int, Bank]], tracks: Tracks) -> None:
        link = wires[0].link
        where = " and ".join(map(bank_name, noisy))
        self.groundless.update(pad for wire in wires for pad in (wire.near, tracks.far[wire]))
        self._add(
            "no-ground",
            (f"noground:{_link(link)}",),
            f"link {link}: {where} {'read' if len(noisy) > 1 else 'reads'} noise whatever the pulls are: "
            "the two boards have no common ground",
            "Join a GND pin of each board beside this link, and power both from one supply.",
            wires,
            [link],
        )

    def _whole(self, wire: Wire, tracks: Tracks) -> bool:
        """Whether the wire's two ends are on one net, as far as can be seen."""
        near, far = wire.near, tracks.far[wire]
        if near in self.net:
            return self.net[near] == self.net.get(far)
        return self.seen.held[near] is self.seen.held.get(far)

    def _open(self, wire: Wire) -> None:
        self._add(
            "open",
            (f"open:{wire}",),
            f"{wire_name(wire.link, wire.number)}: open; no level gets across, in either direction",
            "Reseat the jumper at both ends; if that does not help, replace it.",
            [wire],
        )

    def _stuck(self, wire: Wire, tracks: Tracks) -> None:
        """A wire, or one end of a cut one, that is held."""
        ends = {wire.near: "", tracks.far[wire]: "/far"}
        held = {pad: self.seen.held[pad] for pad in ends if pad in self.seen.held}
        whole = self._whole(wire, tracks)
        for pad, level in held.items():
            kind, code = STUCK[level]
            name = wire_name(wire.link, wire.number)
            where = "" if whole else f", at the end of {pad_name(pad)} only"
            self._add(
                kind,
                (f"{code}:{wire}{'' if whole else ends[pad]}",),
                f"{name}: {_stuck_text(level)}{where}; it was not driven",
                _stuck_advice(level),
                [wire],
            )
            if whole:
                break

    def _lone_pads(self) -> None:
        """Held pads that belong to no wire of the rig."""
        for pad, level in sorted(self.seen.held.items()):
            if pad in self.wired:
                continue
            kind, code = STUCK[level]
            text = f"{pad_name(pad)}: {_stuck_text(level)}; it was not driven"
            self._add(kind, (f"{code}:{pad_code(pad)}",), text, _stuck_advice(level))

    # --- what should not be joined -------------------------------------------------------------

    def _bridges(self, tracks: Tracks) -> None:
        """Nets that hold more than one wire, or loose ends or pads that belong elsewhere."""
        members: dict[int, dict[str, tuple[Wire | None, Pad]]] = {}
        for wire, far in tracks.far.items():
            if wire.near in self.net:
                members.setdefault(self.net[wire.near], {})[str(wire)] = (wire, wire.near)
            if far in self.net and self.net[far] != self.net.get(wire.near):
                members.setdefault(self.net[far], {})[f"{wire}/far"] = (wire, far)
        for pad in self.net:
            if pad not in self.wired:
                members.setdefault(self.net[pad], {})[pad_code(pad)] = (None, pad)
        for found in members.values():
            if len(found) > 1 and not self._in_odd_cable([pad for _, pad in found.values()]):
                self._bridge(found)

    def _in_odd_cable(self, pads: Sequence[Pad]) -> bool:
        """Whether a cable between wrong banks explains that just these pads are joined."""
        cables = [{bank_pad(bank, number) for bank in ends for number in range(WIRES)} for ends in self.odd]
        return len(pads) == 2 and any(cable.issuperset(pads) for cable in cables)

    def _bridge(self, found: Mapping[str, tuple[Wire | None, Pad]]) -> None:
        names = list(found)
        texts = [
            wire_name(wire.link, wire.number) if wire is not None else pad_name(pad) for wire, pad in found.values()
        ]
        self._add(
            "bridge",
            tuple(f"bridge:{a},{b}" for a, b in itertools.pairwise(names)),
            f"bridged, each follows the other: {'; and '.join(texts)}",
            "Look for touching pins or bare wire where these two are side by side; pull one jumper at a time.",
            [wire for wire, _ in found.values() if wire is not None],
        )

    def _odd_pads(self) -> None:
        for pad in self.seen.deaf:
            text = f"{pad_name(pad)} does not read its own level back while it drives"
            self._add("deaf", (), text, "The pad is damaged or heavily loaded; take its jumper off and scan again.")
        for pair in self.seen.one_way:
            pads = f"{pad_name(pair.driver)} and {pad_name(pair.reader)}"
            text = f"{pads} follow each other in {pair.agreed} of {pair.asked} tests: neither joined nor apart"
            self._add("one-way", (), text, "A loose contact or a weak short; reseat both jumpers and scan again.")

    # --- result --------------------------------------------------------------------------------

    def _add(
        self,
        kind: str,
        codes: tuple[str, ...],
        text: str,
        advice: str,
        wires: Sequence[Wire] = (),
        links: Sequence[LinkSpec] = (),
    ) -> None:
        """A finding that spoils these wires, or these links as a whole."""
        names = tuple(map(str, wires)), tuple(map(_link, links))
        self.findings.append(WiringFinding(kind, codes, text, advice, *names))
        for wire in wires:
            if kind not in self.state[wire]:
                self.state[wire].append(kind)

    def _verdict(self, wire: Wire, tracks: Tracks) -> WireVerdict:
        far = tracks.far[wire]
        words = [f.kind for f in self.findings if _link(wire.link) in f.links and f.kind in ("crossed", "reversed")]
        words += self.state[wire]
        expected = bank_pad((wire.target, Bank.UPSTREAM), wire.number)
        return WireVerdict(wire, far, expected, ", ".join(words) or OK)

    def _explained(self, links: Sequence[LinkSpec]) -> bool:
        """Whether the findings, set up on paper, give exactly what was seen."""
        if any(not finding.codes for finding in self.findings):
            return False
        codes = [code for finding in self.findings for code in finding.codes if finding.kind != "order"]
        given = nets_of(links, codes, self.seen.world_size)
        return _without(given, self.groundless) == _without(seen_nets(self.seen), self.groundless)


def _without(nets: Nets, pads: Collection[Pad]) -> Nets:
    """Nets without pads that tell nothing: without a common ground either end, or both, may read noise."""
    groups = (tuple(pad for pad in members if pad not in pads) for members in nets.groups)
    return Nets(tuple(filter(None, groups)), {pad: held for pad, held in nets.held.items() if pad not in pads})


def _link(link: LinkSpec) -> str:
    return f"{link.source}-{link.target}"


def _swap_code(one: Wire, other: Wire) -> str:
    second = WIRE_NAMES[other.number] if one.link == other.link else str(other)
    return f"swap:{one},{second}"


def _stuck_text(level: Held) -> str:
    if level is Held.NOISE:
        return "reads noise whatever its pull is"
    return f"stuck at {level.value}; it stays there against its pull, as if joined to {RAIL[level]} or driven"


def _stuck_advice(level: Held) -> str:
    if level is Held.NOISE:
        return "Something drives or pulls it against its pull; take the jumper off and scan again."
    return f"Look for a short to {RAIL[level]} at either end. If two wires are stuck alike, they may be bridged."
