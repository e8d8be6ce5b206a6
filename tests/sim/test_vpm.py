"""The VPM and its DMA in every mode of the guide's setups, against a model of 4096 bytes written anew here."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from hil.sim import SimulationError
from tests.sim.qpu_asm import Asm, load_pitch, load_setup, store_setup, store_stride, vpm_setup
from tests.sim.qpu_bench import BUS, INPUT, OUTPUT, Ran, launch

Bytes = npt.NDArray[np.uint8]
ROWS = 64


def fill(asm: Asm) -> None:
    """The VPM's 64 rows are the 4096 bytes at INPUT."""
    for block in range(4):
        asm.load("rd_setup", load_setup(rows=16, y=16 * block))
        asm.load("ld_addr", BUS + INPUT + 1024 * block)
        asm.mov("-", "ld_wait")


def dump(asm: Asm) -> None:
    """All rows go to OUTPUT."""
    asm.load("wr_setup", store_setup(units=64))
    asm.load("wr_setup", store_stride(0))
    asm.load("st_addr", BUS + OUTPUT)
    asm.mov("-", "st_wait")
    asm.end()


def source() -> Bytes:
    return np.random.default_rng(4).integers(0, 256, 4096, dtype=np.uint8)


def run(asm: Asm, extra: dict[int, bytes] | None = None) -> Ran:
    ran = launch([(asm.code(), [])], memory={INPUT: source().tobytes(), OUTPUT: bytes(0x4000), **(extra or {})})
    assert ran.finished
    return ran


def output(ran: Ran, count: int = 4096) -> Bytes:
    return np.frombuffer(ran.sim.read_ram(0, OUTPUT, count), np.uint8).copy()


# ---- vectors ----


def places(address: int, size: int, *, vertical: bool, laned: bool) -> list[list[int]]:
    """For each of 16 elements the VPM's byte numbers, low byte first: the guide's figures 8 and 9 in words."""
    width = 1 << size  # bytes
    parts = 4 // width
    part, at = address % parts, address // parts % 64
    found = []
    for k in range(16):
        if width == 4:
            word, first = k, 0
        elif laned:
            word, first = k, part * width
        else:
            word, first = (16 * part + k) // parts, k % parts * width
        row, column = (at // 16 * 16 + word, at % 16) if vertical else (at, word)
        found.append([row * 64 + column * 4 + first + i for i in range(width)])
    return found


MODES = [
    (size, vertical, laned)
    for size in (0, 1, 2)
    for vertical in (False, True)
    for laned in ((False, True) if size < 2 else (False,))
]


@pytest.mark.parametrize(("size", "vertical", "laned"), MODES)
@pytest.mark.parametrize(("address", "stride"), [(0, 1), (37, 3), (21, 0)])
def test_vpm_read_gives_the_elements_zero_extended(
    size: int, vertical: bool, laned: bool, address: int, stride: int
) -> None:
    count = 5
    asm = Asm()
    fill(asm)
    asm.load("rd_setup", vpm_setup(address, size=size, stride=stride, count=count, vertical=vertical, laned=laned))
    asm.nop(3)
    for k in range(count):
        asm.mov(f"ra{k}", "vpm")
    asm.load("wr_setup", vpm_setup(0))
    asm.nop()
    for k in range(count):
        asm.mov("vpm", f"ra{k}")
    dump(asm)
    found = output(run(asm)).view(np.uint32).reshape(64, 16)[:count]
    data = source()
    wrap = 64 * 4 // (1 << size)
    for k in range(count):
        at = (address + k * (stride or 64)) % wrap
        for element, where in enumerate(places(at, size, vertical=vertical, laned=laned)):
            assert found[k, element] == sum(int(data[b]) << 8 * i for i, b in enumerate(where)), (k, element)


@pytest.mark.parametrize(("size", "vertical", "laned"), MODES)
@pytest.mark.parametrize(("address", "stride"), [(0, 1), (61, 2)])
def test_vpm_write_changes_only_its_elements_and_wraps(
    size: int, vertical: bool, laned: bool, address: int, stride: int
) -> None:
    asm = Asm()
    fill(asm)
    asm.load("wr_setup", vpm_setup(address, size=size, stride=stride, vertical=vertical, laned=laned))
    asm.load("r0", 0x91827364)
    for _ in range(3):
        asm.add("add", "r0", "r0", "elem_num")
        asm.mov("vpm", "r0")
    dump(asm)
    want = source()
    wrap = 64 * 4 // (1 << size)
    for k in range(3):
        for element, where in enumerate(places((address + k * stride) % wrap, size, vertical=vertical, laned=laned)):
            for i, b in enumerate(where):
                want[b] = (0x91827364 + (k + 1) * element) >> 8 * i & 255
    assert np.array_equal(output(run(asm)), want)


def test_two_read_setups_queue_and_a_third_is_ignored_with_a_finding() -> None:
    asm = Asm()
    fill(asm)
    for row in (3, 9, 20):
        asm.load("rd_setup", vpm_setup(row, count=1))
    asm.nop(3)
    asm.mov("ra0", "vpm")
    asm.mov("ra1", "vpm")
    asm.load("wr_setup", vpm_setup(0))
    asm.mov("vpm", "ra0")
    asm.mov("vpm", "ra1")
    dump(asm)
    ran = run(asm)
    assert np.array_equal(output(ran, 128).reshape(2, 64), source().reshape(64, 64)[[3, 9]])
    assert any("sets up a third VPM read" in text for text in ran.lint())


@pytest.mark.parametrize(("gap", "early"), [(0, 2), (1, 1), (2, 0)])
def test_vpm_read_too_soon_after_its_setup_is_a_finding(gap: int, early: int) -> None:
    asm = Asm()
    asm.load("rd_setup", vpm_setup(0, count=1))
    asm.nop(gap)
    asm.mov("r0", "vpm")
    asm.end()
    texts = [text for text in run(asm).lint() if "too early" in text]
    assert len(texts) == (early > 0)
    assert all(f"reads the VPM {early} instructions too early" in text for text in texts)


# ---- DMA ----


@pytest.mark.parametrize("rows", [1, 5, 16])
@pytest.mark.parametrize(("mode", "x", "length"), [(0, 0, 16), (0, 4, 8), (2, 0, 16), (3, 0, 9), (5, 0, 16), (6, 0, 3)])
@pytest.mark.parametrize("vpm_pitch", [1, 3])
def test_dma_load_puts_rows_where_the_setup_says(rows: int, mode: int, x: int, length: int, vpm_pitch: int) -> None:
    width = 4 if mode == 0 else 2 if mode < 4 else 1
    part = mode & 1 if 2 <= mode < 4 else mode & 3 if mode >= 4 else 0
    asm = Asm()
    fill(asm)
    asm.load("rd_setup", load_setup(rows=rows, length=length, y=2, x=x, mode=mode, pitch=4, vpm_pitch=vpm_pitch))
    asm.load("ld_addr", BUS + OUTPUT + 0x2000)
    asm.mov("-", "ld_wait")
    dump(asm)
    data = np.random.default_rng(6).integers(0, 256, 0x1000, dtype=np.uint8)
    want = source()
    parts = 4 // width
    for row in range(rows):
        at = 2 * parts + part + row * vpm_pitch
        start = at // parts * 64 + x * 4 + at % parts * (64 // parts)
        want[start : start + length * width] = data[row * 128 : row * 128 + length * width]
    assert np.array_equal(output(run(asm, {OUTPUT + 0x2000: data.tobytes()})), want)


@pytest.mark.parametrize("pitch", [100, 0x3000])
def test_dma_load_vertical_fills_columns_and_takes_the_extended_pitch(pitch: int) -> None:
    asm = Asm()
    fill(asm)
    asm.load("rd_setup", load_pitch(pitch))
    asm.load("rd_setup", load_setup(rows=4, length=16, x=5, pitch=0, vpm_pitch=16, vertical=True))
    asm.load("ld_addr", BUS + OUTPUT + 0x2000)
    asm.mov("-", "ld_wait")
    dump(asm)
    data = np.random.default_rng(7).integers(0, 256, 0xA000, dtype=np.uint8)
    want = source().view(np.uint32).reshape(64, 16)
    for row in range(4):
        want[16 * row : 16 * row + 16, 5] = data[pitch * row : pitch * row + 64].view(np.uint32)
    found = output(run(asm, {OUTPUT + 0x2000: data.tobytes()}))
    assert np.array_equal(found.view(np.uint32).reshape(64, 16), want)


@pytest.mark.parametrize("stride", [0, 12, 0x3000])
@pytest.mark.parametrize(
    ("mode", "x", "depth", "units"),
    [(0, 0, 16, 4), (0, 3, 5, 3), (2, 0, 32, 2), (3, 2, 4, 3), (4, 0, 64, 2), (7, 1, 9, 4)],
)
def test_dma_store_horizontal_takes_bytes_along_a_row(mode: int, x: int, depth: int, units: int, stride: int) -> None:
    if stride == 0x3000 and units > 2:
        units = 2
    width = 4 if mode == 0 else 2 if mode < 4 else 1
    part = (mode & 1) * 2 if 2 <= mode < 4 else mode & 3 if mode >= 4 else 0
    asm = Asm()
    fill(asm)
    asm.load("wr_setup", store_setup(units=units, depth=depth, y=5, x=x, mode=mode))
    asm.load("wr_setup", store_stride(stride))
    asm.load("st_addr", BUS + OUTPUT + 1)
    asm.mov("-", "st_wait")
    asm.end()
    want, data = np.zeros(0x4000, np.uint8), source()
    for unit in range(units):
        start = (5 + unit) * 64 + x * 4 + part
        where = 1 + unit * (depth * width + stride)
        want[where : where + depth * width] = data[start : start + depth * width]
    assert np.array_equal(output(run(asm), 0x4000), want)


def test_dma_store_vertical_goes_down_columns() -> None:
    asm = Asm()
    fill(asm)
    asm.load("wr_setup", store_setup(units=3, depth=20, y=8, x=2, vertical=True))
    asm.load("wr_setup", store_stride(0))
    asm.load("st_addr", BUS + OUTPUT)
    asm.mov("-", "st_wait")
    asm.end()
    words = source().view(np.uint32).reshape(64, 16)
    assert np.array_equal(output(run(asm), 240).view(np.uint32).reshape(3, 20), words[8:28, 2:5].T)


def test_dma_store_in_block_mode_takes_rows_that_are_packed_in_the_vpm() -> None:
    asm = Asm()
    fill(asm)
    asm.load("wr_setup", store_setup(units=4, depth=5, y=8))
    asm.load("wr_setup", store_stride(4, packed=True))
    asm.load("st_addr", BUS + OUTPUT)
    asm.mov("-", "st_wait")
    asm.end()
    found = output(run(asm), 96).reshape(4, 24)
    assert np.array_equal(found[:, :20].ravel(), source()[512 : 512 + 80])


def test_dma_store_of_128_rows_and_elements_is_refused_for_leaving_the_vpm() -> None:
    assert "beyond the 64 rows" in refused(store_setup(units=0), "st_addr")
    assert "past the end of a row" in refused(store_setup(depth=0), "st_addr")


def test_second_transfer_waits_for_the_first_and_busy_tells() -> None:
    asm = Asm()
    asm.load("wr_setup", vpm_setup(1))
    asm.mov("r0", "st_busy")
    asm.load("wr_setup", store_setup())
    asm.load("st_addr", BUS + OUTPUT)
    asm.mov("r1", "st_busy")
    asm.load("st_addr", BUS + OUTPUT + 64)  # stalls
    asm.mov("r2", "ld_busy")
    asm.mov("-", "st_wait")
    asm.mov("r3", "st_busy")
    for name in ("r0", "r1", "r2", "r3"):
        asm.mov("vpm", name)
    asm.load("wr_setup", store_setup(units=4, y=1))
    asm.load("st_addr", BUS + OUTPUT)
    asm.mov("-", "st_wait")
    asm.end()
    found = output(run(asm), 256).view(np.uint32).reshape(4, 16)
    assert [set(row.tolist()) for row in found] == [{0}, {1}, {0}, {0}]


def test_transfer_moves_its_data_when_it_ends_not_when_it_starts() -> None:
    asm = Asm()
    fill(asm)
    asm.load("wr_setup", vpm_setup(0))
    asm.load("wr_setup", store_setup())
    asm.load("st_addr", BUS + OUTPUT)
    asm.mov("vpm", 7)  # without waiting
    asm.mov("-", "st_wait")
    asm.end()
    assert set(output(run(asm), 64).view(np.uint32)) == {7}


# ---- refusals ----


def refused(setup: int, start: str, *, address: int = BUS + OUTPUT, stride: int | None = None) -> str:
    asm = Asm()
    target = "rd_setup" if start == "ld_addr" else "wr_setup"
    if stride is not None:
        asm.load(target, stride)
    asm.load(target, setup)
    asm.load(start, address)
    asm.end()
    with pytest.raises(SimulationError) as caught:
        launch([(asm.code(), [])])
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "setup", "start", "options"),
    [
        ("a vertical DMA load of 8 or 16 bits", load_setup(mode=4, vertical=True), "ld_addr", {}),
        ("a DMA load of 8 or 16 bits to X other than 0", load_setup(mode=2, x=1, length=4), "ld_addr", {}),
        ("a DMA row that runs past the end of a row", load_setup(x=1), "ld_addr", {}),
        ("beyond the 64 rows of the VPM", load_setup(rows=2, y=63), "ld_addr", {}),
        ("beyond the 64 rows of the VPM", load_setup(y=64), "ld_addr", {}),
        ("a DMA transfer where there is no RAM", load_setup(), "ld_addr", {"address": 0x7E000000}),
        ("a DMA transfer where there is no RAM", store_setup(), "st_addr", {"address": 0x41FFFFF0}),
        ("a laned DMA store", store_setup() | 1 << 15, "st_addr", {}),
        ("a DMA store of reserved width", store_setup(mode=1), "st_addr", {}),
        (
            "a vertical DMA store in block mode",
            store_setup(vertical=True),
            "st_addr",
            {"stride": store_stride(0, packed=True)},
        ),
        ("a DMA row that runs past the end of a row", store_setup(x=15, units=2, vertical=True), "st_addr", {}),
        ("a DMA store without a setup", 0, "st_addr", {}),
        ("a DMA load without a setup", 0, "ld_addr", {}),
    ],
)
def test_transfer_that_is_not_modelled_is_refused_by_name(
    text: str, setup: int, start: str, options: dict[str, int]
) -> None:
    assert text in refused(setup, start, **options)  # type: ignore[arg-type]
