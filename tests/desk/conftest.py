"""Fixtures of the desk's tests: boards on pseudo-terminals that are closed after the test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from hil.desk.desk import Desk, open_desk
from hil.rig.config import load_rig


@pytest.fixture
def plug() -> Iterator[Callable[[Any], Any]]:
    """plug(board) -> board, closed after the test."""
    with ExitStack() as stack:

        def keep(board: Any) -> Any:
            stack.callback(board.close)
            return board

        yield keep


@pytest.fixture
def rig_file(tmp_path: Path) -> Callable[..., Path]:
    """rig_file(port, port, ...) -> the path of a rig file with these ports."""

    def write(*ports: str, head: str = "", name: str = "desk") -> Path:
        path = tmp_path / f"{name}.toml"
        boards = "".join(f'[[board]]\nrank = {rank}\nport = "{port}"\n' for rank, port in enumerate(ports))
        path.write_text(f"[rig]\n{head}\n{boards}")
        return path

    return write


@pytest.fixture
def desk_of(tmp_path: Path, rig_file: Callable[..., Path]) -> Iterator[Callable[..., Desk]]:
    """desk_of(port, ...) -> an open desk with these ports, closed after the test."""
    with ExitStack() as stack:

        def make(*ports: str) -> Desk:
            desk = open_desk(load_rig(str(rig_file(*ports))), tmp_path / "logs", seed=1)
            stack.callback(desk.close)
            return desk

        yield make
