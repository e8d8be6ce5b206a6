"""Reset lines on FTDI adapters: real pyftdi and pyusb down to USB transfers, boards on pseudo-terminals."""

from __future__ import annotations

import pytest

from hil.cli import main
from hil.desk.desk import open_desk
from hil.desk.power import check_reset
from hil.errors import BoardError, RigError
from hil.rig.config import load_rig
from hil.sim import ftdi_usb
from hil.sim.ft232h import Ft232h
from hil.sim.ft232r import GPIO, TX_LED, Ft232r
from hil.sim.ftdi_usb import ChipError, LoosePads
from tests.desk.boards import Bootloader

AC0 = 8


class RunLine:
    """RUN of a board at a pin: while it is pulled the board is away. active: level that pulls it."""

    def __init__(self, board: Bootloader, pin: int, active: int) -> None:
        self.pulls = 0
        self.pin = pin
        self._board, self._active = board, active
        self._low = False

    def changed(self, outputs: int, levels: int) -> None:
        low = bool(outputs >> self.pin & 1) and levels >> self.pin & 1 == self._active
        if self._low and not low:
            self.pulls += 1
            self._board.reset()
        self._low = low

    @property
    def low(self) -> bool:
        return self._low


def listen(*lines: RunLine):
    def changed(outputs: int, levels: int) -> None:
        assert not any(outputs & levels & 1 << line.pin for line in lines), "RUN is driven high"
        for line in lines:
            line.changed(outputs, levels)

    return LoosePads(changed)


@pytest.fixture(autouse=True)
def own_locks(tmp_path, monkeypatch):
    """A terminal's number may still be locked by another run on this computer that had it before."""
    monkeypatch.setattr("hil.desk.lock.lock_folder", lambda: tmp_path)


@pytest.fixture
def boards():
    made = [Bootloader() for _ in range(2)]
    yield made
    for board in made:
        board.close()


@pytest.fixture
def adapters():
    plugged = []

    def plug(adapter):
        plugged.append(adapter)
        return ftdi_usb.plug(adapter)

    yield plug
    for adapter in plugged:
        ftdi_usb.unplug(adapter)


@pytest.fixture
def rig(tmp_path, boards):
    def write(power: str) -> str:
        path = tmp_path / "desk.toml"
        tables = "".join(f'[[board]]\nrank = {n}\nport = "{board.path}"\n' for n, board in enumerate(boards))
        path.write_text(f"[rig]\npower = {power}\n{tables}")
        return str(path)

    return write


@pytest.fixture
def desk(tmp_path):
    desks = []

    def make(path: str):
        desks.append(open_desk(load_rig(path), tmp_path / "logs", seed=1))
        return desks[-1]

    yield make
    for desk in desks:
        desk.close()


@pytest.fixture
def cbus(boards, adapters, rig):
    """CBUS2 of an adapter per board; (lines, rig file)."""
    lines = [RunLine(board, 2, active=1) for board in boards]
    urls = [adapters(Ft232r(LoosePads(line.changed), serial=f"A{n}")) for n, line in enumerate(lines)]
    return lines, rig(f'{{cbus = ["{urls[0]}", "{urls[1]}"], pin = 2}}')


@pytest.fixture
def gpio(boards, adapters, rig):
    """AC3 and AC0 of one FT232H; (lines, rig file, adapter)."""
    lines = [RunLine(board, AC0 + n, active=0) for board, n in zip(boards, (3, 0), strict=True)]
    adapter = Ft232h(listen(*lines), serial="R1")
    url = adapters(adapter)
    return lines, rig(f'{{gpio = "{url}", pins = ["AC3", "AC0"]}}'), adapter


def test_cbus_pin_pulls_run_of_its_own_board_and_lets_go(cbus, tmp_path, capsys):
    lines, path = cbus
    assert main(["reset", "--rig", path, "--board", "1", "--logs", str(tmp_path / "logs")]) == 0
    assert "board 1" in capsys.readouterr().out
    assert [line.pulls for line in lines] == [0, 1]
    assert not any(line.low for line in lines)


def test_gpio_pins_of_one_adapter_pull_run_of_every_board(gpio, tmp_path, capsys):
    lines, path, adapter = gpio
    assert main(["reset", "--rig", path, "--logs", str(tmp_path / "logs")]) == 0
    assert capsys.readouterr().out.count("went away and asked for an image after") == 2
    assert [line.pulls for line in lines] == [1, 1]
    assert not any(line.low for line in lines)
    assert adapter.complaints == []


def test_pulses_of_two_boards_may_overlap(gpio, desk):
    lines, path, _ = gpio
    opened = desk(path)
    for board in opened.boards:
        opened.power.reset(board)
    assert opened.boards[0].wait_until(lambda: not any(line.low for line in lines), 20)
    assert [line.pulls for line in lines] == [1, 1]


@pytest.mark.parametrize("kind", ["cbus", "gpio"])
def test_closing_the_rig_in_mid_pulse_lets_run_go(kind, request, desk):
    lines, path, *_ = request.getfixturevalue(kind)
    opened = desk(path)
    opened.power.reset(opened.boards[0])
    opened.power.reset(opened.boards[0])
    opened.close()
    assert not lines[0].low
    assert lines[0].pulls == 1


def test_line_that_is_wired_to_nothing_is_noticed(boards, adapters, rig, desk):
    url = adapters(Ft232h(LoosePads(lambda outputs, levels: None), serial="R2"))
    opened = desk(rig(f'{{gpio = "{url}", pins = ["AC0", "AC1"]}}'))
    with pytest.raises(BoardError, match="it did not go away: its bootloader went on asking; AC0, AC1 of ftdi.* do it"):
        check_reset(opened.boards[0], opened.power, timeout_s=2)


def test_pin_that_is_no_gpio_in_the_eeprom_is_one_sentence(adapters, rig, desk):
    adapter = Ft232r(LoosePads(lambda outputs, levels: None), serial="A7", functions=(GPIO, TX_LED, GPIO, GPIO))
    url = adapters(adapter)
    opened = desk(rig(f'{{cbus = ["{url}", "{url}"], pin = 1}}'))
    with pytest.raises(RigError, match=r"CBUS1 is not set to GPIO in the adapter's EEPROM; set it with .*ftconf\.py"):
        opened.power.reset(opened.boards[0])
    with pytest.raises(ChipError, match="its EEPROM makes GPIOs of 0xd only"):
        adapter.set_bitmode(0x20, 0x22)
    with pytest.raises(ChipError, match="modelled are"):
        adapter.set_bitmode(0x01, 0xFF)


@pytest.mark.parametrize(
    ("power", "sentence"),
    [
        ('{cbus = ["ftdi://ftdi:ft-x:N/1", "ftdi://ftdi:ft-x:N/1"]}', "reset over ftdi://ftdi:ft-x:N/1 failed: "),
        ('{gpio = "ftdi://ftdi:232h:N/1", pins = ["AC0", "AC1"]}', "reset over AC0 failed: adapter ftdi://ftdi:232h:N/1"),
    ],
)  # fmt: skip
def test_missing_adapter_is_one_sentence(adapters, rig, desk, power, sentence):
    adapters(Ft232r(LoosePads(lambda outputs, levels: None), serial="OTHER"))
    opened = desk(rig(power))
    with pytest.raises(RigError) as caught:
        opened.power.reset(opened.boards[0])
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


def test_gpio_on_another_chip_is_refused(adapters, rig, desk):
    url = adapters(Ft232r(LoosePads(lambda outputs, levels: None), serial="A8"))
    opened = desk(rig(f'{{gpio = "{url}", pins = ["AC0", "AC1"]}}'))
    with pytest.raises(RigError, match="MPSSE|FT232H"):
        opened.power.reset(opened.boards[0])


@pytest.mark.parametrize("kind", ["cbus", "gpio"])
def test_adapter_unplugged_in_mid_pulse_ends_in_the_boards_own_sentence(kind, request, desk):
    _, path, *_ = request.getfixturevalue(kind)
    opened = desk(path)
    opened.power.reset(opened.boards[0])
    for adapter in list(ftdi_usb._bus):
        ftdi_usb.unplug(adapter)
    opened.boards[0].wait_until(lambda: False, 0.2)
    with pytest.raises(RigError, match="failed"):
        opened.power.reset(opened.boards[0])
