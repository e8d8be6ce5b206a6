"""Allure's own program makes a report of a night's results, and a browser shows it."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from hil.nightly.outputs.allure_results import write_allure
from tests.page import nights

INSTALLED = Path("build/npm/node_modules/.bin/allure")
MISSING = f"no `allure` program; npm install --prefix {INSTALLED.parts[0]}/npm allure"


def allure(*words: str, cwd: Path) -> None:
    program = str(INSTALLED.absolute()) if INSTALLED.exists() else shutil.which("allure")
    if program is None or shutil.which("node") is None:
        pytest.skip(MISSING)
    done = subprocess.run([program, *words], cwd=cwd, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("allure")
    write_allure(nights.bad_night(), folder / "results", [("night.html", "the page")])
    return folder


def test_allure_loads_every_result_with_its_outcome(folder):
    allure("awesome", "results", "-o", "report", cwd=folder)
    stats = json.loads((folder / "report" / "summary.json").read_text())["stats"]
    assert stats == {"total": 30, "passed": 23, "failed": 5, "broken": 1, "skipped": 1, "flaky": 2}
    results = [json.loads(path.read_text()) for path in (folder / "report" / "data" / "test-results").glob("*.json")]
    wiring = next(r for r in results if r["name"] == "wiring" and r["status"] == "failed")
    assert [step["name"] for step in wiring["steps"] if step["type"] == "step"][:2] == [
        "try 1 on the rig",
        "try 2 on the rig",
    ]
    assert {"severity": "critical"}.items() <= {label["name"]: label["value"] for label in wiring["labels"]}.items()
    assert len(list((folder / "report" / "data" / "attachments").iterdir())) > 20


def test_the_report_opens_in_a_browser(folder, open_page):
    allure("awesome", "results", "-o", "single", "--single-file", cwd=folder)
    opened = open_page(folder / "single" / "index.html")
    opened.page.get_by_text("round 2").first.wait_for()
    # Allure's report asks for its own analytics; that these are not to be had here is no error of ours.
    assert not [line for line in opened.console if line.startswith("error") and "Failed to load resource" not in line]
    assert "30" in opened.page.inner_text("body")
    opened.page.screenshot(path="build/page-screenshots/allure.png")
