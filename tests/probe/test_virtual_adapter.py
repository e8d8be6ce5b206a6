"""The virtual FT232H under real pyftdi and pyusb: what it does, and what it does not let pass."""

from __future__ import annotations

import pytest
import usb.core
from pyftdi.ftdi import Ftdi, FtdiError
from pyftdi.gpio import GpioMpsseController
from pyftdi.usbtools import UsbToolsError

from hil.errors import ProbeError
from hil.probe.adapter import GET_HIGH, GET_LOW, SEND_NOW, SET_HIGH, SET_LOW, WAIT_HIGH, WAIT_LOW, Ft232hAdapter
from hil.probe.pins import ACK_BIT, WIRE_MASK
from hil.sim import ftdi_usb
from hil.sim.ft232h import COMMAND_BYTE_NS, FIFO_BYTES, PINS, UART_OUTPUTS
from hil.sim.ftdi_usb import MICROFRAME_NS, ChipError

ACK = 1 << PINS.index("AD5")


@pytest.fixture
def ftdi(bench):
    ftdi = Ftdi()
    ftdi.open_mpsse_from_url(bench.url)
    yield ftdi
    ftdi.close()


def levels(bench, member=2):
    return sum((bench.simulation.level(member, pin) == "1") << pin for pin in range(len(PINS)))


def test_pyftdi_finds_it_by_its_serial_number_and_knows_the_chip(bench, ftdi):
    assert (ftdi.ic_name, ftdi.has_mpsse, ftdi.has_wide_port, ftdi.device_version) == ("ft232h", True, True, 0x0900)
    assert [d.sn for d, _ in Ftdi.list_devices()] == ["BENCH"]
    with pytest.raises(UsbToolsError, match="No USB device"):
        Ftdi().open_from_url("ftdi://ftdi:232h:OTHER/1")


def test_real_bus_is_seen_when_nothing_virtual_is_plugged_in(bench):
    assert ftdi_usb.get_backend() is not None
    ftdi_usb.unplug(bench.adapter)
    assert ftdi_usb.get_backend() is None


def test_as_it_is_plugged_in_it_drives_the_uarts_outputs_and_none_of_a_links_wires(bench):
    bench.peer.drive(0, 0, pull_down=(1 << len(PINS)) - 1)
    driven = sum((bench.simulation.level(1, pin) == "1") << pin for pin in range(len(PINS)))
    assert driven == UART_OUTPUTS
    assert not UART_OUTPUTS & WIRE_MASK


def test_opening_and_closing_moves_none_of_a_links_wires(bench):
    bench.peer.drive(0, 0, pull_down=(1 << len(PINS)) - 1)
    for pin in range(len(PINS)):
        bench.simulation.trace_pad(2, pin, on=True)
    bench.simulation.take_trace()
    ftdi = Ftdi()
    ftdi.open_mpsse_from_url(bench.url)
    ftdi.close()
    moved = {change.pin for change in bench.simulation.take_trace()}
    assert moved
    assert not any(1 << pin & WIRE_MASK for pin in moved)


def test_outputs_reach_the_nets_and_inputs_come_back(bench, ftdi):
    bench.peer.drive(0x0F00 | ACK, 0x0500)
    ftdi.write_data(bytes([SET_HIGH, 0xA0, 0xF0, SET_LOW, 0x40, 0x40, GET_LOW, GET_HIGH, SEND_NOW]))
    low, high = ftdi.read_data_bytes(2)
    assert (low & 0x60, high) == (0x40, 0xA5)
    assert levels(bench) & 0xFF40 == 0xA540


def test_pyftdis_own_gpio_controller_works_on_it(bench):
    gpio = GpioMpsseController()
    gpio.configure(bench.url, direction=0xFF40, initial=0x1200, frequency=6e6)
    gpio.write(0x3440)
    bench.simulation.run(bench.simulation.time_ns + 10_000)
    assert levels(bench) & 0xFF40 == 0x3440
    bench.peer.drive(1 << 7, 0)
    assert gpio.read()[0] & 0x80 == 0
    gpio.close()
    assert bench.adapter.complaints == []


def test_inputs_are_pulled_up_weakly_unless_resistors_hold_them(bench, ftdi):
    assert bench.simulation.level(1, 9) == "1"
    bench.peer.drive(0, 0, pull_down=1 << 9)
    assert bench.simulation.level(1, 9) == "?"


def test_outputs_that_meet_are_contention_with_both_pins_named(bench, ftdi):
    bench.peer.drive(ACK, 0)
    ftdi.write_data(bytes([SET_LOW, ACK_BIT, ACK_BIT, GET_LOW, SEND_NOW]))
    ftdi.read_data_bytes(1)
    (met,) = bench.simulation.contentions
    assert "FT232H AD5=1, peer AD5=0" in str(met)


def test_transfer_takes_a_microframe_and_each_command_its_bytes(bench, ftdi):
    started_ns = bench.simulation.time_ns
    ftdi.write_data(bytes([SET_LOW, 0, 0] * 100 + [GET_LOW, SEND_NOW]))
    ftdi.read_data_bytes(1)
    assert bench.simulation.time_ns - started_ns == 2 * MICROFRAME_NS
    bench.simulation.trace_pad(2, 8, on=True)
    bench.simulation.take_trace()
    ftdi.write_data(bytes([SET_HIGH, 0, 1, SET_HIGH, 1, 1, SET_HIGH, 0, 1, SEND_NOW]))
    ftdi.read_data_bytes(1)
    down, up, again = (change.time_ps // 1000 for change in bench.simulation.take_trace())
    assert (up - down, again - up) == (3 * COMMAND_BYTE_NS, 3 * COMMAND_BYTE_NS)


@pytest.mark.parametrize("count", [1, 509, 510, 511, 1020, 3000])
def test_answers_come_in_packets_of_512_with_two_status_bytes_each(bench, ftdi, count):
    heard = b""
    sent = bytes(n & 0xFF for n in range(count))
    for at in range(0, count, 200):
        part = sent[at : at + 200]
        bench.peer.drive(0, 0)
        commands = b"".join(bytes([SET_HIGH, byte, 0xFF, GET_HIGH]) for byte in part)
        ftdi.write_data(commands + bytes([SEND_NOW]))
        if at % 600 == 400 or at + 200 >= count:
            heard += bytes(ftdi.read_data_bytes(min(at + 200, count) - len(heard), 4))
    assert heard == sent


def test_answers_without_send_now_wait_for_the_latency_timer(bench, ftdi):
    ftdi.set_latency_timer(8)
    ftdi.read_data_bytes(1)
    started_ns = bench.simulation.time_ns
    ftdi.write_data(bytes([GET_LOW]))
    assert len(ftdi.read_data_bytes(1, 2)) == 1
    assert 7_500_000 < bench.simulation.time_ns - started_ns <= 8_500_000


def test_a_wait_ends_when_the_pin_moves_and_the_next_command_follows_at_once(bench, ftdi):
    bench.peer.drive(ACK, 0)
    ftdi.write_data(bytes([WAIT_HIGH, SET_HIGH, 1, 1, WAIT_LOW, SET_HIGH, 0, 1]))
    bench.simulation.run(bench.simulation.time_ns + 5_000_000)
    assert bench.simulation.level(2, 8) == "1", "pulled up, not driven: the wait goes on"
    bench.simulation.trace_pad(2, 8, on=True)
    bench.peer.drive(ACK | 1 << 9, ACK)
    bench.simulation.run(bench.simulation.time_ns + 1000)
    bench.peer.drive(ACK, 0)
    started_ns = bench.simulation.time_ns
    bench.simulation.run(started_ns + 1_000_000)
    *_, down = bench.simulation.take_trace()
    assert (down.level, down.time_ps // 1000) == (0, started_ns + COMMAND_BYTE_NS)


def test_only_another_mode_ends_a_wait_for_a_pin_that_does_not_move(bench, ftdi):
    bench.peer.drive(ACK, 0)
    ftdi.write_data(bytes([WAIT_HIGH, SET_HIGH, 0, 1, GET_LOW, SEND_NOW]))
    assert bytes(ftdi.read_data_bytes(1, 3)) == b""
    ftdi.purge_buffers()
    ftdi.write_data(bytes([GET_LOW, SEND_NOW]))
    assert bytes(ftdi.read_data_bytes(1, 3)) == b"", "what is written behind the wait waits too"
    ftdi.set_bitmode(0, Ftdi.BitMode.RESET)
    ftdi.set_bitmode(0, Ftdi.BitMode.MPSSE)
    assert bench.simulation.level(2, 8) == "1", "and nothing behind it was ever executed"
    ftdi.write_data(bytes([GET_LOW, SEND_NOW]))
    assert len(ftdi.read_data_bytes(1, 3)) == 1


def test_full_chip_takes_no_more_and_the_write_times_out(bench, ftdi):
    bench.peer.drive(ACK, 0)
    ftdi.write_data(bytes([WAIT_HIGH]) + bytes([GET_LOW] * FIFO_BYTES))
    with pytest.raises(FtdiError, match="timed out"):
        ftdi.write_data(bytes([GET_LOW] * 10))


def test_unknown_command_is_answered_with_fa_and_kept_as_a_complaint(bench, ftdi):
    ftdi.write_data(bytes([0xAB, GET_LOW, SEND_NOW]))
    assert bytes(ftdi.read_data_bytes(2)) == bytes([0xFA, 0xAB])
    assert bench.adapter.complaints == ["FT232H BENCH: 0xab is no MPSSE command that is known here"]


@pytest.mark.parametrize(
    ("ask", "sentence"),
    [
        (lambda f: f.set_bitmode(0xFF, Ftdi.BitMode.BITBANG), "mode 0x1 with mask 0xff"),
        (lambda f: f.usb_dev.ctrl_transfer(0x40, 0x77, 0, 1), "no request 0x77"),
        (lambda f: f.usb_dev.ctrl_transfer(0x40, 0x09, 0, 1), "no request 0x9 with value 0x0"),
        (lambda f: f.usb_dev.ctrl_transfer(0x40, 0x00, 0, 2), "to port 2; it has port 1 only"),
        (lambda f: f.usb_dev.ctrl_transfer(0xC0, 0x33, 0, 1, 2), "no request 0x33"),
        (lambda f: f.usb_dev.ctrl_transfer(0x40, 0x00, 0, 1, b"x"), "these requests have none"),
        (lambda f: f.usb_dev.ctrl_transfer(0x41, 0x00, 0, 1), "request type 0x41"),
        (lambda f: f.set_event_char(7, True), "special characters"),
        (lambda f: (f.set_bitmode(0, Ftdi.BitMode.RESET), f.write_data(b"x")), "no use for them"),
    ],
)  # fmt: skip
def test_what_a_chip_has_no_use_for_fails_the_test(bench, ftdi, ask, sentence):
    with pytest.raises(ChipError, match=sentence):
        ask(ftdi)


def test_what_a_chip_has_no_use_for_reaches_a_user_as_a_sentence(bench):
    adapter = Ft232hAdapter(bench.url, lambda: 0.0)
    adapter._ftdi.set_bitmode(0, Ftdi.BitMode.RESET)
    with pytest.raises(ProbeError, match=r"adapter ftdi:.*: failed: FT232H BENCH: 1 bytes written, and this"):
        adapter.transact(b"x", 0, 1.0)
    adapter.close()


def test_unplugged_adapter_is_an_error_and_another_of_its_kind_can_come(bench, ftdi):
    ftdi_usb.unplug(bench.adapter)
    with pytest.raises(FtdiError, match="No such device"):
        ftdi.write_data(bytes([GET_LOW]))
    ftdi_usb.plug(bench.adapter)
    with pytest.raises(ChipError, match="plugged in already"):
        ftdi_usb.plug(bench.adapter)


def test_systems_own_driver_is_put_aside_and_comes_back(bench):
    device = usb.core.find(backend=ftdi_usb.get_backend())
    assert device.product == "FT232H"
    with pytest.raises(usb.core.USBError, match="busy"):
        device.read(0x81, 64)
    ftdi = Ftdi()
    ftdi.open_mpsse_from_url(bench.url)
    assert not bench.adapter.kernel_driver
    ftdi.close()
    assert bench.adapter.kernel_driver
    assert ftdi_usb.get_backend() is not None
    with pytest.raises(NotImplementedError):
        ftdi_usb.get_backend().intr_read(bench.adapter, 0x81, 0, 8, 100)


def test_small_requests_of_pyftdi_are_served(bench, ftdi):
    ftdi.set_latency_timer(33)
    assert ftdi.get_latency_timer() == 33
    assert ftdi.read_eeprom(0, 4) == b"\xff" * 4
    assert ftdi.poll_modem_status() & 0xFF == 0x02
    assert ftdi.read_pins() == levels(bench, 1) & 0xFF
