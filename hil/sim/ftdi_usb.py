"""Virtual USB: a pyusb back end whose devices are virtual FTDI adapters, so that real pyusb and real pyftdi run on it.

Owns: the bus, the descriptors, the vendor requests that all adapters have in common, packets with their two status
bytes. Chips: ft232h.py, ft232r.py. Stricter than a chip: what an adapter would punish or ignore raises ChipError.
Sources: USB 2.0 ch. 9; FTDI AN_108, AN_135, AN232R-01; request numbers as libftdi and Linux ftdi_sio have them.
Time: a transfer takes one microframe (125 us, high speed) or one frame (1 ms, full speed), and its bytes no more.
"""

from __future__ import annotations

import errno
import itertools
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any, Protocol

import usb.backend
from pyftdi.usbtools import UsbTools
from usb.core import USBError, USBTimeoutError

from hil.sim.simulation import Outside

FTDI_VENDOR = 0x0403
MICROFRAME_NS = 125_000
FRAME_NS = 1_000_000
STATUS_BYTES = 2
LINE_STATUS = 0x60  # transmitter empty, nothing wrong
LATENCY_MS_DEFAULT = 16
EP_IN, EP_OUT = 0x81, 0x02
_MODULE = "hil.sim.ftdi_usb"

RESET, MODEM_CTRL, FLOW, BAUD, DATA, MODEM_STATUS, EVENT_CHAR, ERROR_CHAR = 0, 1, 2, 3, 4, 5, 6, 7
SET_LATENCY, GET_LATENCY, SET_BITMODE, READ_PINS, READ_EEPROM = 9, 10, 11, 12, 0x90
_VENDOR_OUT, _VENDOR_IN, _STANDARD_IN = 0x40, 0xC0, 0x80
_GET_DESCRIPTOR, _DESCRIPTOR_STRING, _ENGLISH = 6, 3, 0x0409
RESET_SIO, PURGE_RECEIVED, PURGE_TO_HOST = 0, 1, 2


class ChipError(OSError):
    """A program asked an adapter for what it cannot do, or for what would do harm.

    An OSError, as a real adapter's failure is, and no USBError, which drivers handle by themselves.
    """


class Pads(Protocol):
    """What an adapter's pins are on, and the clock that it lives by."""

    act: Callable[[], None]
    act_at_ns: int | None

    def now_ns(self) -> int:
        """The time."""

    def run(self, until_ns: int) -> None:
        """Let time pass until then, or until after an act of the adapter."""

    def drive(self, outputs: int, levels: int) -> None:
        """What the adapter does to its pins, a bit per pin; the rest are inputs with the chip's weak pull-ups."""

    def levels(self) -> int:
        """The pins' levels, a bit per pin."""

    def watch(self, pins: int) -> None:
        """Call `act` at the next change of one of these."""


class NetPads:
    """Pins on the nets of a simulation.

    Args:
        pulled_down: pins with resistors to ground that are stronger than the chip's pull-ups.
    """

    def __init__(self, outside: Outside, *, pulled_down: int) -> None:
        self._outside = outside
        self._pulled_down = pulled_down
        self._all = (1 << len(outside.pins)) - 1
        self.levels = outside.levels
        self.watch = outside.watch

    @property
    def act(self) -> Callable[[], None]:
        """Called by the simulation."""
        return self._outside.act

    @act.setter
    def act(self, act: Callable[[], None]) -> None:
        self._outside.act = act

    @property
    def act_at_ns(self) -> int | None:
        """When to call it."""
        return self._outside.act_at_ns

    @act_at_ns.setter
    def act_at_ns(self, time_ns: int | None) -> None:
        self._outside.act_at_ns = time_ns

    def now_ns(self) -> int:
        """Virtual time, rounded up: what is due at this time has come."""
        return -(-self._outside.simulation.time_ps // 1000)

    def run(self, until_ns: int) -> None:
        """Run the boards."""
        self._outside.simulation.run(until_ns, stop_on_act=True)

    def drive(self, outputs: int, levels: int) -> None:
        """Drive the nets."""
        pull_up = self._all & ~outputs & ~self._pulled_down
        self._outside.drive(outputs, levels, pull_up=pull_up, pull_down=self._pulled_down)


class LoosePads:
    """Pins on nothing but a listener; time passes at once. For reset lines of boards that are no simulation's.

    Args:
        on_change: told outputs and levels after each change; inputs read 1 (pull-ups).
    """

    def __init__(self, on_change: Callable[[int, int], None]) -> None:
        self.act: Callable[[], None] = lambda: None
        self.act_at_ns: int | None = None
        self._on_change = on_change
        self._now_ns = 0
        self._driven = (-1, -1)

    def now_ns(self) -> int:
        """Counts what transfers take."""
        return self._now_ns

    def run(self, until_ns: int) -> None:
        """Go there, or to the next act."""
        due_ns = self.act_at_ns
        if due_ns is None or due_ns > until_ns:
            self._now_ns = max(self._now_ns, until_ns)
            return
        self._now_ns = max(self._now_ns, due_ns)
        self.act_at_ns = None
        self.act()

    def drive(self, outputs: int, levels: int) -> None:
        """Tell the listener."""
        if self._driven != (outputs, levels & outputs):
            self._driven = outputs, levels & outputs
            self._on_change(outputs, levels & outputs)

    def levels(self) -> int:
        """Outputs as they are, the rest pulled up."""
        outputs, levels = self._driven
        return levels | ~outputs

    def watch(self, pins: int) -> None:
        """Nothing but the adapter itself changes these pins."""


class Adapter:
    """A virtual FTDI adapter, of one interface. Chips say what their modes and bytes mean.

    serial, product: its strings. complaints: what it was told that a chip answers with an error, for tests.
    """

    PRODUCT_ID = 0
    VERSION = 0  # bcdDevice, by which programs tell the chips apart
    PACKET_BYTES = 64
    TRANSFER_NS = FRAME_NS
    SPEED = 2
    EEPROM_BYTES = 256

    def __init__(self, pads: Pads, *, serial: str, product: str, eeprom: bytes = b"") -> None:
        self.pads = pads
        self.serial, self.product = serial, product
        self.eeprom = eeprom.ljust(self.EEPROM_BYTES, b"\xff")
        self.complaints: list[str] = []
        self.kernel_driver = True
        self.claimed = False
        self.plugged = False
        self.address = 0
        self.latency_ms = LATENCY_MS_DEFAULT
        self._sent_ns = 0
        self.to_host = bytearray()
        self.flush = False

    def __str__(self) -> str:
        return f"{self.product} {self.serial}"

    # ---- for chips ----

    def set_bitmode(self, mode: int, mask: int) -> None:
        """Another mode; mask as SET_BITMODE has it."""
        raise NotImplementedError

    def pins(self) -> int:
        """What READ_PINS gives: the low byte of the pins, or those of CBUS."""
        raise NotImplementedError

    def modem_status(self) -> int:
        """First status byte of a packet."""
        return 0x01 if self.PACKET_BYTES == 64 else 0x02

    def purge(self, *, received: bool) -> None:
        """Forget what has come from the host, or what is to go there."""
        if not received:
            self.to_host.clear()

    def receive(self, data: bytes, deadline_ns: int) -> int:
        """Bytes of a bulk transfer from the host; how many were taken before the deadline."""
        raise ChipError(f"{self}: {len(data)} bytes written, and this mode has no use for them")

    def drained(self) -> None:
        """The host has taken bytes away."""

    # ---- transfers ----

    def run_to(self, time_ns: int) -> None:
        """Let time pass, acts included."""
        while self.pads.now_ns() < time_ns:
            self.pads.run(time_ns)

    def control_out(self, request: int, value: int, index: int, data: bytes) -> None:
        """A vendor request without answer."""
        self._check_index(request, index)
        self.run_to(self.pads.now_ns() + self.TRANSFER_NS)
        if data:
            raise ChipError(f"{self}: request {request:#x} with {len(data)} bytes; these requests have none")
        if request == RESET and value in (RESET_SIO, PURGE_RECEIVED, PURGE_TO_HOST):
            for received in (True, False):
                if value == RESET_SIO or (value == PURGE_RECEIVED) == received:
                    self.purge(received=received)
        elif request == SET_BITMODE:
            self.set_bitmode(value >> 8, value & 0xFF)
        elif request == SET_LATENCY and 1 <= value <= 255:
            self.latency_ms = value
        elif request in (EVENT_CHAR, ERROR_CHAR) and not value >> 9:
            if value >> 8:
                raise ChipError(f"{self}: request {request:#x} switches special characters on; they eat data")
        elif request not in (MODEM_CTRL, FLOW, BAUD, DATA):
            raise ChipError(f"{self}: no request {request:#x} with value {value:#x} to an FTDI adapter")

    def control_in(self, request: int, value: int, index: int, size: int) -> bytes:
        """A vendor request with answer."""
        self.run_to(self.pads.now_ns() + self.TRANSFER_NS)
        if request == READ_EEPROM and value == 0 and size == 2 and index < len(self.eeprom) // 2:
            return self.eeprom[2 * index : 2 * index + 2]
        self._check_index(request, index)
        if request == READ_PINS and size == 1:
            return bytes([self.pins()])
        if request == GET_LATENCY and size == 1:
            return bytes([self.latency_ms])
        if request == MODEM_STATUS and size == STATUS_BYTES:
            return self._status()
        raise ChipError(f"{self}: no request {request:#x} with value {value:#x} and an answer of {size} bytes")

    def _check_index(self, request: int, index: int) -> None:
        if request != BAUD and index & 0xFF != 1:
            raise ChipError(f"{self}: request {request:#x} to port {index & 0xFF}; it has port 1 only")

    def _status(self) -> bytes:
        return bytes([self.modem_status(), LINE_STATUS])

    def bulk_out(self, data: bytes, timeout_ms: int) -> int:
        """Bytes from the host. Raises USBTimeoutError if the chip takes none in time."""
        now_ns = self.pads.now_ns()
        self.run_to(now_ns + self.TRANSFER_NS)
        taken = self.receive(data, now_ns + timeout_ms * 1_000_000)
        if taken == 0 and data:
            raise USBTimeoutError("Operation timed out", None, errno.ETIMEDOUT)
        return taken

    def bulk_in(self, size: int, timeout_ms: int) -> bytes:
        """Packets for the host, each with status bytes: full ones, then one when flushed or the latency is over."""
        payload = self.PACKET_BYTES - STATUS_BYTES
        deadline_ns = self.pads.now_ns() + timeout_ms * 1_000_000
        self.run_to(self.pads.now_ns() + self.TRANSFER_NS)
        packets = b""
        while size - len(packets) >= self.PACKET_BYTES:
            latency_ns = self._sent_ns + self.latency_ms * 1_000_000
            if len(self.to_host) >= payload:
                packets += self._packet(payload)
            elif self.flush or self.pads.now_ns() >= latency_ns:
                packets += self._packet(len(self.to_host))
                break
            elif packets and not self.to_host:
                break
            elif self.pads.now_ns() >= deadline_ns:
                raise USBTimeoutError("Operation timed out", None, errno.ETIMEDOUT)
            else:
                self.pads.run(min(latency_ns, deadline_ns))
        return packets

    def _packet(self, payload: int) -> bytes:
        packet = self._status() + bytes(self.to_host[:payload])
        del self.to_host[:payload]
        self.flush = self.flush and bool(self.to_host)
        self._sent_ns = self.pads.now_ns()
        self.drained()
        return packet


# ---- the bus ----

_bus: list[Adapter] = []
_addresses = itertools.count(1)
"""A device that comes back has a new address, as on a real bus; programs keep what they know by address."""


def plug(adapter: Adapter) -> str:
    """Plug an adapter in; its pyftdi URL. While one is plugged in, pyftdi sees the virtual bus and no other."""
    if adapter in _bus:
        raise ChipError(f"{adapter}: is plugged in already")
    if _MODULE not in UsbTools.BACKENDS:
        UsbTools.BACKENDS = (_MODULE, *UsbTools.BACKENDS)
    adapter.address = next(_addresses)
    adapter.plugged = True
    _bus.append(adapter)
    UsbTools.flush_cache()
    return f"ftdi://0x{FTDI_VENDOR:x}:0x{adapter.PRODUCT_ID:x}:{adapter.serial}/1"


def unplug(adapter: Adapter) -> None:
    """Pull it out: transfers fail from now on. Harmless when repeated."""
    if adapter in _bus:
        _bus.remove(adapter)
        adapter.plugged = False
        UsbTools.flush_cache()


def get_backend() -> usb.backend.IBackend | None:
    """For pyftdi: the virtual bus where something is plugged in, else None, and it looks at the real one."""
    return _BACKEND if _bus else None


class _Backend(usb.backend.IBackend):  # type: ignore[misc]
    """pyusb's back end interface, for adapters of one configuration with one interface."""

    def enumerate_devices(self) -> Iterator[Adapter]:
        yield from list(_bus)

    def get_parent(self, dev: Adapter) -> None:
        return None

    def get_device_descriptor(self, dev: Adapter) -> Any:
        return SimpleNamespace(
            bLength=18, bDescriptorType=1, bcdUSB=0x0200, bDeviceClass=0, bDeviceSubClass=0, bDeviceProtocol=0,
            bMaxPacketSize0=64, idVendor=FTDI_VENDOR, idProduct=dev.PRODUCT_ID, bcdDevice=dev.VERSION,
            iManufacturer=1, iProduct=2, iSerialNumber=3, bNumConfigurations=1,
            bus=1, address=dev.address, port_number=dev.address, port_numbers=(dev.address,), speed=dev.SPEED,
        )  # fmt: skip

    def get_configuration_descriptor(self, dev: Adapter, config: int) -> Any:
        if config:
            raise IndexError(f"{dev} has one configuration")
        return SimpleNamespace(
            bLength=9, bDescriptorType=2, wTotalLength=32, bNumInterfaces=1, bConfigurationValue=1,
            iConfiguration=0, bmAttributes=0x80, bMaxPower=45, extra_descriptors=b"",
        )  # fmt: skip

    def get_interface_descriptor(self, dev: Adapter, intf: int, alt: int, config: int) -> Any:
        if intf or alt or config:
            raise IndexError(f"{dev} has one interface")
        return SimpleNamespace(
            bLength=9, bDescriptorType=4, bInterfaceNumber=0, bAlternateSetting=0, bNumEndpoints=2,
            bInterfaceClass=255, bInterfaceSubClass=255, bInterfaceProtocol=255, iInterface=2, extra_descriptors=b"",
        )  # fmt: skip

    def get_endpoint_descriptor(self, dev: Adapter, ep: int, intf: int, alt: int, config: int) -> Any:
        return SimpleNamespace(
            bLength=7, bDescriptorType=5, bEndpointAddress=(EP_IN, EP_OUT)[ep], bmAttributes=2,
            wMaxPacketSize=dev.PACKET_BYTES, bInterval=0, bRefresh=0, bSynchAddress=0, extra_descriptors=b"",
        )  # fmt: skip

    def open_device(self, dev: Adapter) -> Adapter:
        _need_plugged(dev)
        return dev

    def close_device(self, dev_handle: Adapter) -> None:
        dev_handle.claimed = False

    def set_configuration(self, dev_handle: Adapter, config_value: int) -> None:
        _need_plugged(dev_handle)

    def get_configuration(self, dev_handle: Adapter) -> int:
        _need_plugged(dev_handle)
        return 1

    def claim_interface(self, dev_handle: Adapter, intf: int) -> None:
        if dev_handle.kernel_driver:
            raise USBError("Resource busy", None, errno.EBUSY)
        dev_handle.claimed = True

    def release_interface(self, dev_handle: Adapter, intf: int) -> None:
        dev_handle.claimed = False

    def is_kernel_driver_active(self, dev_handle: Adapter, intf: int) -> bool:
        return dev_handle.kernel_driver

    def detach_kernel_driver(self, dev_handle: Adapter, intf: int) -> None:
        dev_handle.kernel_driver = False

    def attach_kernel_driver(self, dev_handle: Adapter, intf: int) -> None:
        _need_plugged(dev_handle)
        dev_handle.kernel_driver = True

    def bulk_write(self, dev_handle: Adapter, ep: int, intf: int, data: Any, timeout: int) -> int:
        _need_endpoint(dev_handle, ep, EP_OUT)
        return dev_handle.bulk_out(bytes(data), timeout)

    def bulk_read(self, dev_handle: Adapter, ep: int, intf: int, buff: Any, timeout: int) -> int:
        _need_endpoint(dev_handle, ep, EP_IN)
        data = dev_handle.bulk_in(len(buff), timeout)
        buff[: len(data)] = type(buff)("B", data)
        return len(data)

    def ctrl_transfer(
        self, dev_handle: Adapter, bmRequestType: int, bRequest: int, wValue: int, wIndex: int, data: Any, timeout: int
    ) -> int:
        _need_plugged(dev_handle)
        if bmRequestType == _VENDOR_OUT:
            dev_handle.control_out(bRequest, wValue, wIndex, bytes(data))
            return len(data)
        if bmRequestType == _VENDOR_IN:
            answer = dev_handle.control_in(bRequest, wValue, wIndex, len(data))
        elif bmRequestType == _STANDARD_IN and bRequest == _GET_DESCRIPTOR and wValue >> 8 == _DESCRIPTOR_STRING:
            answer = _string(dev_handle, wValue & 0xFF)[: len(data)]
        else:
            raise ChipError(f"{dev_handle}: request type {bmRequestType:#x}, {bRequest:#x}, {wValue:#x} is not known")
        data[: len(answer)] = type(data)("B", answer)
        return len(answer)


def _string(adapter: Adapter, number: int) -> bytes:
    texts = ("", "FTDI", adapter.product, adapter.serial)
    body = _ENGLISH.to_bytes(2, "little") if number == 0 else texts[number].encode("utf-16-le")
    return bytes([len(body) + 2, _DESCRIPTOR_STRING]) + body


def _need_plugged(adapter: Adapter) -> None:
    if not adapter.plugged:
        raise USBError("No such device (it may have been disconnected)", None, errno.ENODEV)


def _need_endpoint(adapter: Adapter, endpoint: int, wanted: int) -> None:
    _need_plugged(adapter)
    if endpoint != wanted or not adapter.claimed:
        raise ChipError(f"{adapter}: a bulk transfer on endpoint {endpoint:#x}, interface claimed: {adapter.claimed}")


_BACKEND = _Backend()
