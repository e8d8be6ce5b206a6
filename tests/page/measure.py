"""Size of the page of a night of 10,000 checks, and how long Chromium takes to open it: figures of docs/nightly.md.

python -m tests.page.measure [CHECKS]
"""

from __future__ import annotations

import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

from playwright.sync_api import sync_playwright

from hil.nightly.page.render import render_night
from tests.page.conftest import MISSING, NAMES
from tests.page.nights import big_night, history

OPENINGS = 7
LOADED = """() => new Promise(done => requestAnimationFrame(() => setTimeout(() => done([
    performance.getEntriesByType('navigation')[0].loadEventEnd, performance.now()]), 0)))"""


def main() -> None:
    browser = next((found for name in NAMES if (found := shutil.which(name))), None)
    if browser is None:
        sys.exit(MISSING)
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    started = time.perf_counter()
    text = render_night(big_night(count), history(29))
    print(f"{count:,} checks: rendered in {time.perf_counter() - started:.2f} s, {len(text.encode()) / 1e6:.2f} MB")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        page = Path(folder) / "big.html"
        page.write_text(text, encoding="utf-8")
        chromium = playwright.chromium.launch(executable_path=browser)
        for width in (400, 1400):
            loads, paints = [], []
            for _ in range(OPENINGS):
                tab = chromium.new_page(viewport={"width": width, "height": 900})
                tab.goto(page.as_uri())
                loaded, painted = tab.evaluate(LOADED)
                loads.append(loaded / 1e3)
                paints.append(painted / 1e3)
                tab.close()
            print(
                f"{width} px: loaded in {statistics.median(loads):.2f} s, first frame after it at "
                f"{statistics.median(paints):.2f} s; the slowest of {OPENINGS} at {max(paints):.2f} s"
            )
        print(f"Chromium {chromium.version}")
        chromium.close()


if __name__ == "__main__":
    main()
