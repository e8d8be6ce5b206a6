"""Ports: names, suffixes, devices.conf, `hil ports`, and `hil rig init` on real pseudo-terminals."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from serial.tools import list_ports
from serial.tools.list_ports_common import ListPortInfo

from hil.cli import main
from hil.errors import RigError
from hil.line.names import resolve_port, stable_name
from hil.rig.config import load_rig
from hil.rig.specs import ring_links
from tests.desk.boards import BUILD, Bootloader, RunningBoard
from tests.harness.doubles import Behaviour

CONF = """
# our ring
0 1330 PIE0 "head of the table"
2  /dev/ttyUSB7 PIE2
1 A50285BI PIE1 "second # not a comment"   # a comment
"""


@pytest.fixture
def dev(tmp_path: Path) -> Path:
    """A /dev with two adapters, as udev and macOS name them."""
    folder = tmp_path / "dev"
    by_id = folder / "serial" / "by-id"
    by_id.mkdir(parents=True)
    for number, name in enumerate(("usb-FTDI_FT232R_USB_UART_A50285BI-if00-port0", "usb-Silicon_Labs_CP2102N_0001")):
        (folder / f"ttyUSB{number}").touch()
        (by_id / name).symlink_to(folder / f"ttyUSB{number}")
    (folder / "cu.usbserial-1330").touch()
    return folder


def test_devices_conf_is_a_rig(tmp_path):
    path = tmp_path / "devices.conf"
    path.write_text(CONF)
    config = load_rig(str(path))
    assert [(spec.rank, spec.port) for spec in config.boards] == [(0, "1330"), (1, "A50285BI"), (2, "/dev/ttyUSB7")]
    assert (config.name, config.baud, config.links) == ("devices", 115200, ring_links(3))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("0 1330\n", "line 1 has 2 words .* write INDEX SERIAL_SUFFIX SD_LABEL"),
        ("# x\nzero 1330 PIE0\n", "line 2 has 3 words"),
        ('0 1330 PIE0 "open\n', "line 1: No closing quotation; close the quotes"),
        ("1 1330 PIE1\n", r"indices are \[1\]; they must be 0, 1, 2"),
        ("# nothing\n", r"indices are \[\]"),
        ("".join(f"{n} {n:04} PIE{n}\n" for n in range(17)), r"indices are \[0, .*, 16\]; .* for at most 16 boards"),
        ("0 1330 PIE0\n1 1330 PIE1\n", "port 1330 is given to 2 boards"),
    ],
)
def test_wrong_devices_conf_names_its_line(tmp_path, text, sentence):
    path = tmp_path / "devices.conf"
    path.write_text(text)
    with pytest.raises(RigError, match=f"rig {path}: {sentence}"):
        load_rig(str(path))


@pytest.mark.parametrize("text", ["/dev/ttyUSB0", "rfc2217://host:4000", "socket://host:1", "ftdi://ftdi:232h/1"])
def test_paths_and_urls_stay(dev, text):
    assert resolve_port(text, dev) == text


def test_suffixes_find_their_adapter(dev):
    assert resolve_port("1330", dev) == str(dev / "cu.usbserial-1330")
    assert resolve_port("285BI", dev) == str(dev / "serial/by-id/usb-FTDI_FT232R_USB_UART_A50285BI-if00-port0")
    assert resolve_port("0001", dev) == str(dev / "serial/by-id/usb-Silicon_Labs_CP2102N_0001")


def test_suffix_that_fits_none_or_two_is_refused(dev):
    with pytest.raises(RigError, match="port 4711: no adapter's name ends so .*`hil ports` lists"):
        resolve_port("4711", dev)
    (dev / "serial/by-id/usb-Other_1_0001-if00-port0").touch()
    with pytest.raises(RigError, match="port 0001: fits 2 adapters .*give more of the name"):
        resolve_port("0001", dev)


def test_stable_name_is_the_by_id_path(dev):
    assert stable_name(str(dev / "ttyUSB1"), dev) == str(dev / "serial/by-id/usb-Silicon_Labs_CP2102N_0001")
    assert stable_name(str(dev / "cu.usbserial-1330"), dev) == str(dev / "cu.usbserial-1330")


@pytest.fixture
def adapters(monkeypatch):
    """Two ports as pyserial describes them, one on USB with an adapter that says odd things."""
    usb, onboard = ListPortInfo("/dev/ttyUSB0"), ListPortInfo("/dev/ttyS0")
    usb.vid, usb.pid, usb.serial_number, usb.product = 0x10C4, 0xEA60, "0001", "CP2102N \x1b[31m"
    monkeypatch.setattr(list_ports, "comports", lambda: [usb, onboard])


@pytest.mark.usefixtures("adapters")
def test_hil_ports_lists_usb_adapters_and_escapes_their_words(capsys):
    assert main(["ports"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert lines[1].split()[:3] == ["/dev/ttyUSB0", "10c4:ea60", "0001"]
    assert "\\x1b[31m" in lines[1]
    assert main(["ports", "--all", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [(port["device"], port["usb"]) for port in found] == [("/dev/ttyS0", ""), ("/dev/ttyUSB0", "10c4:ea60")]


def test_rig_init_asks_every_port_and_writes_what_it_heard(tmp_path, capsys, plug):
    one = plug(RunningBoard(BUILD, Behaviour(serial=0xA1), rank=1, world_size=2))
    one.power_on()
    loader = plug(Bootloader())
    mute = plug(RunningBoard(BUILD))
    out = tmp_path / "desk.toml"
    gone = str(tmp_path / "nothing")
    assert main(["rig", "init", str(out), "--ports", one.path, loader.path, mute.path, gone]) == 0
    shown = capsys.readouterr().out
    assert f"{one.path}  ring image  rank 1 of 2, serial 00000000000000a1" in shown
    assert f"{loader.path}  bootloader" in shown
    assert f"{mute.path}  silent" in shown
    assert f"{gone}  failed  port {gone}: does not exist" in shown
    assert "2 boards, 1 ranks guessed" in shown
    config = load_rig(str(out))
    assert [(spec.port, spec.serial) for spec in config.boards] == [(loader.path, None), (one.path, 0xA1)]
    assert f"# no board: {mute.path} (silent)" in out.read_text()
    assert loader.images == []


@pytest.mark.parametrize(
    ("ranks", "sentence"),
    [((0, 0), "both say rank 0; write one card for another rank"), ((0, 5), "says rank 5 of 2, but only 2 boards")],
)
def test_rig_init_refuses_ranks_that_cannot_be(tmp_path, capsys, plug, ranks, sentence):
    boards = [plug(RunningBoard(BUILD, rank=rank, world_size=2)) for rank in ranks]
    for board in boards:
        board.power_on()
    assert main(["rig", "init", str(tmp_path / "desk.toml"), "--ports", *(board.path for board in boards)]) == 1
    error = capsys.readouterr().err
    assert sentence in error
    assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["old.toml"], "old.toml: exists already"),
        (["new.conf"], "name a new file NAME.toml in a folder that exists"),
        (["no/where.toml"], "name a new file NAME.toml in a folder that exists"),
        (["new.toml", "--from", "sim"], "--from sim: is simulated"),
        (["new.toml", "--ports", "/dev/null/x", "--baud", "7"], "--baud 7: give a whole number from 1200"),
        (["new.toml", "--ports", "nothing-here"], "port nothing-here: no adapter's name ends so"),
        (["new.toml", "--ports", "./nothing"], "no board answered at any port"),
    ],
)
def test_rig_init_refuses_in_one_sentence(tmp_path, monkeypatch, capsys, arguments, sentence):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "old.toml").touch()
    assert main(["rig", "init", *arguments]) == 1
    error = capsys.readouterr().err
    assert sentence in error
    assert error.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["old.toml"]


def test_rig_init_asks_the_ports_of_a_devices_conf_at_another_baud(tmp_path, plug):
    loader = plug(Bootloader())
    conf = tmp_path / "devices.conf"
    conf.write_text(f'0 {loader.path} PIE0 "by its path"\n')
    out = tmp_path / "desk.toml"
    assert main(["rig", "init", str(out), "--from", str(conf), "--baud", "460800"]) == 0
    config = load_rig(str(out))
    assert (config.baud, config.boards[0].port) == (460800, loader.path)


def test_devices_conf_may_raise_the_baud_after_boot_in_a_comment(tmp_path):
    path = tmp_path / "devices.conf"
    path.write_text('# hil: baud = 921600\n0 /dev/a PIE0 "one"\n')
    config = load_rig(str(path))
    assert (config.baud_at_boot, config.baud) == (115200, 921600)
    path.write_text('# hil: baud = fast\n0 /dev/a PIE0 "one"\n')
    with pytest.raises(RigError, match="hil: baud = fast: give one whole number from 1200 to 3000000"):
        load_rig(str(path))
    path.write_text('# the baud is 9600\n0 /dev/a PIE0 "one"\n')
    assert load_rig(str(path)).baud == 115200


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("boot_baud = 5", "boot_baud = 5: give a whole number from 1200 to 3000000"),
        ("watchdog_s = 20", r"watchdog_s = 20: give seconds from 0.1 to 15.999, or 0 for none"),
        ("watchdog_s = true", r"watchdog_s = True: give seconds"),
    ],
)
def test_rig_file_with_a_wrong_line_speed_or_watchdog_is_refused(rig_file, line, sentence):
    with pytest.raises(RigError, match=sentence):
        load_rig(str(rig_file("/dev/a", head=line)))


def test_rig_file_tells_both_bauds_and_the_watchdog(rig_file):
    config = load_rig(str(rig_file("/dev/a", head="baud = 921600\nboot_baud = 115200\nwatchdog_s = 3")))
    assert (config.baud, config.baud_at_boot, config.watchdog_s) == (921600, 115200, 3.0)
    assert load_rig(str(rig_file("/dev/a", head="boot_baud = 230400"))).baud == 230400


def test_rig_init_learns_the_serial_number_of_a_board_in_its_bootloader(tmp_path, capsys, plug):
    ours = plug(Bootloader(greeting=b"board serial 00000000b0a2d007, reset status 0x00001000\n"))
    theirs = plug(Bootloader(greeting=b"hello from another bootloader\n"))
    out = tmp_path / "desk.toml"
    assert main(["rig", "init", str(out), "--ports", ours.path, theirs.path]) == 0
    assert "bootloader  waits for an image, serial 00000000b0a2d007" in capsys.readouterr().out
    assert [board.serial for board in load_rig(str(out)).boards] == [0xB0A2D007, None]
