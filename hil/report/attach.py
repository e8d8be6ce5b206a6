"""Attachments and steps for Allure; nothing happens when no Allure results are asked for.

allure-pytest is a dependency, so the functions are always there; without `--alluredir` it has no
listener and drops what it is given.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import allure


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
