"""What a network costs: `python -m tests.desk.remote_figures` prints the figures of docs/performance.md.

Round trips of 16 bytes to a program that echoes, and of PING to a simulated board, in this order: in process,
pseudo-terminal, pyserial's RFC 2217 server, ser2net. Medians; compare lines of one run only.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from hil.line.loop import Loop, WallWaiter
from hil.protocol.messages import Blob, Command
from hil.session import Session
from hil.settings import Settings
from tests.desk.servers import SimDesk, ser2net, with_ports

ECHO = """
import os, tty
ours, theirs = os.openpty()
tty.setraw(ours); tty.setraw(theirs)
print(os.ttyname(theirs), flush=True)
while True:
    data = os.read(ours, 65536)
    while data:
        data = data[os.write(ours, data):]
"""
SERVE = "from tests.desk.servers import PortServer; s = PortServer({path!r}); print(s.url, flush=True); input()"
TRIPS = 400
BULK_BYTES = 1_000_000


def started(stack: ExitStack, code: str) -> str:
    """Run Python code in a process of its own; the line that it prints."""
    process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    stack.callback(process.kill)
    assert process.stdout is not None
    return process.stdout.readline().strip()


def median_ms(trip: Callable[[], object], count: int = TRIPS) -> float:
    """Median of so many trips."""
    times = []
    for _ in range(count):
        start_s = time.perf_counter()
        trip()
        times.append((time.perf_counter() - start_s) * 1e3)
    return statistics.median(times)


def echo_figures(url: str) -> tuple[float, float]:
    """(median round trip in ms, MB/s of a long echo)."""
    got, loop = bytearray(), Loop(WallWaiter())
    port = loop.open_port(url, 115200, got.extend)

    def trip(data: bytes) -> None:
        got.clear()
        port.write(data)
        assert loop.run_until(lambda: len(got) >= len(data), 60)

    rtt_ms = median_ms(lambda: trip(b"0123456789abcdef"))
    start_s = time.perf_counter()
    trip(os.urandom(BULK_BYTES))
    speed = BULK_BYTES / 1e6 / (time.perf_counter() - start_s)
    loop.close()
    return rtt_ms, speed


def ping_ms(rig: str, logs: Path) -> float:
    """Median of PING with a byte to board 0, booted."""
    session = Session(Settings(rig=rig, logs=logs))
    ring = session.open_ring()
    try:
        session.boot(ring)
        return median_ms(lambda: ring.boards[0].command(Command.PING, Blob(b"x"), Blob), 200)
    finally:
        ring.desk.close()


def main() -> None:
    """Print both tables."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        path = started(stack, ECHO)
        rows = [("pseudo-terminal", *echo_figures(path))]
        with ExitStack() as server:
            rows.append(("pyserial's server", *echo_figures(started(server, SERVE.format(path=path)))))
        for name, chardelay in (("ser2net, chardelay: false", False), ("ser2net as it comes", True)):
            with ser2net([path], folder, chardelay=chardelay) as (number,):
                rows.append((name, *echo_figures(f"rfc2217://127.0.0.1:{number}")))
        for name, rtt_ms, speed in rows:
            print(f"{name:28} {rtt_ms:7.3f} ms  x{rtt_ms / rows[0][1]:5.1f}  {speed:6.2f} MB/s")
        desk = stack.enter_context(SimDesk(folder / "desk"))
        pings = [("PING in process", ping_ms("sim", folder / "logs"))]
        pings.append(("PING on a terminal", ping_ms(str(desk.rig), folder / "logs")))
        with ser2net(desk.ports, folder) as numbers:
            rig = with_ports(desk.rig, [f"rfc2217://127.0.0.1:{number}" for number in numbers], "network")
            pings.append(("PING through ser2net", ping_ms(str(rig), folder / "logs")))
        for name, rtt_ms in pings:
            print(f"{name:28} {rtt_ms:7.3f} ms  x{rtt_ms / pings[0][1]:5.1f}")


if __name__ == "__main__":
    main()
