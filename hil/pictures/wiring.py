"""A wiring scan as a picture: the ring with its faulty wires in red, those links in detail, the findings in words.

A file of its own. Pure: a WiringReport in, text out. Names of ports come from outside; they are escaped like all text.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence

from markupsafe import Markup

from hil.checks.wiring.pads import WIRES, Pad
from hil.checks.wiring.report import OK, WireVerdict, WiringReport
from hil.pictures import ring
from hil.pictures.ring import WIDTH, DrawnBoard, DrawnLink, DrawnWire
from hil.pictures.svg import line, sheet, tag, words
from hil.rig.pins import HEADER_PIN, WIRE_NAMES
from hil.text import first_line

TITLE = 46
ROW, PANEL_HEAD, PANEL_WIDTH, PANEL_GAP = 22, 44, 450, 20
PANEL_HEIGHT = PANEL_HEAD + WIRES * ROW + 8
TEXT_COLUMNS = 136
PORT_LETTERS = 26
CUT = ("open", "missing", "no-ground")
"""Verdicts of wires that join nothing; they are dashed."""
STYLE = (
    ring.STYLE
    + """
.paper { fill: #ffffff } text { fill: #1f2328; font-size: 12px } text.soft { fill: #6e7781 } text.bad { fill: #d1242f }
.title { font-size: 20px; font-weight: 600 } .verdict { font-size: 18px; font-weight: 600 } .strong { font-weight: 600 }
.small { font-size: 11px } .finding { font-size: 13px } .cross { font-size: 18px }
.panel { fill: none; stroke: #d0d7de }
.good .stroke, line.good { stroke: #57907a; stroke-width: 1.2 } circle.bad { fill: #d1242f }
.bad .stroke, line.bad { stroke: #d1242f; stroke-width: 2.6 } .cut .stroke, line.cut { stroke-dasharray: 5 6 }
.bad .wirename { fill: #d1242f; font-weight: 700 }
"""
)
Point = tuple[float, float]


def wiring_svg(report: WiringReport) -> str:
    """The picture of a scan, WIDTH wide."""
    bad = [link for link in report.links if any(v.verdict != OK for v in _link(report, link))]
    shown = bad or (list(report.links) if len(report.ports) == 1 else [])
    verdict = words(WIDTH - PANEL_GAP, 32, report.verdict, "verdict" if report.good else "verdict bad", "end")
    parts = [words(PANEL_GAP, 32, f"wiring of rig {report.rig}", "title"), verdict]
    top = float(TITLE)
    if len(report.ports) > 1:
        picture, height = ring.ring(
            _boards(report), [_drawn(_link(report, link), len(report.ports) > ring.MANY) for link in report.links]
        )
        parts.append(tag("g", picture, transform=f"translate(0 {TITLE})"))
        top += height
    for number, link in enumerate(shown):
        left = PANEL_GAP + (number % 2) * (PANEL_WIDTH + PANEL_GAP)
        parts += _panel(report, link, left, top + (number // 2) * (PANEL_HEIGHT + PANEL_GAP))
    top += math.ceil(len(shown) / 2) * (PANEL_HEIGHT + PANEL_GAP)
    parts += _legend(top + 14)
    top += 44
    findings = _findings(report)
    parts += [words(PANEL_GAP, top + 18 * row, said, class_) for row, (said, class_) in enumerate(findings)]
    return sheet(WIDTH, top + 18 * len(findings) + 10, f"wiring of rig {report.rig}", STYLE, *parts)


def _findings(report: WiringReport) -> list[tuple[str, str]]:
    """Lines of text with their classes."""
    lines = []
    for number, finding in enumerate(report.findings, 1):
        lines += [(said, "finding") for said in textwrap.wrap(f"{number}. {finding.text}", TEXT_COLUMNS)]
        lines += [(said, "finding soft") for said in textwrap.wrap(finding.advice, TEXT_COLUMNS)]
    return lines


def _link(report: WiringReport, link: str) -> list[WireVerdict]:
    return [v for v in report.wires if f"{v.wire.source}-{v.wire.target}" == link]


def _looks(verdict: WireVerdict) -> str:
    if verdict.verdict == OK:
        return "good"
    return "bad cut" if any(word in verdict.verdict for word in CUT) else "bad"


# --- the ring ------------------------------------------------------------------------------------------


def _boards(report: WiringReport) -> list[DrawnBoard]:
    """In the order in which they stand in the ring, where one was found."""
    ports = [
        port if len(port) <= PORT_LETTERS else "\N{HORIZONTAL ELLIPSIS}" + port[1 - PORT_LETTERS :]
        for port in report.ports
    ]
    return [DrawnBoard(rank, ports[rank]) for rank in report.order or range(len(ports))]


def _drawn(verdicts: Sequence[WireVerdict], brief: bool) -> DrawnLink:
    wires = [
        DrawnWire(WIRE_NAMES[v.wire.number], _looks(v), v.text, loud=v.verdict != OK)
        for v in sorted(verdicts, key=lambda v: v.wire.number)
    ]
    return DrawnLink(verdicts[0].wire.source, verdicts[0].wire.target, wires, _caption(verdicts, brief))


def _caption(verdicts: Sequence[WireVerdict], brief: bool) -> list[tuple[str, str]]:
    bad = [v for v in verdicts if v.verdict != OK]
    wire = verdicts[0].wire
    head = f"{wire.source} \N{RIGHTWARDS ARROW} {wire.target}"
    if not bad:
        return [(head, "")]
    if brief:
        return [(f"{head}: {len(bad)} bad", "trouble")]
    said = [f"{head}: {len(verdicts) - len(bad)} of {len(verdicts)} right"]
    if len({v.verdict for v in bad}) == 1 and len(bad) > 2:
        said.append(bad[0].verdict)
    else:
        said += [f"{WIRE_NAMES[v.wire.number]} {v.verdict}" for v in bad[:4]]
        said += [f"and {len(bad) - 4} more"] if len(bad) > 4 else []
    return [(text, "trouble") for text in said]


# --- one link in detail --------------------------------------------------------------------------------


def _panel(report: WiringReport, link: str, left: float, top: float) -> list[Markup]:
    """The ten wires of a link with their pins at both ends, drawn to where they really go."""
    verdicts = _link(report, link)
    wire = verdicts[0].wire
    parts = [
        tag("rect", x=left, y=top, width=PANEL_WIDTH, height=PANEL_HEIGHT, rx=7, class_="panel"),
        words(left + 12, top + 20, f"link {link.replace('-', ' → ')}", "strong"),
        words(left + 138, top + 38, f"board {wire.source}, high bank", "small soft", "end"),
        words(left + 254, top + 38, f"board {wire.target}, low bank", "small soft"),
    ]
    rows: dict[Pad, float] = {v.expected: top + PANEL_HEAD + 14 + ROW * v.wire.number for v in verdicts}
    for verdict in verdicts:
        parts += _panel_wire(verdict, rows, left)
    for numbers in _bridges(report, link):
        x, ys = left + 184, [rows[verdicts[number].expected] - 4 for number in numbers]
        parts.append(line(x, ys[0], x, ys[-1], "bad"))
        parts += [tag("circle", cx=x, cy=y, r=4.5, class_="bad") for y in ys]
    return parts


def _panel_wire(verdict: WireVerdict, rows: dict[Pad, float], left: float) -> list[Markup]:
    looks, bad = _looks(verdict), "" if verdict.verdict == OK else "bad"
    y = rows[verdict.expected]
    near, far = verdict.wire.near[1], verdict.expected[1]
    start, end = (left + 144, y - 4), (left + 248, rows.get(verdict.far, y) - 4)
    parts = [
        words(left + 12, y, WIRE_NAMES[verdict.wire.number], f"strong {bad}"),
        words(left + 138, y, f"GPIO{near} (pin {HEADER_PIN[near]})", f"small {bad}", "end"),
        words(left + 254, y, f"GPIO{far} (pin {HEADER_PIN[far]})", f"small {bad}"),
    ]
    if verdict.far not in rows:
        parts.append(words(left + 150, y, f"to board {verdict.far[0]}", "small bad"))
    elif looks == "bad cut":
        middle = (start[0] + end[0]) / 2
        parts += [line(*start, middle - 16, y - 4, "bad"), line(middle + 16, y - 4, *end, "bad")]
        parts.append(words(middle, y + 2, "\N{MULTIPLICATION SIGN}", "cross bad", "middle"))
    else:
        parts.append(line(*start, *end, looks))
    if bad:
        parts.append(words(left + PANEL_WIDTH - 8, y, first_line(verdict.verdict, 14), "small bad", "end"))
    return parts


def _bridges(report: WiringReport, link: str) -> list[list[int]]:
    """The wires of this link that are bridged, one list per bridge."""
    bridges = []
    for finding in report.findings:
        if finding.kind == "bridge":
            here = [name.partition(".")[2] for name in finding.wires if name.startswith(f"{link}.")]
            bridges += [sorted(WIRE_NAMES.index(name) for name in here)] if here else []
    return bridges


def _legend(top: float) -> list[Markup]:
    entries = (("right", "good"), ("wrong, joined", "bad"), ("wrong, does not get through", "bad cut"))
    parts = []
    x = float(PANEL_GAP)
    for said, looks in entries:
        parts += [line(x, top - 4, x + 46, top - 4, looks), words(x + 54, top, said, "soft")]
        x += 100 + 7 * len(said)
    return [*parts, tag("circle", cx=x + 8, cy=top - 4, r=4.5, class_="bad"), words(x + 20, top, "bridge", "soft")]
