"""What a wiring scan found: findings, a verdict per wire, text and JSON. No I/O, no analysis."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from hil.checks.wiring.model import Nets
from hil.checks.wiring.pads import Pad, Wire, pad_name
from hil.rig.pins import WIRE_NAMES, wire_name

OK = "ok"


@dataclass(frozen=True, slots=True)
class WiringFinding:
    """One thing that is wrong.

    Args:
        kind: open, stuck-0, stuck-1, bridge, swap, reversed, missing, crossed, cable, order, no-ground, noise,
            one-way, deaf.
        codes: the same as fault texts, so that it can be set up again on a simulated rig; empty where there is none.
        text: one plain sentence with physical names.
        advice: what to do.
        wires: names of the wires that it spoils, `1-2.D3`.
        links: names of the links that it spoils as a whole, `1-2`.
    """

    kind: str
    codes: tuple[str, ...]
    text: str
    advice: str
    wires: tuple[str, ...] = ()
    links: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class WireVerdict:
    """One wire: where it should go, the pad at its far end, and what is said about it (`ok` or findings' kinds)."""

    wire: Wire
    far: Pad
    expected: Pad
    verdict: str

    @property
    def text(self) -> str:
        """`link 1->2 D3: board 1 GPIO19 (pin 35) -> board 2 GPIO7 (pin 26): ok`."""
        name = wire_name(self.wire.link, self.wire.number)
        reached = f" (it ends at {pad_name(self.far)})" if self.far != self.expected else ""
        return f"{name}: {self.verdict}{reached}"


@dataclass(frozen=True, slots=True)
class WiringReport:
    """The verdict on a rig's wires.

    Args:
        rig: name of the rig.
        ports: the boards' ports by rank.
        order: ranks of the rig file in the order in which the boards stand in the ring; empty where the links
            found make no single ring.
        wires: every wire of the links, found as they are.
        findings: what is wrong; empty when all is well.
        explained: whether the findings give exactly the nets that were seen.
        codes_sent: whether the links also carried parallel codes (done on a clean map only).
        seconds: on the rig's clock.
        seen: the nets that the scan found.
    """

    rig: str
    ports: tuple[str, ...]
    order: tuple[int, ...]
    wires: tuple[WireVerdict, ...]
    findings: tuple[WiringFinding, ...]
    explained: bool
    seen: Nets
    codes_sent: bool = False
    seconds: float = 0.0

    @property
    def good(self) -> bool:
        """Nothing is wrong."""
        return not self.findings

    @property
    def verdict(self) -> str:
        """In a few words."""
        count = len(self.findings)
        return "all wires are right" if self.good else f"{count} thing{'s' if count > 1 else ''} to mend"

    @property
    def codes(self) -> tuple[str, ...]:
        """All findings as fault texts."""
        return tuple(code for finding in self.findings for code in finding.codes)

    @property
    def links(self) -> tuple[str, ...]:
        """The links as found, `1-2`."""
        return tuple(dict.fromkeys(f"{v.wire.source}-{v.wire.target}" for v in self.wires))

    def text(self) -> str:
        """For the terminal: the verdict, the findings, what to do."""
        boards = f"{len(self.ports)} board{'s' if len(self.ports) != 1 else ''}"
        extent = f"{boards}, {len(self.wires)} wires" if self.wires else f"{boards}, no wires"
        lines = [f"wiring of rig {self.rig}: {extent}, scanned in {self.seconds:.2f} s"]
        if self.order:
            lines.append(f"ring     {' -> '.join(f'board {rank}' for rank in (*self.order, self.order[0]))}")
        lines += map(self._link_line, self.links)
        for number, finding in enumerate(self.findings, 1):
            lines += ["", f"{number}. {finding.text}", f"   {finding.advice}"]
        if not self.explained:
            lines += ["", "These findings do not explain everything that was seen. Mend them, then scan again."]
        checked = "; all links carried all codes at once" if self.codes_sent else ""
        lines += ["", f"{self.verdict}{checked}"]
        return "\n".join(lines)

    def _link_line(self, link: str) -> str:
        verdicts = [v for v in self.wires if f"{v.wire.source}-{v.wire.target}" == link]
        wrong = [v for v in verdicts if v.verdict != OK]
        if len(wrong) == len(verdicts) and len({v.verdict for v in wrong}) == 1:
            marks = f"all: {wrong[0].verdict}"
        else:
            marks = " ".join(f"{WIRE_NAMES[v.wire.number]}:{v.verdict}" for v in wrong)
        good = len(verdicts) - len(wrong)
        return f"link {link.replace('-', '->')}  {good:2} of {len(verdicts)} wires right{'  ' if marks else ''}{marks}"

    def to_json(self) -> dict[str, Any]:
        """Everything as plain values."""
        return {
            "rig": self.rig,
            "good": self.good,
            "ports": list(self.ports),
            "order": list(self.order),
            "findings": [asdict(finding) for finding in self.findings],
            "wires": [
                {"wire": str(v.wire), "verdict": v.verdict, "text": v.text, "far": list(v.far)} for v in self.wires
            ],
            "explained": self.explained,
            "codes_sent": self.codes_sent,
            "seconds": round(self.seconds, 6),
        }
