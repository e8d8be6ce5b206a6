"""Names for simulations, for serial URLs: `sim://0` means the newest, `sim://NAME/0` a named one."""

from __future__ import annotations

from hil.sim.simulation import Simulation, SimulationError

_simulations: dict[str, Simulation] = {}
_exclusive: dict[tuple[int, int], bool] = {}


def register(name: str, simulation: Simulation) -> None:
    """Give a simulation a name; it also becomes the one that a URL without a name means."""
    _simulations.pop(name, None)
    _simulations[name] = simulation


def unregister(name: str) -> None:
    """Forget a name; harmless when unknown."""
    _simulations.pop(name, None)


def get(name: str | None = None) -> Simulation:
    """The simulation of that name, or the newest one.

    Raises: SimulationError if there is none.
    """
    if name is None:
        if not _simulations:
            raise SimulationError("no simulation is registered: call hil.sim.registry.register(name, simulation)")
        return next(reversed(_simulations.values()))
    if name not in _simulations:
        known = ", ".join(_simulations) or "none"
        raise SimulationError(f"no simulation is called {name!r}; known: {known}")
    return _simulations[name]


def claim(simulation: Simulation, board: int, *, exclusive: bool) -> None:
    """Note that a port was opened.

    Raises: SimulationError if it is open already and either side wants it alone.
    """
    key = (id(simulation), board)
    if key in _exclusive and (exclusive or _exclusive[key]):
        raise SimulationError(f"the port of board {board} is in use")
    _exclusive[key] = exclusive


def release(simulation: Simulation, board: int) -> None:
    """Note that a port was closed."""
    _exclusive.pop((id(simulation), board), None)
