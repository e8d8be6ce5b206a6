"""A labgrid lab on this computer: its own coordinator and exporter, as processes, with a place for each board."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.desk.servers import WAIT_S, free_numbers, wait_for

BIN = Path(sys.executable).parent


class Lab:
    """Exports serial ports. Places are `ring-pi0`, `ring-pi1`, ..., and `ring` with all of them."""

    def __init__(self, ports: Sequence[str], folder: Path) -> None:
        (number,) = free_numbers(1)
        self.address = f"127.0.0.1:{number}"
        self._folder = folder
        lines = []
        for rank, port in enumerate(ports):
            lines += [f"pi{rank}:", f"  RawSerialPort: {{port: {os.path.realpath(port)}, speed: 115200}}"]
        (folder / "exports.yaml").write_text("\n".join(lines) + "\n")
        self._coordinator = self._start("coordinator", "-l", self.address)
        wait_for(lambda: self._run("places").returncode == 0, "labgrid-coordinator answers")
        self._exporter = self._start(
            "exporter", "-c", self.address, "-n", "desk", "--hostname", "127.0.0.1", "exports.yaml"
        )
        wait_for(lambda: self.client("resources").count("NetworkSerialPort") == len(ports), "labgrid-exporter exports")
        self.client("-p", "ring", "create")
        for rank in range(len(ports)):
            self.client("-p", f"ring-pi{rank}", "create")
            self.client("-p", f"ring-pi{rank}", "add-match", f"desk/pi{rank}/*")
            self.client("-p", "ring", "add-named-match", f"desk/pi{rank}/NetworkSerialPort", f"pi{rank}")

    def _start(self, what: str, *arguments: str) -> subprocess.Popen[bytes]:
        with (self._folder / f"{what}.out").open("w") as output:
            return subprocess.Popen(
                [str(BIN / f"labgrid-{what}"), *arguments], stdout=output, stderr=output, cwd=self._folder
            )

    def _run(self, *arguments: str, user: str = "") -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, **({"LG_USERNAME": user} if user else {})}
        return subprocess.run(
            [str(BIN / "labgrid-client"), "-x", self.address, *arguments],
            capture_output=True, text=True, timeout=WAIT_S, env=environment, cwd=self._folder,
        )  # fmt: skip

    def client(self, *arguments: str, user: str = "") -> str:
        """What labgrid-client says. user: act as somebody else."""
        done = self._run(*arguments, user=user)
        assert done.returncode == 0, f"labgrid-client {arguments}: {done.stdout}{done.stderr}"
        return done.stdout

    def holder(self, place: str) -> str:
        """`HOST/USER` who holds a place; empty for nobody."""
        shown = self.client("-p", place, "show")
        line = next(line for line in shown.splitlines() if line.strip().startswith("acquired:"))
        who = line.partition(":")[2].strip()
        return "" if who == "None" else who

    def close(self) -> None:
        """End both processes, and the ser2net processes with them."""
        for process in (self._exporter, self._coordinator):
            process.terminate()
            process.wait(timeout=WAIT_S)
