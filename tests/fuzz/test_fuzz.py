"""A bounded, seeded run of every fuzzer; and the same on parsers that are broken on purpose, which it must find."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzz import harness, run
from tests.fuzz.engine import Target, fuzz
from tests.fuzz.harness import HARNESSES, Edit
from tests.fuzz.targets import TARGETS

SEED = 1

PLANTED: dict[str, tuple[str, Edit, str]] = {
    "a COBS code may point beyond its piece": (
        "frame", ("ring/frame.c", "code == 0 || in + code - 1 > piece_bytes", "code == 0"), "heap-buffer-overflow"),
    "a sequence from the past is served again": (
        "console", ("ring/console.c", "return (int16_t)(uint16_t)(head->sequence - console.served) > 0;",
                    "return head->sequence > console.served;"), "broken promise"),
    "an image may be a byte too long": (
        "boot", ("boot/main.c", "offer->size_bytes <= BOOTLOADER_ADDRESS - LOAD_ADDRESS",
                 "offer->size_bytes <= BOOTLOADER_ADDRESS - LOAD_ADDRESS + 1"), "SEGV"),
    "an image's CRC is not looked at": (
        "boot", ("boot/main.c", "if (crc != offer->crc32) {", "if (0) {"), "broken promise"),
    "a shard may be longer than its limit": (
        "shard", ("model/shard.c", "bytes > limit_bytes ? 0", "bytes > limit_bytes + 4 ? 0"), "broken promise"),
    "the cache of values has a row too few": (
        "shard", ("model/shard.c", "b->values = take(from, l, c->seq_len, c->kv_dim)",
                  "b->values = take(from, l, c->seq_len - 1, c->kv_dim)"), "broken promise"),
    "a frame may be a byte longer than its buffer": (
        "link", ("link/link.c", "header->length <= link->capacity", "header->length <= link->capacity + 1"),
        "heap-buffer-overflow"),
    "what is not wanted is written all the same": (
        "link", ("link/link.c", "!link->is_new,\n                    0);", "0, 0);"), "global-buffer-overflow"),
}  # fmt: skip


@pytest.fixture
def clang() -> None:
    if not harness.has_clang():
        pytest.skip(harness.NO_CLANG)


@pytest.mark.parametrize("name", HARNESSES)
def test_parser_in_c_keeps_its_promises(clang: None, tmp_path: Path, name: str) -> None:
    found = HARNESSES[name]
    outcome = harness.run(found, harness.built(found), tmp_path, seed=SEED, runs=found.runs)
    assert not outcome.finding, outcome.finding
    assert outcome.inputs >= found.runs
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("fault", PLANTED)
def test_fuzzer_finds_what_is_wrong_in_c(clang: None, tmp_path: Path, fault: str) -> None:
    name, edit, kind = PLANTED[fault]
    program = harness.build(HARNESSES[name], tmp_path / "x", edits=[edit])
    outcome = harness.run(HARNESSES[name], program, tmp_path / "found", seed=SEED, runs=HARNESSES[name].runs)
    assert kind in outcome.finding
    assert outcome.inputs < HARNESSES[name].runs
    assert list((tmp_path / "found").iterdir()), "the input is kept"


@pytest.mark.parametrize("name", TARGETS)
def test_parser_in_python_keeps_its_promises(name: str) -> None:
    report = fuzz(TARGETS[name], seed=SEED, runs=TARGETS[name].runs)
    assert not report.findings, f"{report.findings[0][0]!r}\n{report.findings[0][1]}"
    assert report.inputs == TARGETS[name].runs


def _fragile(data: bytes) -> None:
    from hil.rig.pins import WIRE_NAMES  # a parser has lines of the project for the fuzzer to see

    if data[:1] == b"h" and data[1:2] == b"i":
        WIRE_NAMES[len(data) + 1000]


def test_fuzzer_finds_what_is_wrong_in_python_and_says_it_once() -> None:
    target = Target("fragile", "", _fragile, (b"hello",), (b"hi",))
    report = fuzz(target, seed=SEED, runs=2000)
    ((data, text),) = report.findings
    assert data[:2] == b"hi"
    assert "IndexError" in text


def test_same_seed_tries_the_same_inputs() -> None:
    tried: dict[int, list[bytes]] = {}
    for number, seed in enumerate((1, 1, 2)):
        tried[number] = []
        target = Target("same", "", tried[number].append, (b"abc 12", b"\1\2"), (b"word",))
        fuzz(target, seed=seed, runs=300)
    assert tried[0] == tried[1] != tried[2]
    assert len(set(tried[0])) > 200


def test_time_is_read() -> None:
    assert [run.duration_s(text) for text in ("90", "90s", "5m", "1h")] == [90, 90, 300, 3600]
    for text in ("", "0", "1d", "-5", "1.5h"):
        with pytest.raises(ValueError, match="is no time; write 90s, 5m or 1h"):
            run.duration_s(text)


def test_command_tells_inputs_and_findings_of_each_parser(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(run, "FINDINGS", tmp_path)
    assert run.main(["--for", "1s", "--only", "faults"]) == 0
    assert "Python faults" in (text := capsys.readouterr().out)
    assert "nothing" in text

    monkeypatch.setattr(run, "fuzz_python", lambda *_: harness.Outcome(5, "IndexError: here"))
    assert run.main(["--for", "1s", "--only", "faults"]) == 1
    text = capsys.readouterr().out
    assert "5 inputs  FOUND" in text
    assert "IndexError: here" in text
    assert f"the inputs are in {tmp_path}" in text


def test_command_without_clang_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(harness, "has_clang", lambda: False)
    monkeypatch.setattr(run, "fuzz_python", lambda *_: harness.Outcome(1, ""))
    assert run.main(["--for", "1s"]) == 0
    text = capsys.readouterr().out
    assert "left out: clang with libFuzzer is missing: apt-get install clang libclang-rt-dev" in text
    assert "C frame" not in text


def test_finding_is_kept_and_can_be_given_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "FINDINGS", tmp_path)
    fragile = Target("fragile", "", _fragile, (b"hi",))
    monkeypatch.setitem(TARGETS, "fragile", fragile)
    assert "IndexError" in run.keep("fragile", fuzz(fragile, seed=SEED, runs=1))
    path, text = sorted(tmp_path.iterdir())
    assert (path.read_bytes(), text.suffix) == (b"hi", ".txt")
    with pytest.raises(IndexError):
        run.main(["--again", "fragile", str(path)])
