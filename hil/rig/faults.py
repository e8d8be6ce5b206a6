"""Faults of a simulated rig: every kind that a user can name, with its text, as `open:1-2.D3`, and with its model.

A kind is one class below. FORMS say how its text is made of its fields; reading and printing follow from them, and a
field's type says how its own part is read and printed. `draw` says what the fault does: to the wires, in the few words
of `Drawing`, or to a simulation, by a fault of hil/sim/faults.py. A new kind is a new class here, listed in FAULTS;
where no fault of hil/sim/faults.py models it, it needs one there. Format for users: docs/rigs.md, with `fault_table`.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Annotated, Any, ClassVar, Literal, NoReturn, Protocol, Self, get_args, get_origin, get_type_hints

from hil.errors import RigError
from hil.protocol.link_messages import Bank
from hil.rig.pins import CLK, WIRE_NAMES, gpio
from hil.rig.specs import DRIFT_PPM_MAX, LinkSpec, RigConfig, end_text
from hil.sim import Wire
from hil.sim import faults as models

UNITS_NS = {"s": 1e9, "ms": 1e6, "us": 1e3, "ns": 1.0}
DELAY_NS_MAX = 100_000.0
TIME_NS_MAX = 3600e9
BAUD_MAX = 12e6
GLITCH_WIDTH_NS = 100.0
"""Default: two reads of the pads, so that a glitch on a line that is polled is seldom missed."""
WIRES_PER_LINK = len(WIRE_NAMES)
CLOCK_PINS = tuple(gpio(bank, CLK) for bank in Bank)


@dataclass(frozen=True, slots=True)
class WireRef:
    """A wire by its link and its place 0..9 at the link's source: `1-2.D3`."""

    link: LinkSpec
    wire: int

    def __str__(self) -> str:
        return f"{link_text(self.link)}.{WIRE_NAMES[self.wire]}"


def link_text(link: LinkSpec) -> str:
    """How a fault names a link: `1-2`."""
    return f"{end_text(link.source)}-{end_text(link.target)}"


def wires_of(link: LinkSpec) -> list[WireRef]:
    """The ten wires of a link."""
    return [WireRef(link, k) for k in range(WIRES_PER_LINK)]


class Drawing(Protocol):
    """Wires that faults are drawn into: a simulation's (hil/desk/faulty.py), or a map (hil/checks/wiring/model.py)."""

    def exchange(self, a: WireRef, b: WireRef) -> None:
        """Exchange the far ends of two wires."""

    def cross(self, a: LinkSpec, b: LinkSpec) -> None:
        """Exchange the far ends of two links."""

    def turn(self, link: LinkSpec) -> None:
        """Turn a link's far connector round."""

    def unplug(self, link: LinkSpec) -> None:
        """Take a link away; faults on its wires have no effect then."""

    def cut(self, at: WireRef) -> None:
        """Break a wire."""

    def tie(self, at: WireRef, level: int) -> None:
        """Short a wire to ground (0) or supply (1)."""

    def join(self, a: WireRef, b: WireRef, wins: Literal["and", "or"]) -> None:
        """Let two wires touch."""

    def unground(self, link: LinkSpec) -> None:
        """Take the common ground of a link's two boards away."""

    def add(self, make: Callable[[Mapping[WireRef, Wire]], models.Fault], *at: WireRef) -> None:
        """What a simulation alone shows. make: from the wires as they are in the end; at: those that must be there."""


# ---- parts of a text ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Reader:
    """Reads the parts of one fault's text. Each method takes a part's text and raises RigError if it is wrong."""

    text: str
    example: str
    where: str
    links: tuple[LinkSpec, ...]
    world_size: int

    def wrong(self, what: str) -> NoReturn:
        raise RigError(f"fault {self.text!a}: {what}; an example is {self.example}")

    def pair(self, text: str, mark: str) -> tuple[str, str]:
        parts = text.split(mark)
        if len(parts) != 2 or not all(parts):
            self.wrong(f"`{text}` must be two parts with one `{mark}` between them")
        return parts[0], parts[1]

    def link(self, text: str) -> LinkSpec:
        for link in self.links:
            if link_text(link) == text:
                return link
        known = ", ".join(link_text(link) for link in self.links) or "none"
        self.wrong(f"{self.where} has no link `{text}`; its links are {known}")

    def wire(self, text: str) -> WireRef:
        link, name = self.pair(text, ".")
        return WireRef(self.link(link), self.wire_number(name))

    def wire_number(self, name: str) -> int:
        if name not in WIRE_NAMES:
            self.wrong(f"no wire is called `{name}`; wires are {', '.join(WIRE_NAMES)}")
        return WIRE_NAMES.index(name)

    def board(self, text: str) -> int:
        if not text.isascii() or not text.isdigit() or int(text) >= self.world_size:
            self.wrong(f"{self.where} has no board `{text}`; its boards are 0..{self.world_size - 1}")
        return int(text)

    def number(self, text: str, low: float, high: float, unit: str = "") -> float:
        try:
            value = float(text.removesuffix(unit)) if text.endswith(unit) else float("nan")
        except ValueError:
            value = float("nan")
        if not low <= value <= high:
            self.wrong(f"`{text}` must be a number from {low:g} to {high:g}{' with ' + unit if unit else ''}")
        return value

    def time_ns(self, text: str, most_ns: float = TIME_NS_MAX) -> float:
        match = re.fullmatch(r"([0-9.]+(?:e[+-]?[0-9]+)?)(s|ms|us|ns)", text)
        if match is None:
            self.wrong(f"`{text}` must be a time, as 1.5s, 20ms, 3us or 30ns")
        return self.number(match[1], 0, most_ns / UNITS_NS[match[2]]) * UNITS_NS[match[2]]

    def byte_number(self, text: str) -> int:
        if not text.isascii() or not text.isdigit() or int(text) == 0:
            self.wrong(f"`byte{text}` must be a byte's number from 1 on, as byte1000")
        return int(text)


@dataclass(frozen=True, slots=True)
class _Part:
    """How one field is read from its part of the text, and printed."""

    read: Callable[[_Reader, str], Any]
    show: Callable[[Any], str] = str


def _rate_text(rate: float) -> str:
    if rate == 0 or rate >= 0.01:
        return f"{rate:.12g}"
    mantissa, exponent = f"{rate:.11e}".split("e")
    return f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"


def _time_text(time_ns: int) -> str:
    return f"{time_ns / 1e9:.9f}".rstrip("0").rstrip(".") + "s"


_Wire = Annotated[WireRef, _Part(_Reader.wire)]
_WireNumber = Annotated[int, _Part(_Reader.wire_number, lambda number: WIRE_NAMES[number])]
_Link = Annotated[LinkSpec, _Part(_Reader.link, link_text)]
_Board = Annotated[int, _Part(_Reader.board)]
_Rate = Annotated[float, _Part(lambda read, text: read.number(text, 0, 1), _rate_text)]
_Time = Annotated[int, _Part(lambda read, text: round(read.time_ns(text)), _time_text)]
_ShortTime = Annotated[
    float, _Part(lambda read, text: read.time_ns(text, DELAY_NS_MAX), lambda time_ns: f"{time_ns:.12g}ns")
]
_Byte = Annotated[int, _Part(_Reader.byte_number)]
_Drift = Annotated[
    float,
    _Part(lambda read, text: read.number(text, -DRIFT_PPM_MAX, DRIFT_PPM_MAX, "ppm"), lambda ppm: f"{ppm:+.12g}ppm"),
]
_Baud = Annotated[int, _Part(lambda read, text: round(read.number(text, 1, BAUD_MAX)))]


# ---- the kinds ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Fault:
    """A kind of fault; str() is its text.

    FORMS: what the text may look like, `{field}` for each field. Before the colon stand fields of type Literal only:
    each of their values makes a word of its own. Of several forms the first that fits is read, and the first in which
    no field has its default is printed.
    """

    FORMS: ClassVar[tuple[str, ...]] = ()
    EXAMPLES: ClassVar[tuple[str, ...]] = ()
    """At least one for each word."""
    WHAT: ClassVar[str] = ""
    """What is wrong, for the table in the docs."""

    def __str__(self) -> str:
        forms = _FORMS[type(self)]
        plain = {field.name for field in fields(self) if getattr(self, field.name) == field.default}
        form = next((form for form in forms if not plain & set(form.names)), forms[-1])
        return form.show(self)

    def flaw(self) -> str:
        """What is wrong with parts that are each right by themselves; empty where nothing is."""
        return ""

    def draw(self, on: Drawing) -> None:
        """Draw it."""
        raise NotImplementedError

    @classmethod
    def singles(cls, config: RigConfig) -> Iterable[Self]:
        """Every fault of this kind that a rig can have, for benches of the wiring; none where that says nothing."""
        return ()


@dataclass(frozen=True, slots=True)
class Open(Fault):
    """A broken wire."""

    FORMS = ("open:{at}",)
    EXAMPLES = ("open:1-2.D3",)
    WHAT = "wire D3 of link 1->2 is broken"
    at: _Wire

    def draw(self, on: Drawing) -> None:
        on.cut(self.at)

    @classmethod
    def singles(cls, config: RigConfig) -> Iterable[Self]:
        return map(cls, all_wires(config))


@dataclass(frozen=True, slots=True)
class Stuck(Fault):
    """A wire shorted to ground (level 0) or supply (1)."""

    FORMS = ("stuck{level}:{at}",)
    EXAMPLES = ("stuck0:1-2.D3", "stuck1:1-2.ACK")
    WHAT = "shorted to ground, to supply"
    at: _Wire
    level: Literal[0, 1]

    def draw(self, on: Drawing) -> None:
        on.tie(self.at, self.level)

    @classmethod
    def singles(cls, config: RigConfig) -> Iterable[Self]:
        levels: tuple[Literal[0, 1], ...] = (0, 1)
        return (cls(at, level) for at in all_wires(config) for level in levels)


@dataclass(frozen=True, slots=True)
class Bridge(Fault):
    """Two wires that touch, of any links."""

    FORMS = ("bridge-{kind}:{a},{b}",)
    EXAMPLES = ("bridge-and:1-2.D3,2-3.CLK", "bridge-or:1-2.D3,2-3.CLK")
    WHAT = "two wires touch; where outputs disagree 0 wins, or 1"
    a: _Wire
    b: _Wire
    kind: Literal["and", "or"]

    def flaw(self) -> str:
        return "the two wires must differ" if self.a == self.b else ""

    def draw(self, on: Drawing) -> None:
        on.join(self.a, self.b, self.kind)

    @classmethod
    def singles(cls, config: RigConfig) -> Iterable[Self]:
        kinds: tuple[Literal["and", "or"], ...] = ("and", "or")
        return (cls(a, b, kind) for a, b in itertools.combinations(all_wires(config), 2) for kind in kinds)


@dataclass(frozen=True, slots=True)
class Swap(Fault):
    """Two wires of a link exchanged at one end."""

    FORMS = ("swap:{at},{other}",)
    EXAMPLES = ("swap:1-2.D3,D4",)
    WHAT = "two wires exchanged"
    at: _Wire
    other: _WireNumber

    def flaw(self) -> str:
        return "the two wires must differ" if self.at.wire == self.other else ""

    def draw(self, on: Drawing) -> None:
        on.exchange(self.at, WireRef(self.at.link, self.other))

    @classmethod
    def singles(cls, config: RigConfig) -> Iterable[Self]:
        pairs = list(itertools.combinations(range(WIRES_PER_LINK), 2))
        return (cls(WireRef(link, a), b) for link in config.links for a, b in pairs)


@dataclass(frozen=True, slots=True)
class Reversed(Fault):
    """A connector turned round, so that wire k goes to 9 - k."""

    FORMS = ("reversed:{link}",)
    EXAMPLES = ("reversed:1-2",)
    WHAT = "connector turned round: wire k goes to 9 - k (D0..D7, CLK, ACK)"
    link: _Link

    def draw(self, on: Drawing) -> None:
        on.turn(self.link)

    @classmethod
    def singles(cls, config: RigConfig) -> Iterable[Self]:
        return map(cls, config.links)


@dataclass(frozen=True, slots=True)
class Missing(Fault):
    """A link that is not plugged in."""

    FORMS = ("missing:{link}",)
    EXAMPLES = ("missing:1-2",)
    WHAT = "link not plugged in"
    link: _Link

    def draw(self, on: Drawing) -> None:
        on.unplug(self.link)

    @classmethod
    def singles(cls, config: RigConfig) -> Iterable[Self]:
        return map(cls, config.links)


@dataclass(frozen=True, slots=True)
class Crossed(Fault):
    """The far ends of two links exchanged."""

    FORMS = ("crossed:{a},{b}",)
    EXAMPLES = ("crossed:0-1,1-2",)
    WHAT = "the far ends of two links exchanged"
    a: _Link
    b: _Link

    def flaw(self) -> str:
        return "the two links must differ" if self.a == self.b else ""

    def draw(self, on: Drawing) -> None:
        on.cross(self.a, self.b)

    @classmethod
    def singles(cls, config: RigConfig) -> Iterable[Self]:
        return itertools.starmap(cls, itertools.combinations(config.links, 2))


@dataclass(frozen=True, slots=True)
class NoGround(Fault):
    """No common ground: all ten wires of the link read as noise at the far end."""

    FORMS = ("noground:{link}",)
    EXAMPLES = ("noground:1-2",)
    WHAT = "no common ground: the far end reads noise"
    link: _Link

    def draw(self, on: Drawing) -> None:
        on.unground(self.link)


@dataclass(frozen=True, slots=True)
class Delay(Fault):
    """A wire that carries its level late, both ways."""

    FORMS = ("delay:{at}={delay_ns}",)
    EXAMPLES = ("delay:1-2.D3=30ns",)
    WHAT = "level arrives late"
    at: _Wire
    delay_ns: _ShortTime

    def draw(self, on: Drawing) -> None:
        on.add(lambda wires: models.Delay(wires[self.at], self.delay_ns), self.at)


@dataclass(frozen=True, slots=True)
class Glitch(Fault):
    """Pulses on a wire, `rate` per byte on its link."""

    FORMS = ("glitch:{at}={rate}/{width_ns}", "glitch:{at}={rate}")
    EXAMPLES = ("glitch:1-2.CLK=1e-4", "glitch:1-2.CLK=1e-4/60ns")
    WHAT = f"pulses per byte on this link; {GLITCH_WIDTH_NS:g} ns long unless told"
    at: _Wire
    rate: _Rate
    width_ns: _ShortTime = GLITCH_WIDTH_NS

    def draw(self, on: Drawing) -> None:
        clock = WireRef(self.at.link, CLK)
        on.add(lambda wires: models.Glitch(wires[self.at], wires[clock], self.rate, self.width_ns), self.at)


@dataclass(frozen=True, slots=True)
class Strike(Fault):
    """A board halts, resets or loses power once, after a time or at its n-th byte.

    Bytes count on both of the board's links and in both directions. Exactly one of the two is set.
    """

    FORMS = ("{kind}:{board}@byte{byte}", "{kind}:{board}@{after_ns}")
    EXAMPLES = ("halt:2@1.5s", "reset:2@byte1000", "off:2@0.2s")
    WHAT = "board stops, resets, loses power: after a time, or at its n-th byte on any link"
    kind: Literal["halt", "reset", "off"]
    board: _Board
    after_ns: _Time | None = None
    byte: _Byte | None = None

    def draw(self, on: Drawing) -> None:
        byte, after_ns = self.byte, self.after_ns or 0
        if byte is not None:
            on.add(lambda _: models.StrikeAfter(self.board, self.kind, byte, CLOCK_PINS))
        else:
            on.add(lambda _: models.StrikeAt(self.board, self.kind, after_ns))


@dataclass(frozen=True, slots=True)
class Drift(Fault):
    """A board's crystal is off, from its next start on."""

    FORMS = ("drift:{board}={drift_ppm}",)
    EXAMPLES = ("drift:1=+50ppm",)
    WHAT = "crystal off, from the board's next start on"
    board: _Board
    drift_ppm: _Drift

    def draw(self, on: Drawing) -> None:
        on.add(lambda _: models.Drift(self.board, self.drift_ppm))


@dataclass(frozen=True, slots=True)
class UartNoise(Fault):
    """Bytes on a board's serial line are lost, changed or doubled, both ways.

    Of two rates of one kind the later counts.
    """

    FORMS = ("uart-{kind}:{board}={rate}",)
    EXAMPLES = ("uart-drop:1=1e-3", "uart-corrupt:1=1e-3", "uart-duplicate:1=1e-3")
    WHAT = "bytes of a serial line lost, changed, doubled"
    kind: Literal["drop", "corrupt", "duplicate"]
    board: _Board
    rate: _Rate

    def draw(self, on: Drawing) -> None:
        on.add(lambda _: models.UartNoise(self.board, **{f"{self.kind}_rate": self.rate}))


@dataclass(frozen=True, slots=True)
class UartLimit(Fault):
    """A board's serial line damages bytes above a baud."""

    FORMS = ("uart-limit:{board}={baud}",)
    EXAMPLES = ("uart-limit:1=460800",)
    WHAT = "serial line damages one byte in sixteen above this baud"
    board: _Board
    baud: _Baud

    def draw(self, on: Drawing) -> None:
        on.add(lambda _: models.UartLimit(self.board, self.baud))


@dataclass(frozen=True, slots=True)
class UartHangUp(Fault):
    """A board's serial adapter is pulled out."""

    FORMS = ("uart-hangup:{board}@{after_ns}",)
    EXAMPLES = ("uart-hangup:1@2s",)
    WHAT = "serial adapter pulled out"
    board: _Board
    after_ns: _Time

    def draw(self, on: Drawing) -> None:
        on.add(lambda _: models.UartHangUp(self.board, self.after_ns))


FAULTS: tuple[type[Fault], ...] = (
    Open, Stuck, Bridge, Swap, Reversed, Missing, Crossed, NoGround,
    Delay, Glitch, Strike, Drift, UartNoise, UartLimit, UartHangUp,
)  # fmt: skip
"""Every kind. The docs' table, the messages and the benches follow this order."""


# ---- reading, printing, listing -------------------------------------------------------------------------------


class _Form:
    """One form of a kind's text: words before the colon, then fields with marks between them."""

    def __init__(self, template: str, hints: Mapping[str, Any]) -> None:
        self._head, _, body = template.partition(":")
        pieces = re.split(r"\{(\w+)\}", body)
        self.names, self._marks = pieces[1::2], pieces[2:-1:2]
        self._parts = {name: _part_of(hints[name]) for name in self.names}
        chosen = re.findall(r"\{(\w+)\}", self._head)
        values = [get_args(hints[name]) for name in chosen]
        each = [dict(zip(chosen, choice, strict=True)) for choice in itertools.product(*values)]
        self.words = {self._head.format(**choice): choice for choice in each}
        """Word before the colon -> the fields that it sets."""

    def fits(self, text: str) -> bool:
        return all(mark in text for mark in self._marks)

    def read(self, reader: _Reader, text: str) -> dict[str, Any]:
        texts = []
        for mark in self._marks:
            one, text = reader.pair(text, mark)
            texts.append(one)
        named = zip(self.names, [*texts, text], strict=True)
        return {name: self._parts[name].read(reader, part) for name, part in named}

    def show(self, fault: Fault) -> str:
        head = self._head.format(**{field.name: getattr(fault, field.name) for field in fields(fault)})
        texts = [self._parts[name].show(getattr(fault, name)) for name in self.names]
        pieces = itertools.zip_longest(texts, self._marks, fillvalue="")
        return f"{head}:{''.join(itertools.chain.from_iterable(pieces))}"


def _part_of(hint: Any) -> _Part:
    """The Part in a field's type, `Annotated[int, _Part]` or that or None."""
    if get_origin(hint) is Annotated:
        return next(note for note in hint.__metadata__ if isinstance(note, _Part))
    return next(_part_of(one) for one in get_args(hint) if one is not type(None))


def _forms_of(kind: type[Fault]) -> tuple[_Form, ...]:
    hints = get_type_hints(kind, include_extras=True)
    return tuple(_Form(template, hints) for template in kind.FORMS)


_FORMS = {kind: _forms_of(kind) for kind in FAULTS}
KINDS: dict[str, type[Fault]] = {word: kind for kind in FAULTS for word in _FORMS[kind][0].words}
"""Word before the colon -> what it means."""


def example_of(word: str) -> str:
    """An example of a fault's text."""
    return next(text for text in KINDS[word].EXAMPLES if text.partition(":")[0] == word)


def parse_fault(text: str, config: RigConfig) -> Fault:
    """The fault that a text like `open:1-2.D3` means on this rig; str() of it gives the text back.

    Raises: RigError, naming the part that is wrong and what would be right.
    """
    return read_fault(text, f"rig {config.name}", config.all_links, config.world_size)


def read_fault(text: str, where: str, links: tuple[LinkSpec, ...], world_size: int) -> Fault:
    """As parse_fault, for boards with these links; where: what messages call them."""
    word, _, rest = text.partition(":")
    if word not in KINDS:
        raise RigError(f"fault {text!a}: unknown kind `{word}`; known are {', '.join(KINDS)}")
    reader = _Reader(text, example_of(word), where, links, world_size)
    forms = _FORMS[KINDS[word]]
    form = next((form for form in forms if form.fits(rest)), forms[-1])
    fault = KINDS[word](**form.words[word], **form.read(reader, rest))
    if flaw := fault.flaw():
        reader.wrong(flaw)
    return fault


def all_wires(config: RigConfig) -> list[WireRef]:
    """Every wire of a rig, the probe's included."""
    return [at for link in config.all_links for at in wires_of(link)]


def single_faults(config: RigConfig) -> list[Fault]:
    """Every single wiring fault of a rig, in a fixed order: for benches.

    On a ring of four: 40 wires open, stuck at 0 and at 1; 780 pairs of wires bridged, with each kind of bridge;
    180 swaps within a link; 4 links reversed, 4 missing; 6 pairs of links crossed.
    """
    return [fault for kind in FAULTS for fault in kind.singles(config)]


def fault_table() -> str:
    """The kinds as a table in Markdown, as docs/rigs.md shows them."""
    rows = ["| text | what is wrong |", "|---|---|"]
    for kind in FAULTS:
        first, *others = kind.EXAMPLES
        rest = first.partition(":")[2]
        shown = [first, *(text.replace(f":{rest}", ":...") if text.endswith(f":{rest}") else text for text in others)]
        rows.append(f"| {', '.join(f'`{text}`' for text in shown)} | {kind.WHAT} |")
    return "\n".join(rows)
