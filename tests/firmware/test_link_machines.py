"""The link's machines on the host: every interleaving, and every point of disturbance."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.firmware.host_build import build_host, run

HANDSHAKE = "link/handshake.c"
LINK_SOURCES = (HANDSHAKE, "link/link.c", "link/instruments.c", "link/pattern.c", "bsp/crc32.c")

MUTATIONS = {
    "receiver lowers ACK at the end by driving": (
        "port_inputs(bank->ack);\n        return RX_DONE;",
        "port_clear(bank->ack);\n        return RX_DONE;",
        "contention",
    ),
    "sender lowers CLK at the end by driving": ("port_inputs(bank->clk);", "port_clear(bank->clk);", "contention"),
    "sender keeps D after the burst": ("port_inputs(bank->data);", "(void)0;", "contention|stuck"),
    "sender drives before the grant": (
        "tx->seen == GRANT_READS ? TX_CLAIM_CLEAR : TX_WAIT_GRANT",
        "TX_CLAIM_CLEAR",
        "contention|stuck",
    ),
    "sender does not wait for ACK high": (
        "while (!(port_level() & ack))\n                COUNT_ACCESS_OR_GOTO(pause);",
        "(void)port_level();",
        "contention|wrong byte|stuck",
    ),
    "receiver takes any claim": (
        "rx->seen == CLAIM_READS ? RX_LOWER_ACK : RX_WAIT_CLAIM",
        "RX_LOWER_ACK",
        "contention|wrong byte|stuck",
    ),
}


def test_all_interleavings_are_safe_and_end(tmp_path: Path) -> None:
    done = run(build_host(tmp_path / "x", "explore", [HANDSHAKE]))
    assert done.returncode == 0, done.stdout + done.stderr
    assert int(done.stdout.split()[0]) > 100


def test_giving_up_at_any_step_never_makes_outputs_meet(tmp_path: Path) -> None:
    done = run(build_host(tmp_path / "x", "explore", [HANDSHAKE]), "abort")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", MUTATIONS)
def test_broken_handshake_is_caught(name: str, tmp_path: Path) -> None:
    old, new, finding = MUTATIONS[name]
    done = run(build_host(tmp_path / "x", "explore", [HANDSHAKE], edit=(HANDSHAKE, old, new)))
    assert done.returncode == 1, done.stdout + done.stderr
    assert done.stdout.decode().split(":")[0] in finding.split("|"), done.stdout


@pytest.fixture(scope="module")
def link_program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_host(tmp_path_factory.mktemp("link") / "x", "link_host", LINK_SOURCES)


def sweep(program: Path, disturbance: str, seed: int, stride: int) -> list[str]:
    """Strike at event 0, stride, 2 * stride, ... until a run ends before it; a line each, without the last."""
    done = run(program, disturbance, str(seed), str(stride))
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode().splitlines()[:-1]


@pytest.mark.parametrize("seed", range(8))
def test_frames_arrive_without_disturbance(link_program: Path, seed: int) -> None:
    done = run(link_program, "none", str(seed), "1000000000")
    assert (done.returncode, done.stdout) == (0, b"0 done\n1000000000 done\n"), done.stderr


@pytest.mark.parametrize("disturbance", ["flip", "stall", "reset"])
def test_one_disturbance_anywhere_is_mended(link_program: Path, disturbance: str) -> None:
    lines = sweep(link_program, disturbance, 1, 7)
    assert len(lines) > 200
    assert [line for line in lines if not line.endswith(" done")] == []


def test_peer_that_stops_is_reported_within_the_limits(link_program: Path) -> None:
    lines = sweep(link_program, "cut", 2, 11)
    faults = [line for line in lines if not line.endswith(" done")]
    assert len(faults) > 150
    for line in faults:
        reported = re.search(r"fault board 0 role [01] phase \d byte \d+ of \d+ waited (\d+)$", line)
        assert reported, line
        assert 10_000 < int(reported[1]) < 10_200 or 200_000 < int(reported[1]) < 200_200


def test_wrong_content_is_caught_when_the_checksum_is_ignored(tmp_path: Path) -> None:
    edit = ("link/link.c", "link->payload_crc != crc32_update(CRC32_START, link->buffer, header->length)", "0")
    program = build_host(tmp_path / "x", "link_host", LINK_SOURCES, edit=edit)
    assert any("wrong content" in line for line in sweep(program, "flip", 1, 7))


def test_fight_over_ack_is_noticed_when_nobody_lets_go(tmp_path: Path) -> None:
    edit = (HANDSHAKE, "if (rx->low == CONTEST_READS)", "if (0)")
    program = build_host(tmp_path / "x", "link_host", LINK_SOURCES, edit=edit)
    assert any("contention" in line for line in sweep(program, "flip", 1, 7))
