"""The C core as ctypes sees it. Twin: hil/sim/core/sim.h; structures and names follow it line by line."""

from __future__ import annotations

import ctypes as c
from functools import cache
from typing import Any

from hil.sim.build import core_library

u8, u32, u64 = c.c_uint8, c.c_uint32, c.c_uint64
DRIVERS_MAX = 4
NEVER = (1 << 63) - 1
TRACE_MARK = 0x10000


class BoardSetup(c.Structure):
    """sim_board_setup_t"""

    _fields_ = [
        ("ram_bytes", u64),
        ("serial", u64),
        ("start_delay_ps", u64),
        ("drift_ppm", c.c_double),
        ("revision", u32),
        ("temperature_mc", u32),
    ]


class BootPlan(c.Structure):
    """sim_boot_plan_t"""

    _fields_ = [
        ("delay_ps", u64),
        ("pull_up_mask", u64),
        ("pull_down_mask", u64),
        ("pull_none_mask", u64),
        ("has_kernel", u32),
        ("entry", u32),
        ("r2", u32),
        ("arm_hz", u32),
        ("arm_hz_max", u32),
        ("core_hz", u32),
        ("uart_hz", u32),
        ("gpu_mem_bytes", u32),
        ("mini_uart_baud", u32),
    ]


class Driver(c.Structure):
    """One output on a contended net."""

    _fields_ = [("board", u32), ("pin", u32), ("level", u32), ("pc", u32)]


class ContentionRecord(c.Structure):
    """sim_contention_t"""

    _fields_ = [("start_ps", u64), ("end_ps", u64), ("kind", u32), ("count", u32), ("driver", Driver * DRIVERS_MAX)]


class LintRecord(c.Structure):
    """sim_lint_t"""

    _fields_ = [
        ("time_ps", u64),
        ("kind", u32),
        ("pc", u32),
        ("address", u32),
        ("value", u32),
        ("count", u32),
    ]


class CounterRecord(c.Structure):
    """sim_counters_t"""

    _fields_ = [
        (name, u64)
        for name in (
            "instructions",
            "gpio_reads",
            "gpio_writes",
            "other_mmio",
            "resets",
            "sleeps",
            "switches",
            "exceptions",
            "uart_overruns",
            "uart_received",
            "uart_sent",
            "qpu_instructions",
        )
    ]


class TraceRecord(c.Structure):
    """sim_trace_t"""

    _fields_ = [("time_ps", u64), ("pad", u32), ("level", u32)]


BOOT_CALLBACK = c.CFUNCTYPE(None, u32, c.POINTER(BootPlan))

_SIM = c.c_void_p
_FUNCTIONS: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "sim_new": (_SIM, (u32, u64, BOOT_CALLBACK)),
    "sim_free": (None, (_SIM,)),
    "sim_board_setup": (c.c_int, (_SIM, u32, c.POINTER(BoardSetup))),
    "sim_nets_clear": (None, (_SIM,)),
    "sim_wire": (c.c_int, (_SIM, u32, u32, u32, u32)),
    "sim_bridge": (c.c_int, (_SIM, u32, u32, u32, u32, u32)),
    "sim_tie": (c.c_int, (_SIM, u32, u32, u32)),
    "sim_noise": (c.c_int, (_SIM, u32, u32)),
    "sim_delay": (c.c_int, (_SIM, u32, u32, u32, u32, u64)),
    "sim_glitch": (c.c_int, (_SIM, u32, u32, u32, u32, c.c_double, u64)),
    "sim_strike_at": (c.c_int, (_SIM, u32, u32, u64)),
    "sim_strike_after": (c.c_int, (_SIM, u32, u32, u64, u64)),
    "sim_hang_up_at": (c.c_int, (_SIM, u32, u64)),
    "sim_nets_commit": (c.c_int, (_SIM,)),
    "sim_drift": (None, (_SIM, u32, c.c_double)),
    "sim_allow_sleep": (None, (_SIM, c.c_int)),
    "sim_power_on": (c.c_int, (_SIM, u32)),
    "sim_power_off": (None, (_SIM, u32)),
    "sim_reset": (c.c_int, (_SIM, u32)),
    "sim_state": (c.c_int, (_SIM, u32)),
    "sim_start_ps": (u64, (_SIM, u32)),
    "sim_outside": (c.c_int, (_SIM, u32)),
    "sim_outside_drive": (None, (_SIM, u32, u64, u64, u64, u64)),
    "sim_outside_watch": (None, (_SIM, u32, u64)),
    "sim_time_ps": (u64, (_SIM,)),
    "sim_run": (c.c_int, (_SIM, u64, u32)),
    "sim_uart_write": (c.c_int, (_SIM, u32, c.c_char_p, u32)),
    "sim_uart_read": (u32, (_SIM, u32, c.c_char_p, u32)),
    "sim_uart_pending": (u32, (_SIM, u32)),
    "sim_uart_tx_pending": (u32, (_SIM, u32)),
    "sim_uart_set_baud": (None, (_SIM, u32, u32)),
    "sim_uart_limit": (None, (_SIM, u32, u32)),
    "sim_uart_noise": (c.c_int, (_SIM, u32, u32, c.c_double)),
    "sim_uart_hung_up": (c.c_int, (_SIM, u32)),
    "sim_ram": (c.c_void_p, (_SIM, u32)),
    "sim_ram_changed": (None, (_SIM, u32, u32, u32)),
    "sim_registers": (c.c_int, (_SIM, u32, c.POINTER(u32))),
    "sim_counters": (None, (_SIM, u32, c.POINTER(CounterRecord))),
    "sim_contentions": (u32, (_SIM, c.POINTER(c.POINTER(ContentionRecord)))),
    "sim_contentions_forget": (None, (_SIM,)),
    "sim_lints": (u32, (_SIM, u32, c.POINTER(c.POINTER(LintRecord)))),
    "sim_level": (u32, (_SIM, u32, u32)),
    "sim_trace_pad": (None, (_SIM, u32, u32, c.c_int)),
    "sim_trace_keep": (None, (_SIM, u32)),
    "sim_trace_take": (u32, (_SIM, c.POINTER(TraceRecord), u32)),
    "sim_error": (c.c_char_p, (_SIM,)),
    "sim_switch_selftest": (u64, (u32,)),
}


@cache
def load() -> Any:
    """The core as a ctypes library with every function's types set; built first if need be."""
    library = c.CDLL(str(core_library()))
    for name, (result, arguments) in _FUNCTIONS.items():
        function = getattr(library, name)
        function.restype = result
        function.argtypes = arguments
    return library
