"""Standard outputs: each read back by what is to read it, or held against its published shape."""

from __future__ import annotations

import dataclasses
import json
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from hil.nightly.outputs.allure_results import write_allure
from hil.nightly.outputs.files import OutputError, write_outputs
from hil.nightly.outputs.junit import junit
from hil.nightly.outputs.summary import summary
from hil.nightly.record import Outcome
from hil.timeline.perfetto import perfetto_of_timeline
from hil.timeline.spans import Span, Timeline
from tests.page import nights

BAD = nights.bad_night()

# The shape of the Jenkins and Ant schema: attributes that must be there, and children in their order.
SHAPE = {
    "testsuites": ({"tests", "failures", "errors", "skipped", "time", "name"}, ["testsuite"]),
    "testsuite": (
        {"name", "tests", "failures", "errors", "skipped", "time", "timestamp", "hostname", "id", "package"},
        ["properties", "testcase", "system-out", "system-err"],
    ),
    "properties": (set(), ["property"]),
    "property": ({"name", "value"}, []),
    "testcase": ({"name", "classname", "time"}, ["properties", "skipped", "error", "failure", "flakyFailure"]),
    "failure": ({"message", "type"}, []),
    "flakyFailure": ({"message", "type"}, []),
    "skipped": ({"message"}, []),
}


def shape_errors(element: ET.Element) -> list[str]:
    wanted, order = SHAPE[element.tag]
    found = [] if set(element.attrib) == wanted else [f"{element.tag} has {sorted(element.attrib)}"]
    places = [order.index(child.tag) if child.tag in order else -1 for child in element]
    if -1 in places or places != sorted(places):
        found.append(f"{element.tag} holds {[child.tag for child in element]}")
    for name in ("tests", "failures", "errors", "skipped", "id"):
        if name in element.attrib and not element.attrib[name].isdigit():
            found.append(f"{name} is {element.attrib[name]}")
    return found + [error for child in element for error in shape_errors(child)]


@pytest.mark.parametrize(
    "night", [BAD, nights.hostile_night(), nights.partial_night(), nights.killed_night(), nights.empty_night()]
)
def test_junit_has_the_common_shape_whatever_the_night(night):
    root = ET.fromstring(junit(night))
    assert shape_errors(root) == []
    assert int(root.attrib["tests"]) == len(night.checks) == len(root.findall(".//testcase"))


def test_the_shape_notices_a_wrong_report():
    root = ET.fromstring(junit(BAD))
    case = root.find(".//testcase")
    case.attrib.pop("time")
    case.append(ET.Element("properties"))
    case.append(ET.Element("surprise"))
    with pytest.raises(KeyError):
        shape_errors(root)
    case.remove(case[-1])
    assert len(shape_errors(root)) >= 1


def test_junit_counts_and_properties():
    root = ET.fromstring(junit(BAD))
    assert [root.attrib[name] for name in ("tests", "failures", "skipped")] == ["30", "6", "1"]
    suite = root.findall("testsuite")[1]
    facts = {entry.attrib["name"]: entry.attrib["value"] for entry in suite.find("properties")}
    assert facts["image_sha256"] == BAD.firmware_sha256
    assert facts["board_serials"].split() == [board.serial for board in BAD.boards]
    assert facts["seed"] == f"{BAD.seed:#x}"
    assert facts["retries"] == "7"
    flaky = root.findall(".//flakyFailure")
    assert len(flaky) == 2
    assert "again: pytest" in flaky[0].text


def test_allure_results_carry_steps_parameters_severity_links_and_attachments(tmp_path):
    assert write_allure(BAD, tmp_path, [("night.html", "the page")]) == 30
    results = [json.loads(path.read_text()) for path in tmp_path.glob("*-result.json")]
    by_status: dict[str, int] = {}
    for result in results:
        by_status[result["status"]] = by_status.get(result["status"], 0) + 1
        labels = {label["name"]: label["value"] for label in result["labels"]}
        assert labels["severity"] in ("blocker", "critical", "normal")
        assert {p["name"] for p in result["parameters"]} >= {"seed", "round"}
        assert result["links"] == [{"type": "link", "url": "night.html", "name": "the page"}]
        assert result["stop"] >= result["start"] > 1.7e12
        for attachment in result.get("attachments", []):
            assert (tmp_path / attachment["source"]).stat().st_size > 0
    assert by_status == {"passed": 23, "failed": 5, "broken": 1, "skipped": 1}
    assert len({result["historyId"] for result in results}) == 30
    wiring = next(r for r in results if r["name"] == "wiring" and r["status"] == "failed")
    names = [attachment["name"] for attachment in wiring["attachments"]]
    assert names == ["replay", "last lines of the boards", "detail", "handshake, WaveJSON", "handshake"]
    assert [(step["name"], step["status"]) for step in wiring["steps"]] == [
        ("try 1 on the rig", "failed"), ("try 2 on the rig", "failed"), ("try 3 on the simulator", "passed")
    ]  # fmt: skip
    assert wiring["statusDetails"]["message"].startswith("[wiring] link 1->2: byte 1375")
    assert {"name": "tag", "value": "link 1->2 CLK"} in wiring["labels"]


def test_allure_never_shows_a_flaky_check_as_a_plain_pass(tmp_path):
    write_allure(BAD, tmp_path)
    results = [json.loads(path.read_text()) for path in tmp_path.glob("*-result.json")]
    flaky = [r for r in results if any(label == {"name": "tag", "value": "flaky"} for label in r["labels"])]
    assert len(flaky) == 2
    for result in flaky:
        assert result["name"].endswith("[passed only when tried again]")
        assert result["statusDetails"]["flaky"] is True
        assert "passed only when tried again" in result["statusDetails"]["message"]
    plain = [r for r in results if r["status"] == "passed" and r not in flaky]
    assert all(not r.get("statusDetails", {}).get("flaky") for r in plain)


def test_summary_is_strict_json_and_tells_the_verdict():
    facts = json.loads(json.dumps(summary(BAD), allow_nan=False))
    assert facts["state"] == "bad"
    assert facts["checks"] == {"passed": 21, "flaky": 2, "failed": 6, "skipped": 1}
    first = facts["failures"][0]
    assert (first["cause"], first["place"], first["times"]) == ("wiring", "link 1->2 CLK", 3)
    assert first["replay"].startswith("pytest ")
    assert len(facts["wires"]) == 32
    assert (facts["last_good"], facts["changes"]) == (None, [])
    assert facts["retries"] == 8, "on the rig alone; JUnit counts them round by round"
    nothing = summary(nights.empty_night())
    assert nothing["figures"]["tokens_s"] is None
    assert nothing["good"] is False


def test_trace_has_every_span_on_its_board():
    timeline = BAD.timeline
    trace = perfetto_of_timeline(timeline)
    spans = [event for event in trace["traceEvents"] if event["ph"] == "X"]
    assert len(spans) == len(timeline.spans)
    assert min(event["ts"] for event in spans) == 0
    assert {event["pid"] for event in spans} == {0, 1, 2, 3}
    named = {(event["pid"], event["tid"]) for event in trace["traceEvents"] if event["name"] == "thread_name"}
    assert {(event["pid"], event["tid"]) for event in spans} <= named
    total = sum(span.end_s - span.start_s for span in timeline.spans) * 1e6
    assert sum(event["dur"] for event in spans) == pytest.approx(total, abs=0.001 * len(spans))
    assert trace["otherData"]["error_us"] == pytest.approx(1.3)


def test_trace_leaves_out_spans_without_time():
    odd = Timeline("odd", [Span(0, "send", "a", float("nan"), 1.0), Span(0, "send", "b", 1.0, 0.5)], float("inf"))
    assert perfetto_of_timeline(odd)["traceEvents"] == []
    assert perfetto_of_timeline(odd)["otherData"]["error_us"] is None


@pytest.mark.parametrize("night", [BAD, nights.hostile_night(), nights.killed_night(), nights.empty_night()])
def test_write_outputs_writes_all_and_nothing_hostile_survives(tmp_path, night):
    written = write_outputs(night, tmp_path)
    assert {"summary.json", "junit.xml"} <= set(written)
    for path in tmp_path.rglob("*"):
        if path.is_file():
            text = path.read_text(encoding="utf-8")
            assert not set(text) & {chr(n) for n in [*range(9), *range(11, 32), *range(127, 160), 0x202E, 0x200B]}, path
            if path.suffix == ".json":
                json.loads(text, parse_constant=lambda name: pytest.fail(f"holds {name}"))


def test_writing_twice_replaces_and_leaves_no_partial(tmp_path):
    write_outputs(BAD, tmp_path)
    write_outputs(BAD, tmp_path)
    assert len(list((tmp_path / "allure-results").glob("*-result.json"))) == 30
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_what_cannot_be_written_is_said_and_the_rest_is_there(tmp_path: Path):
    (tmp_path / "junit.xml").mkdir()
    with pytest.raises(OutputError, match=r"junit\.xml: cannot be written: Is a directory"):
        write_outputs(BAD, tmp_path)
    assert (tmp_path / "summary.json").is_file()
    assert (tmp_path / "allure-results").is_dir()


def test_a_recording_of_the_wires_is_attached(tmp_path):
    failed = next(check for check in BAD.checks if check.outcome is Outcome.FAILED)
    (tmp_path / "waves").mkdir()
    (tmp_path / "waves" / f"check-{failed.number}.vcd").write_text("$enddefinitions $end\n#0\n")
    write_outputs(dataclasses.replace(BAD, checks=[failed]), tmp_path)
    assert len(list((tmp_path / "allure-results").glob("*-attachment.vcd"))) == 1
