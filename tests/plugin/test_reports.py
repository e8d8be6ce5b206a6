"""What a pytest run leaves for CI systems: Allure results and JUnit properties of tests on a ring."""

import json
import xml.etree.ElementTree as ET

TEST = """
import pytest

@pytest.mark.link
def test_frames(ring):
    ring.link_frames(ring.desk.config.links[0], frames=1, length_bytes=8, seed=1)

def test_without_a_ring():
    pass
"""


def test_a_broken_wire_is_in_allure_with_its_handshake_and_in_junit_with_its_image(pytester):
    pytester.makepyfile(TEST)
    result = pytester.runpytest_subprocess(
        "--hil-world", "2", "--hil-fault", "open:0-1.CLK", "--alluredir", "allure", "--junitxml", "junit.xml"
    )
    result.assert_outcomes(passed=1, failed=1)
    folder = pytester.path / "allure"
    results = [json.loads(path.read_text()) for path in folder.glob("*-result.json")]
    failed = next(entry for entry in results if entry["status"] in ("failed", "broken"))
    attached = {entry["name"]: folder / entry["source"] for entry in failed["attachments"]}
    assert {"handshake of link 0->1", "handshake, WaveJSON", "wires, VCD", "again", "board 1 log"} <= set(attached)
    lanes = {lane["name"]: lane["wave"] for lane in json.loads(attached["handshake, WaveJSON"].read_text())["signal"]}
    assert lanes["CLK at 0"] != lanes["CLK at 1"], "the open wire is not seen at its two ends"
    assert attached["handshake of link 0->1"].read_text().startswith("<svg")
    assert attached["again"].read_text().startswith("pytest ")
    labels = {entry["name"]: entry["value"] for entry in failed["labels"]}
    assert (labels["severity"], labels["feature"], labels["rig"]) == ("critical", "link", "sim")
    parameters = {entry["name"]: entry["value"] for entry in failed["parameters"]}
    assert parameters["seed"] == "'0x5eed'"

    cases = {case.attrib["name"]: case for case in ET.parse(pytester.path / "junit.xml").iter("testcase")}
    facts = {entry.attrib["name"]: entry.attrib["value"] for entry in cases["test_frames"].iter("property")}
    assert len(facts["image_sha256"]) == 64
    assert facts["board_serials"].split() == ["00000000b0a2d000", "00000000b0a2d001"]
    assert (facts["rig"], facts["seed"], facts["retries"]) == ("sim", "0x5eed", "0")
    assert not list(cases["test_without_a_ring"].iter("property"))
