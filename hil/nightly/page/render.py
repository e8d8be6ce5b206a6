"""Pages from templates: one HTML text for a night, one for the index. Nothing in them comes from elsewhere.

Every value that a template prints goes through `visible` and is then escaped by Jinja. The content security policy
allows the one style sheet, by its hash, and nothing else: no script, no request. Pure.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from functools import lru_cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from hil.nightly.page import views
from hil.nightly.record import Night
from hil.text import count, duration, finite, first_line, number, visible, when

PAGE_BYTES_MAX = 4_500_000
"""A night with more than fits is shown with less detail; night.json has all of it."""


def _shown(value: Any) -> Any:
    if value is None:
        return "no data"
    if hasattr(value, "__html__"):
        return value
    return visible(str(value))


@lru_cache(maxsize=1)
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("hil.nightly.page"), autoescape=True, finalize=_shown, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    style = files("hil.nightly.page").joinpath("templates/page.css").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    environment.globals.update(
        style=Markup(style), style_hash=digest, signs=views.SIGNS_OF, outcome_words=views.WORDS_OF, number=number,
        duration=duration, count=count, first_line=first_line, when=when, file_name=views.file_name,
        finite=finite,
    )  # fmt: skip
    return environment


def render_night(night: Night, earlier: Sequence[Night], beside: Sequence[tuple[str, str]] = ()) -> str:
    """The page of a night, as the text of an HTML file.

    Args:
        earlier: nights of any rig that started before it, oldest first; those of its rig are used.
        beside: (file, what it is) of outputs to link to, by paths relative to the page.
    """
    same_rig = [other for other in earlier if other.rig == night.rig and other.id != night.id]
    template = _environment().get_template("night.html")
    text = ""
    for limits in views.LEVELS_OF_DETAIL:
        text = template.render(views.night_view(night, same_rig, limits), beside=list(beside))
        if len(text.encode("utf-8")) <= PAGE_BYTES_MAX:
            break
    return text


def render_index(nights: Sequence[Night]) -> str:
    """The page of all nights, oldest first, as the text of an HTML file."""
    return _environment().get_template("index.html").render(views.index_view(nights))
