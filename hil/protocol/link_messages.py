"""Messages of links and pins: LINK_* and PIN_*, and the event LINK_FAULT.

Their codes and the table of all commands: hil/protocol/messages.py. Meaning: docs/protocol.md.
"""

from __future__ import annotations

from enum import IntEnum

from hil.protocol.fields import U8, U32, U64, Message, Words8, Words48

DATA_WIRES = 8
TIMING_BUCKETS = 24
NO_FLIP = DATA_WIRES
"""flip_bit of a LINK_RUN that inverts nothing."""
WORK_BYTES = 65536
"""Longest payload of a frame: a board has a work buffer of so many bytes for each bank."""
ATTEMPTS_MAX = 8
"""How often a frame is sent before a fault is reported, unless a LINK_RUN says otherwise."""
PHASE_LIMIT_US = 10_000
"""How long a wait in the handshake may take, unless a LINK_RUN says otherwise."""


class Bank(IntEnum):
    """The two sides of a board."""

    DOWNSTREAM = 0  # high bank, GPIO 16..25, to the next rank
    UPSTREAM = 1  # low bank, GPIO 4..13, from the previous rank


FIRST_PIN = {Bank.DOWNSTREAM: 16, Bank.UPSTREAM: 4}
"""GPIO of D0 of each bank; D1..D7, CLK and ACK follow."""
RING_PINS = sum(0x3FF << first for first in FIRST_PIN.values())
"""The pins of both banks, as bits of GPLEV0."""


class Role(IntEnum):
    """What a board was doing on a link when a fault was reported."""

    SENDER = 0
    RECEIVER = 1


class Phase(IntEnum):
    """Where in the handshake a board was; the four phases of a byte and the opening before them."""

    WAIT_GRANT = 0  # sender: waits for ACK high
    WAIT_CLAIM_TAKEN = 1  # sender: holds 0xA5 on D, waits for ACK low
    WAIT_ACK_HIGH = 2  # sender: CLK raised
    WAIT_ACK_LOW = 3  # sender: CLK lowered
    WAIT_CLAIM = 4  # receiver: grants (ACK high), waits for 0xA5 on D
    WAIT_CLK_HIGH = 5  # receiver: waits for the next byte
    WAIT_CLK_LOW = 6  # receiver: ACK raised
    WAIT_QUIET = 7  # either: waits for the lines to be low before opening
    HELD_UP = 8  # either: its own program did not touch the link for longer than the phase limit
    CONTESTED = 9  # receiver: grants (drives ACK high), but reads it low
    DAMAGED = 10  # the last attempt went through, but its bytes were wrong (a sender: so says the answer)


class Pattern(IntEnum):
    """What the bytes of a LINK_RUN are; firmware/link/pattern.h."""

    XORSHIFT = 0  # xorshift32 words, anew in every frame; the others go on from frame to frame
    ZEROS_ONES = 1  # 00 FF
    CHECKERS = 2  # 55 AA
    WALKING_ONES = 3
    WALKING_ZEROS = 4
    COUNT = 5  # 0..255
    DE_BRUIJN = 6  # B(256, 2): every pair of bytes once in 64 KiB
    PRBS15 = 7  # a stream of its own on each wire, x^15 + x^14 + 1
    PRBS31 = 8  # the same with x^31 + x^28 + 1


class RunFlag(IntEnum):
    """Flags of a LINK_RUN."""

    RAW = 1  # frames with damaged payload are counted and checked, not sent again
    TIMING = 2  # measure the handshake's phases; slower
    ALTERNATE = 4  # send and receive swap after every frame
    LINGER = 8  # a receiver stays after its last frame until nobody sends it again


class Edge(IntEnum):
    """The four edges of a byte's handshake, where a LINK_RUN can stall."""

    NONE = 0
    CLK_RAISE = 1  # sender: data is out
    ACK_RAISE = 2  # receiver: the byte is read
    CLK_LOWER = 3  # sender
    ACK_LOWER = 4  # receiver


class LinkBank(Message):
    """Names a bank."""

    bank: U8


class LinkCounters(Message):
    """Counters of one bank since boot."""

    frames_sent: U32
    frames_received: U32
    bytes_sent: U64  # payload bytes of frames answered good
    bytes_received: U64
    resends: U32
    bad_headers: U32
    bad_payloads: U32
    duplicates: U32
    timeouts: U32
    turnarounds: U32


class LinkRun(Message):
    """A link test on one bank or on both at once; with jumpers from one to the other, through the board's own banks.

    stall: at `stall_edge` of byte `stall_byte` of a frame's burst (header included) the bank named does nothing
    for stall_us, as often as `stalls` says. flip: bit flip_bit of payload byte flip_at, counted over the whole
    run, is inverted after the pattern was made.
    """

    send_banks: U8  # bit per Bank
    receive_banks: U8
    pattern: U8
    flags: U8  # RunFlag
    frames: U32
    length_bytes: U32
    seed: U32
    timeout_ms: U32  # for the first grant of a frame
    phase_limit_us: U32 = 0  # 0: PHASE_LIMIT_US
    attempts: U8 = 0  # per frame; 0: ATTEMPTS_MAX
    flip_bit: U8 = NO_FLIP
    flip_at: U32 = 0
    stall_bank: U8 = 0
    stall_edge: U8 = 0  # Edge
    stalls: U8 = 0
    stall_byte: U32 = 0
    stall_us: U32 = 0


class LinkResult(Message):
    """What the last LINK_RUN found on a bank.

    timing: two histograms of TIMING_BUCKETS; bucket k counts waits of [2^(k-1), 2^k) units, bucket 0 those of 0.
    First half: a sender's wait for ACK high, a receiver's for CLK high; second half: for the line to be low again.
    """

    bytes_checked: U64
    wire_errors: Words8  # wrong bits of D0..D7
    slips: U32  # PRBS streams that had to be found again
    frames: U32
    frames_wrong: U32
    payload_bytes: U64  # of frames whose transfer was timed
    payload_us: U64  # from the header's end to the frame's end
    cycles: U8  # unit of timing: 0 microseconds, 1 processor cycles
    timing: Words48


class LinkFault(Message):
    """A link operation gave up: all pins of the bank are inputs now."""

    bank: U8
    role: U8
    phase: U8
    byte_index: U32  # within the burst; header included
    burst_bytes: U32
    gplev0: U32
    waited_us: U32


class PinMode(Message):
    """Sets pins of pin_mask to input with a pull (0 none, 1 down, 2 up). Only the ring's 20 pins are allowed."""

    pin_mask: U32
    pull: U8


class PinDrive(Message):
    """Drives one pin of the ring (latch before direction) or releases it (drive 0); drive_ma 2..16."""

    pin: U8
    drive: U8
    level: U8
    drive_ma: U8


class PinLevels(Message):
    """GPLEV0 as read, and the pins that are outputs now."""

    gplev0: U32
    outputs: U32
