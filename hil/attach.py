"""Attachments, steps and labels for Allure, and properties for JUnit; for tests that run under pytest.

allure-pytest is a dependency, so the functions are always there; without `--alluredir` it has no
listener and drops what it is given. What a night writes itself is in hil/nightly/outputs.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import allure

from hil.errors import HilError

SEVERITY = {
    "wiring": "critical", "link": "critical", "layers": "critical", "gradients": "critical", "ring": "critical",
    "loopback": "critical", "generate": "normal", "train": "normal",
}  # fmt: skip
"""Marker -> how much it matters when the test fails: nothing works on wires that are wrong. First that fits."""
LINK = re.compile(r"\blink (\d+->\d+)")


@contextlib.contextmanager
def step(title: str) -> Iterator[None]:
    """A titled step around what is done inside."""
    with allure.step(title):
        yield


def text(name: str, content: str) -> None:
    """Attach text."""
    allure.attach(content, name=name, attachment_type=allure.attachment_type.TEXT)


def file(path: Path, name: str) -> None:
    """Attach a file as it is now, as plain text."""
    if path.exists():
        allure.attach.file(str(path), name=name, attachment_type=allure.attachment_type.TEXT)


def svg(name: str, content: str) -> None:
    """Attach a picture, given as the text of an SVG file."""
    allure.attach(content, name=name, attachment_type=allure.attachment_type.SVG)


def picture(path: Path, name: str) -> None:
    """Attach a PNG file."""
    allure.attach.file(str(path), name=name, attachment_type=allure.attachment_type.PNG)


def describe(node: Any, facts: Mapping[str, str]) -> None:
    """Say of a test what it ran on: properties in JUnit, parameters, severity and labels in Allure.

    Args:
        node: pytest's item of the test.
        facts: name -> value, such as image_sha256; each once, however often this is called.
    """
    known = {name for name, _ in node.user_properties}
    node.user_properties.extend((name, value) for name, value in facts.items() if name not in known)
    markers = {marker.name for marker in node.iter_markers()}
    kind = next((name for name in SEVERITY if name in markers), None)
    if kind is not None:
        allure.dynamic.severity(SEVERITY[kind])
        allure.dynamic.feature(kind)
    allure.dynamic.label("rig", facts.get("rig", ""))
    for name in facts.keys() - known:
        allure.dynamic.parameter(name, facts[name], excluded=True)


def handshake(trace: Path, failure: str) -> str | None:
    """Attach the end of the handshake of the link that a failure names, as WaveJSON and as a picture.

    Returns: a sentence on why not, where the recording cannot be read; else None.
    """
    from hil.pictures.svg import standalone
    from hil.pictures.waveform import waveform
    from hil.pictures.wavejson import wavejson

    named = LINK.search(failure)
    if named is None:
        return None
    try:
        wave = wavejson(trace, named[1])
    except HilError as error:
        return str(error)
    drawn = waveform(wave) if wave is not None else None
    if drawn is not None:
        allure.attach(json.dumps(wave), name="handshake, WaveJSON", attachment_type=allure.attachment_type.JSON)
        svg(f"handshake of link {named[1]}", standalone(drawn))
    return None
