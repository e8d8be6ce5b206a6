"""sim:// ports, their registry, and pseudo-terminals."""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import serial

from hil.sim import Simulation, handlers, registry
from hil.sim.pty import serve
from tests.sim.programs import BOOTED_NS, MS, simulate

ECHO = """
main:
    mov r0, #26
    mov r1, #3
    bl uart_init
1:  ldr r2, =UART
2:  ldr r3, [r2, #0x18]
    tst r3, #0x10
    bne 2b
    ldr r0, [r2]
    and r0, r0, #255
    bl putc
    b 1b
"""


@pytest.fixture
def sim(tmp_path: Path) -> Iterator[Simulation]:
    handlers.install()
    with simulate(tmp_path, ECHO, ECHO) as simulation:
        registry.register("test", simulation)
        simulation.run(BOOTED_NS)
        yield simulation
        registry.unregister("test")


def test_port_echoes_and_knows_its_simulation(sim: Simulation) -> None:
    with serial.serial_for_url("sim://test/1", baudrate=115200, timeout=1) as port:
        assert (port.simulation, port.board_index) == (sim, 1)
        assert port.write(b"hello") == 5
        assert port.read(5) == b"hello"


def test_url_without_a_name_means_the_newest(sim: Simulation) -> None:
    with serial.serial_for_url("sim://0", timeout=1) as port:
        port.baudrate = 115200
        port.write(b"x")
        assert port.read(1) == b"x"


def test_read_time_out_is_virtual(sim: Simulation) -> None:
    with serial.serial_for_url("sim://0", baudrate=115200, timeout=3600) as port:
        before = sim.time_ns
        assert port.read(1) == b""
        assert sim.time_ns - before == 3_600_000 * MS


def test_in_waiting_and_buffers(sim: Simulation) -> None:
    with serial.serial_for_url("sim://0", baudrate=115200, timeout=1) as port:
        port.write(b"abc")
        assert port.out_waiting == 3
        port.flush()
        assert port.out_waiting == 0
        sim.run(sim.time_ns + 5 * MS)
        assert port.in_waiting == 3
        port.reset_input_buffer()
        assert port.in_waiting == 0


def test_wrong_baud_is_heard_as_garbage(sim: Simulation) -> None:
    with serial.serial_for_url("sim://0", baudrate=9600, timeout=1) as port:
        port.write(b"hello")
        assert port.read(5) != b"hello"


def test_exclusive_port_is_refused_a_second_time(sim: Simulation) -> None:
    with (
        serial.serial_for_url("sim://0", exclusive=True),
        pytest.raises(serial.SerialException, match="could not open port sim://0: the port of board 0 is in use"),
    ):
        serial.serial_for_url("sim://0", exclusive=True)
    serial.serial_for_url("sim://0", exclusive=True).close()


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("sim://7", r"board 7: this simulation has boards 0\.\.1"),
        ("sim://nobody/0", "no simulation is called 'nobody'"),
        ("sim://test/x", r"expected sim://BOARD or sim://NAME/BOARD"),
    ],
)
def test_bad_url_is_refused(sim: Simulation, url: str, said: str) -> None:
    with pytest.raises(serial.SerialException, match=said):
        serial.serial_for_url(url)


def test_no_simulation_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_simulations", {})  # other tests of this process may have one open
    handlers.install()
    with pytest.raises(serial.SerialException, match="no simulation is registered"):
        serial.serial_for_url("sim://0")


def test_only_8n1(sim: Simulation) -> None:
    with pytest.raises(ValueError, match="8N1 only"):
        serial.serial_for_url("sim://0", parity=serial.PARITY_EVEN)


def test_pseudo_terminals_carry_every_byte(tmp_path: Path, sim: Simulation) -> None:
    """Every byte value, twice the kernel's terminal buffer, to a reader that only starts when all is written."""
    payload = bytes(range(256)) * 32
    stopped, paths_known = threading.Event(), threading.Event()
    paths: list[str] = []

    def ready(found: Sequence[str]) -> None:
        paths.extend(found)
        paths_known.set()

    links = [tmp_path / "pi0", tmp_path / "pi1"]
    thread = threading.Thread(
        target=serve, args=(sim, links), kwargs={"stop": stopped.is_set, "ready": ready, "paced": False}
    )
    thread.start()
    try:
        assert paths_known.wait(30)
        assert paths == [str(link) for link in links]
        terminal = os.open(paths[1], os.O_RDWR | os.O_NOCTTY)
        sent = 0
        while sent < len(payload):
            sent += os.write(terminal, payload[sent : sent + 512])
        received = b""
        while len(received) < len(payload) and select.select([terminal], [], [], 30)[0]:
            received += os.read(terminal, 4096)
        os.close(terminal)
    finally:
        stopped.set()
        thread.join(30)
    assert received == payload
    assert not links[0].is_symlink(), "links are removed at the end"
