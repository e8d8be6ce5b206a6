"""Rings for the tests: open_ring(...) boots one and closes it; the tiny model; both compilers."""

import os
import shutil
from pathlib import Path

import pytest

from hil.ring.ring import Ring
from hil.session import Session
from hil.settings import Settings


@pytest.fixture(params=["zig", "gcc"])
def compiler(request) -> str:
    """Each compiler; GCC is left out, saying so, where it is not installed, but not in CI."""
    if request.param == "gcc" and shutil.which("arm-none-eabi-gcc") is None:
        if os.environ.get("CI"):
            pytest.fail("arm-none-eabi-gcc is not installed, and CI must have it: apt-get install gcc-arm-none-eabi")
        pytest.skip("arm-none-eabi-gcc is not installed: apt-get install gcc-arm-none-eabi")
    return request.param


@pytest.fixture
def open_ring(tmp_path: Path):
    """open_ring(**settings) -> (session, ring), booted unless boot=False; closed after the test."""
    rings: list[Ring] = []

    def make(*, boot: bool = True, image=None, name: str = "a", **settings) -> tuple[Session, Ring]:
        session = Session(Settings(logs=tmp_path / name / "logs", work=tmp_path / name / "work", **settings))
        ring = session.open_ring()
        rings.append(ring)
        if boot:
            ring.boot(image if image is not None else session.image("ring"))
        return session, ring

    yield make
    for ring in rings:
        ring.desk.close()
