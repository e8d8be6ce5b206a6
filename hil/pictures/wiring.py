"""The ring as a picture: every wire, the faulty ones in red, with a legend and the findings in words.

Self-contained SVG. Pure: a WiringReport in, text out. Names of ports come from outside and are escaped.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from html import escape

from hil.checks.wiring.pads import WIRES, Pad
from hil.checks.wiring.report import OK, WireVerdict, WiringReport
from hil.rig.pins import HEADER_PIN, WIRE_NAMES

WIDTH = 900
MANY = 6
"""From more boards than this the ring is drawn smaller and with fewer words."""
ROW, PANEL_HEAD, PANEL_WIDTH, PANEL_GAP = 22, 44, 420, 20
PANEL_HEIGHT = PANEL_HEAD + WIRES * ROW + 8
GOOD, BAD, INK, SOFT, PAPER = "#57907a", "#d1242f", "#1f2328", "#6e7781", "#ffffff"
TEXT_COLUMNS = 128
PORT_LETTERS = 20
Point = tuple[float, float]


def wiring_svg(report: WiringReport) -> str:
    """The picture of a scan, 900 px wide."""
    bad = [link for link in report.links if any(v.verdict != OK for v in _link(report, link))]
    shown = bad or (list(report.links) if len(report.ports) == 1 else [])
    parts: list[str] = []
    top = 46.0
    if len(report.ports) > 1:
        height = 250 if len(report.ports) == 2 else 500 if len(report.ports) <= MANY else 780
        parts += _ring(report, top, height)
        top += height
    for number, link in enumerate(shown):
        left = PANEL_GAP + (number % 2) * (PANEL_WIDTH + PANEL_GAP)
        parts += _panel(report, link, left, top + (number // 2) * (PANEL_HEIGHT + PANEL_GAP))
    top += math.ceil(len(shown) / 2) * (PANEL_HEIGHT + PANEL_GAP)
    parts += _legend(top + 14)
    top += 44
    words = _words(report)
    for row, (line, colour) in enumerate(words):
        parts.append(_text((PANEL_GAP, top + 18 * row), line, size=13, colour=colour))
    return _document(_title(report) + parts, top + 18 * len(words) + 10)


def _document(parts: Sequence[str], height: float) -> str:
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height:.0f}" '
        f'viewBox="0 0 {WIDTH} {height:.0f}" font-family="system-ui, DejaVu Sans, Arial, sans-serif">'
    )
    paper = f'<rect width="{WIDTH}" height="{height:.0f}" fill="{PAPER}"/>'
    return "\n".join([head, paper, *parts, "</svg>"]) + "\n"


def _text(at: Point, words: str, *, size: int = 12, colour: str = INK, anchor: str = "start", weight: int = 400) -> str:
    return (
        f'<text x="{at[0]:.1f}" y="{at[1]:.1f}" font-size="{size}" fill="{colour}" text-anchor="{anchor}" '
        f'font-weight="{weight}">{escape(words)}</text>'
    )


def _line(start: Point, end: Point, *, bad: bool, dashed: bool = False) -> str:
    colour, width = (BAD, 2.6) if bad else (GOOD, 1.2)
    dash = ' stroke-dasharray="5 6"' if dashed else ""
    return (
        f'<line x1="{start[0]:.1f}" y1="{start[1]:.1f}" x2="{end[0]:.1f}" y2="{end[1]:.1f}" '
        f'stroke="{colour}" stroke-width="{width}"{dash}/>'
    )


def _title(report: WiringReport) -> list[str]:
    colour = GOOD if report.good else BAD
    return [
        _text((PANEL_GAP, 32), f"wiring of rig {report.rig}", size=20, weight=600),
        _text(
            (WIDTH - PANEL_GAP, 32),
            report.verdict,
            size=18,
            weight=600,
            anchor="end",
            colour=colour,
        ),
    ]


def _words(report: WiringReport) -> list[tuple[str, str]]:
    """Lines of text with their colours."""
    lines = []
    for number, finding in enumerate(report.findings, 1):
        lines += [(line, INK) for line in textwrap.wrap(f"{number}. {finding.text}", TEXT_COLUMNS)]
        lines += [(line, SOFT) for line in textwrap.wrap(finding.advice, TEXT_COLUMNS)]
    return lines


def _link(report: WiringReport, link: str) -> list[WireVerdict]:
    return [v for v in report.wires if f"{v.wire.source}-{v.wire.target}" == link]


# --- the ring ------------------------------------------------------------------------------------------


def _ring(report: WiringReport, top: float, height: float) -> list[str]:
    """Boards on an ellipse in the order of the ring, ten lines per link."""
    count = len(report.ports)
    order = report.order or tuple(range(count))
    many = count > MANY
    box = (78.0, 40.0) if many else (132.0, 150.0) if count == 2 else (132.0, 60.0)
    centre = (WIDTH / 2, top + height / 2)
    radii = (WIDTH / 2 - (70 if many else 190), height / 2 - (50 if many else 62))
    start = -3 * math.pi / 4 if count == 4 else math.pi if count == 2 else -math.pi / 2
    if count == 4:  # a square uses the page better than a diamond
        radii = (radii[0] * math.sqrt(2) * 0.92, radii[1] * math.sqrt(2) * 0.92)
    place = {}
    for at, rank in enumerate(order):
        angle = start + 2 * math.pi * at / count
        place[rank] = (centre[0] + radii[0] * math.cos(angle), centre[1] + radii[1] * math.sin(angle))
    parts: list[str] = []
    captions: list[str] = []
    for link in report.links:
        lines, caption = _bundle(_link(report, link), place, centre)
        parts += lines
        captions += caption
    for rank in order:
        parts += _box(rank, "" if many else report.ports[rank], place[rank], box)
    return parts + captions


def _bundle(verdicts: Sequence[WireVerdict], place: dict[int, Point], centre: Point) -> tuple[list[str], list[str]]:
    """Ten lines from board to board, and a caption inside the ring."""
    wire = verdicts[0].wire
    source, target = place[wire.source], place[wire.target]
    many = len(place) > MANY
    spacing = 2.2 if many else 5.0
    dx, dy = target[0] - source[0], target[1] - source[1]
    length = math.hypot(dx, dy) or 1.0
    across = (-dy / length, dx / length)
    aside = 34.0 if len(place) == 2 else 0.0
    lines = []
    for verdict in sorted(verdicts, key=lambda v: v.verdict != OK):
        shift = aside + (verdict.wire.number - (WIRES - 1) / 2) * spacing
        ends = [(p[0] + across[0] * shift, p[1] + across[1] * shift) for p in (source, target)]
        cut = any(word in verdict.verdict for word in ("open", "missing", "no-ground"))
        lines.append(_line(ends[0], ends[1], bad=verdict.verdict != OK, dashed=cut))
    middle = ((source[0] + target[0]) / 2, (source[1] + target[1]) / 2)
    if len(place) == 2:
        at = (middle[0], middle[1] + across[1] * (aside + 52))
    else:
        inward = (centre[0] - middle[0], centre[1] - middle[1])
        away = math.hypot(*inward) or 1.0
        step = (58.0 if many else 98.0) if abs(inward[0]) > abs(inward[1]) else (30.0 if many else 62.0)
        at = (middle[0] + inward[0] / away * step, middle[1] + inward[1] / away * step)
    return lines, _caption(verdicts, at, brief=many)


def _caption(verdicts: Sequence[WireVerdict], at: Point, *, brief: bool) -> list[str]:
    bad = [v for v in verdicts if v.verdict != OK]
    wire = verdicts[0].wire
    head = f"{wire.source} \N{RIGHTWARDS ARROW} {wire.target}"
    if not bad:
        return [_text(at, head, anchor="middle", colour=SOFT)]
    if brief:
        return [_text(at, f"{head}: {len(bad)} bad", anchor="middle", colour=BAD, weight=600)]
    words = [f"{head}: {len(verdicts) - len(bad)} of {len(verdicts)} right"]
    if len({v.verdict for v in bad}) == 1 and len(bad) > 2:
        words.append(bad[0].verdict)
    else:
        words += [f"{WIRE_NAMES[v.wire.number]} {v.verdict}" for v in bad[:4]]
        words += [f"and {len(bad) - 4} more"] if len(bad) > 4 else []
    first = at[1] - (len(words) - 1) * 7
    return [
        _text((at[0], first + 15 * row), line, anchor="middle", colour=BAD, weight=600)
        for row, line in enumerate(words)
    ]


def _box(rank: int, port: str, at: Point, size: Point) -> list[str]:
    name = port if len(port) <= PORT_LETTERS else "\N{HORIZONTAL ELLIPSIS}" + port[1 - PORT_LETTERS :]
    return [
        f'<rect x="{at[0] - size[0] / 2:.1f}" y="{at[1] - size[1] / 2:.1f}" width="{size[0]}" '
        f'height="{size[1]}" rx="7" fill="#f6f8fa" stroke="{INK}" stroke-width="1.4"/>',
        _text((at[0], at[1] - 4 if name else at[1] + 5), f"board {rank}", size=15, anchor="middle", weight=600),
        _text((at[0], at[1] + 16), name, size=11, anchor="middle", colour=SOFT),
    ]


# --- one link in detail --------------------------------------------------------------------------------


def _panel(report: WiringReport, link: str, left: float, top: float) -> list[str]:
    """The ten wires of a link with their pins at both ends, drawn to where they really go."""
    verdicts = _link(report, link)
    wire = verdicts[0].wire
    parts = [
        f'<rect x="{left}" y="{top}" width="{PANEL_WIDTH}" height="{PANEL_HEIGHT}" rx="7" fill="none" '
        f'stroke="#d0d7de"/>',
        _text((left + 12, top + 20), f"link {link.replace('-', ' → ')}", size=14, weight=600),
        _text((left + 138, top + 38), f"board {wire.source}, high bank", size=11, colour=SOFT, anchor="end"),
        _text((left + 254, top + 38), f"board {wire.target}, low bank", size=11, colour=SOFT),
    ]
    rows: dict[Pad, float] = {v.expected: top + PANEL_HEAD + 14 + ROW * v.wire.number for v in verdicts}
    for verdict in verdicts:
        parts += _panel_wire(verdict, rows, left)
    for numbers in _bridges(report, link):
        x, ys = left + 184, [rows[verdicts[number].expected] - 4 for number in numbers]
        parts.append(_line((x, ys[0]), (x, ys[-1]), bad=True))
        parts += [f'<circle cx="{x}" cy="{y:.1f}" r="4.5" fill="{BAD}"/>' for y in ys]
    return parts


def _panel_wire(verdict: WireVerdict, rows: dict[Pad, float], left: float) -> list[str]:
    number, bad = verdict.wire.number, verdict.verdict != OK
    y = rows[verdict.expected]
    colour = BAD if bad else INK
    near, far = verdict.wire.near[1], verdict.expected[1]
    start, end = (left + 144, y - 4), (left + 248, rows.get(verdict.far, y) - 4)
    parts = [
        _text((left + 12, y), WIRE_NAMES[number], weight=600, colour=colour),
        _text((left + 138, y), f"GPIO{near} (pin {HEADER_PIN[near]})", size=11, anchor="end", colour=colour),
        _text((left + 254, y), f"GPIO{far} (pin {HEADER_PIN[far]})", size=11, colour=colour),
    ]
    if verdict.far not in rows:
        parts.append(_text((left + 150, y), f"to board {verdict.far[0]}", size=11, colour=BAD))
    elif any(word in verdict.verdict for word in ("open", "missing", "no-ground")):
        middle = (start[0] + end[0]) / 2
        parts.append(_line(start, (middle - 16, y - 4), bad=True))
        parts.append(_line((middle + 16, y - 4), end, bad=True))
        parts.append(
            _text((middle, y + 2), "\N{MULTIPLICATION SIGN}", size=18, colour=BAD, anchor="middle", weight=600)
        )
    else:
        parts.append(_line(start, end, bad=bad))
    if bad:
        words = verdict.verdict if len(verdict.verdict) < 12 else verdict.verdict[:10] + "\N{HORIZONTAL ELLIPSIS}"
        parts.append(_text((left + PANEL_WIDTH - 8, y), words, size=10, colour=BAD, anchor="end", weight=600))
    return parts


def _bridges(report: WiringReport, link: str) -> list[list[int]]:
    """The wires of this link that are bridged, one list per bridge."""
    bridges = []
    for finding in report.findings:
        if finding.kind == "bridge":
            here = [name.partition(".")[2] for name in finding.wires if name.startswith(f"{link}.")]
            bridges += [sorted(WIRE_NAMES.index(name) for name in here)] if here else []
    return bridges


def _legend(top: float) -> list[str]:
    entries = (("right", False, False), ("wrong, joined", True, False), ("wrong, does not get through", True, True))
    parts = []
    x = float(PANEL_GAP)
    for words, bad, dashed in entries:
        parts.append(_line((x, top - 4), (x + 46, top - 4), bad=bad, dashed=dashed))
        parts.append(_text((x + 54, top), words, colour=SOFT))
        x += 100 + 7 * len(words)
    parts.append(f'<circle cx="{x + 8}" cy="{top - 4}" r="4.5" fill="{BAD}"/>')
    parts.append(_text((x + 20, top), "bridge", colour=SOFT))
    return parts
