"""The page of a night: one self-contained HTML file for each night and an index. Described in docs/nightly.md."""

from hil.nightly.page.files import PageError, write_pages
from hil.nightly.page.render import render_index, render_night

__all__ = ["PageError", "render_index", "render_night", "write_pages"]
