"""A simulated rig in a process of its own, seen from inside: what `hil sim --pty` does when it is asked to.

`hil sim-control` and rig files with `power = {sim = "HOST:PORT"}` ask. Owns: the requests and their words.
"""

from __future__ import annotations

from hil.desk.faulty import apply_faults
from hil.errors import RigError
from hil.rig.faults import parse_fault
from hil.rig.specs import RigConfig
from hil.sim import Simulation
from hil.sim.control import ask

REQUESTS = ("reset", "on", "off", "faults", "status")


class SimDesk:
    """Does what a line asks for: `reset N`, `on N`, `off N`, `faults [FAULT...]`, `status`."""

    def __init__(self, simulation: Simulation, config: RigConfig) -> None:
        self._simulation = simulation
        self._config = config

    def execute(self, line: str) -> str:
        """The answer. Raises ValueError with a sentence for a request that makes no sense."""
        word, *rest = line.split() or [""]
        if word == "faults":
            return self._faults(rest)
        if word == "status" and not rest:
            return self._status()
        if word in ("reset", "on", "off") and len(rest) == 1:
            return self._power(word, rest[0])
        raise ValueError(f"{line!r} is no request; there are reset N, on N, off N, faults [FAULT...], status")

    def _faults(self, texts: list[str]) -> str:
        try:
            faults = [parse_fault(text, self._config) for text in texts]
        except RigError as error:
            raise ValueError(str(error)) from None
        apply_faults(self._simulation, self._config, faults)
        return f"{len(faults)} faults"

    def _power(self, word: str, text: str) -> str:
        if not text.isdecimal() or int(text) >= self._config.world_size:
            raise ValueError(f"board {text}: this rig has boards 0 to {self._config.world_size - 1}")
        rank, simulation = int(text), self._simulation
        if word == "off":
            simulation.power_off(rank)
        elif not simulation.is_powered(rank):
            simulation.power_on(rank)
        elif word == "reset":
            simulation.reset(rank)
        return f"board {rank} is {simulation.state(rank)}"

    def _status(self) -> str:
        states = ", ".join(f"board {rank} {self._simulation.state(rank)}" for rank in range(self._config.world_size))
        met = len(self._simulation.contentions)
        return f"{self._simulation.time_ns / 1e9:.3f} s, {states}, outputs met on a wire {met} times"


def control(address: str, line: str) -> str:
    """Ask the simulation at HOST:PORT. Raises RigError with its sentence, or if it is not there."""
    try:
        return ask(address, line)
    except ValueError as error:
        raise RigError(f"simulated rig at {address}: {error}") from None
    except OSError as error:
        raise RigError(
            f"simulated rig at {address}: {error.strerror or error}; is `hil sim --pty` still running?"
        ) from None
