"""Messages: everything that the host and a board say to each other over the UART.

The only definition. C gets `messages.h` from it (hil/protocol/cheader.py); the meaning of each
message is in docs/protocol.md. Frame format: hil/protocol/frames.py.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Self

from hil.protocol import (
    line_messages,
    link_messages,
    memory_messages,
    tensor_messages,
    trace_messages,
    training_messages,
)
from hil.protocol.fields import F32, U8, U16, U32, U64, Bytes8, Bytes16, Message, Tail, Words13, Words32

PROTOCOL_VERSION = 2
PAYLOAD_BYTES_MAX = 4096
"""Longest payload of any frame."""
NO_RANK = 0xFF
"""Rank of a board without a shard."""


class Kind(IntEnum):
    """First byte of a frame."""

    COMMAND = 1  # host -> board; code is a Command
    RESPONSE = 2  # board -> host; code and sequence repeat the command's; payload starts with a Status
    EVENT = 3  # board -> host, unasked; code is an Event
    LOG = 4  # board -> host; code is a Level, payload is UTF-8 text


class Level(IntEnum):
    """Severity of a log line."""

    DEBUG = 0
    INFO = 1
    WARNING = 2
    ERROR = 3


class Status(IntEnum):
    """First byte of a response. Anything but OK is followed by a UTF-8 sentence instead of the payload."""

    OK = 0
    UNKNOWN_COMMAND = 1
    BAD_LENGTH = 2
    BAD_ARGUMENT = 3
    BUSY = 4  # a job runs; only IDENTIFY, PING, JOB_STATUS, JOB_ABORT are served
    NO_MODEL = 5
    OUT_OF_MEMORY = 6
    WRONG_ROLE = 7


class JobResult(IntEnum):
    """How a job ended (or that it has not)."""

    NONE = 0
    RUNNING = 1
    DONE = 2
    ABORTED = 3
    LINK_FAILED = 4
    REFUSED = 5


class Activity(IntEnum):
    """What a board does for its job at the moment."""

    NONE = 0  # no job runs
    COMPUTING = 1  # or between two frames
    LINK = 2  # a burst is under way at one of its banks, or waits for the other end


class JobFlag(IntEnum):
    """Flags of SERVE, GENERATE and TRAIN_STEP, one bit each."""

    RECORD_TAPS = 1
    KEEP_TENSORS = 2  # copies of the taps' tensors
    HOLD = 4  # TRAIN_STEP: parameters change only with TRAIN_APPLY


class TapFlag(IntEnum):
    """Flags of a TapRecord."""

    FLUSHED = 1  # something was flushed to zero since the tap before (sticky FPSCR UFC or IDC)


class CrashKind(IntEnum):
    """Which exception a board took; firmware/bsp/start.S has the numbers, too."""

    UNDEFINED = 0
    SOFTWARE_INTERRUPT = 1
    PREFETCH_ABORT = 2
    DATA_ABORT = 3
    INTERRUPT = 4
    ASSERTION = 5


class CrashRequest(IntEnum):
    """What a CRASH provokes."""

    UNDEFINED = 0
    DATA_ABORT = 1
    PREFETCH_ABORT = 2
    STUCK = 3  # no crash: the board serves nothing any more


class FrameHead(Message):
    """What opens a serial frame (hil/protocol/frames.py)."""

    kind: U8  # Kind
    code: U8  # Command, Event or Level by kind
    sequence: U16


class Empty(Message):
    """No payload."""


class Identify(Message):
    """Starts a session: the board forgets the last sequence number it served."""

    session: U32


class Identity(Message):
    """Who a board is. rank NO_RANK: no shard in memory."""

    session: U32
    protocol: U16
    rank: U8
    world_size: U8
    layer_start: U16
    layer_end: U16
    has_embed: U8
    has_head: U8
    board_serial: U64
    board_revision: U32
    arm_memory_bytes: U32
    shard_bytes: U32
    build_id: Bytes16
    git_revision: Bytes16  # ASCII, zero-padded, '+' at the end when the tree was dirty
    baud: U32
    shards: U8 = 1  # more than 1: this board alone plays every rank of a ring of so many


class Blob(Message):
    """Bytes without further structure."""

    data: Tail


class Health(Message):
    """Clocks in Hz, temperature in thousandths of a degree Celsius, throttle bits as the mailbox gives them."""

    uptime_us: U64
    arm_clock_hz: U32
    core_clock_hz: U32
    uart_clock_hz: U32
    temperature_mc: U32
    throttled: U32
    reset_status: U32  # PM_RSTS as found at boot
    uart_overruns: U32
    uart_bad_frames: U32


class Reboot(Message):
    """Watchdog reset after delay_ms."""

    delay_ms: U16


class MemoryRead(Message):
    """Reads RAM; the response is a Blob."""

    address: U32
    size_bytes: U16


class Crash(Message):
    """Crashes on purpose."""

    kind: U8  # CrashRequest


class JobState(Message):
    """The current or last job. job counts up from 1 since boot; 0 means none yet.

    moves counts up with every part of a computation and all that moves on a link: while it stands still, nothing
    happens. From bank on: where the burst stands if activity is LINK, as in a LinkFault; gplev0 is of now.
    """

    job: U32
    command: U8
    result: U8
    progress: U32  # positions, frames or bytes done
    detail: U32  # token count of a generation; count of frames with wrong content of a link test
    moves: U32 = 0
    activity: U8 = 0  # Activity
    bank: U8 = 0
    role: U8 = 0
    phase: U8 = 0
    byte_index: U32 = 0
    burst_bytes: U32 = 0
    gplev0: U32 = 0
    waited_us: U32 = 0


class ModelInfo(Message):
    """The shard's header, what was set up from it, and where memory ends."""

    dim: U32
    hidden_dim: U32
    n_layers: U32
    n_heads: U32
    n_kv_heads: U32
    vocab_size: U32
    seq_len: U32
    shared_classifier: U8
    shard_crc32: U32
    arena_used_bytes: U32
    arena_size_bytes: U32


class Serve(Message):
    """A rank without head: take activations from upstream, run the layers, send downstream, until END."""

    flags: U8  # JobFlag
    timeout_ms: U32  # between frames


class Generate(Message):
    """The rank with the head: prompt tokens (uint16 each) in the tail, then sample up to `positions` in all."""

    flags: U8  # JobFlag
    positions: U16
    temperature: F32
    topp: F32
    rng_seed: U64
    timeout_ms: U32
    prompt: Tail


class JobStarted(Message):
    """A job was accepted."""

    job: U32


class TapsRead(Message):
    """Asks for tap records [first, first + count). full 0: digests only; 1: TapRecords."""

    first: U32
    count: U16
    full: U8
    shard: U8 = 0  # of those that the board holds


class TapsPart(Message):
    """Records from `first`; keys_crc32 covers the packed keys of the part, so digests alone are enough."""

    total: U32
    first: U32
    keys_crc32: U32
    dropped: U32  # taps that did not fit the buffer
    nonfinite: U32  # taps of this part with an infinity or a NaN
    zero: U32  # taps of this part that are zero throughout
    flushed: U32  # taps of this part with TapFlag.FLUSHED
    data: Tail


class TokensRead(Message):
    """Asks for the tokens of the last generation from position `first`."""

    first: U16


class TokensPart(Message):
    """Tokens from `first`, uint16 each, as many as fit; `total` in all."""

    total: U16
    first: U16
    data: Tail


class TapRecord(Message):
    """One tap in full."""

    key: U32  # op in 31:24, layer in 23:16, position in 15:0
    crc32: U32
    count: U32
    minimum: F32  # over elements that are numbers; 0 when there is none
    maximum: F32
    nonfinite: U32  # infinities and NaNs
    flags: U32  # TapFlag


class Bench(Message):
    """Runs `rounds` dot products of `length` elements."""

    rounds: U32
    length: U32


class BenchResult(Message):
    """Multiply-adds done, system timer microseconds taken, and the sum, so that nothing is optimised away."""

    multiply_adds: U64
    time_us: U64
    checksum: F32


class Ready(Message):
    """First frame after boot."""

    protocol: U16
    rank: U8
    world_size: U8
    build_id: Bytes16


class Crashed(Message):
    """Exception dump."""

    kind: U8  # CrashKind
    pc: U32
    lr: U32
    sp: U32
    cpsr: U32
    fault_status: U32
    fault_address: U32
    registers: Words13  # r0..r12
    stack: Words32  # from sp upwards
    build_id: Bytes8


class Token(Message):
    """A token of a generation, as the head rank accepted it. forced 1: from the prompt."""

    job: U32
    position: U16
    token: U16
    forced: U8
    time_us: U64


class Command(IntEnum):
    """What the host asks for: its code, what the request carries, what the response carries."""

    request: type[Message]
    response: type[Message]

    def __new__(cls, code: int, request: type[Message] = Empty, response: type[Message] = Empty) -> Self:
        """The member of a code."""
        member = int.__new__(cls, code)
        member._value_, member.request, member.response = code, request, response
        return member

    IDENTIFY = 0x01, Identify, Identity
    PING = 0x02, Blob, Blob
    HEALTH = 0x03, Empty, Health
    REBOOT = 0x04, Reboot
    MEMORY_READ = 0x05, MemoryRead, Blob
    CRASH = 0x06, Crash
    JOB_STATUS = 0x10, Empty, JobState
    JOB_ABORT = 0x11, Empty, JobState
    LINK_COUNTERS = 0x22, link_messages.LinkBank, link_messages.LinkCounters
    LINK_RESET = 0x23, link_messages.LinkBank, link_messages.PinLevels
    LINK_RUN = 0x24, link_messages.LinkRun, JobStarted
    LINK_RESULT = 0x25, link_messages.LinkBank, link_messages.LinkResult
    PIN_MODE = 0x28, link_messages.PinMode, link_messages.PinLevels
    PIN_DRIVE = 0x29, link_messages.PinDrive, link_messages.PinLevels
    PIN_READ = 0x2A, Empty, link_messages.PinLevels
    MODEL_INFO = 0x30, Empty, ModelInfo
    SERVE = 0x31, Serve, JobStarted
    GENERATE = 0x32, Generate, JobStarted
    TRAIN_SETUP = 0x33, training_messages.TrainSetup, training_messages.TrainMemory
    TRAIN_TOKENS = 0x34, training_messages.TrainTokens
    TRAIN_STEP = 0x35, training_messages.TrainStep, JobStarted
    TRAIN_RESULT = 0x36, Empty, training_messages.TrainResult
    TAPS_READ = 0x38, TapsRead, TapsPart
    TAPS_CLEAR = 0x39
    TOKENS_READ = 0x3A, TokensRead, TokensPart
    BENCH = 0x40, Bench, BenchResult
    SET_BAUD = 0x48, line_messages.SetBaud, line_messages.BaudSet
    KEEP_BAUD = 0x49
    SET_WATCHDOG = 0x4A, line_messages.Watchdog, line_messages.Watchdog
    TENSOR_KEEP = 0x50, tensor_messages.TensorKeep, tensor_messages.TensorKept
    TENSOR_DIGESTS = 0x51, tensor_messages.TensorDigests, tensor_messages.TensorBlocks
    TENSOR_READ = 0x52, tensor_messages.TensorRead, Blob
    TENSOR_WRITE = 0x53, tensor_messages.TensorWrite
    PARAMETERS_READ = 0x54, tensor_messages.ParametersRead, tensor_messages.ParametersPart
    REPLAY = 0x55, tensor_messages.Replay, JobStarted
    TRAIN_APPLY = 0x56, Empty, JobStarted
    MEMORY_MAP = 0x58, Empty, memory_messages.MemoryMap
    MEMORY_CRC = 0x59, memory_messages.MemoryRange, memory_messages.MemoryCrc
    TRACE_START = 0x60, Empty, trace_messages.TraceState
    TRACE_STOP = 0x61, Empty, trace_messages.TraceState
    TRACE_CLEAR = 0x62, Empty, trace_messages.TraceState
    TRACE_READ = 0x63, trace_messages.TraceRead, trace_messages.TracePart


class Event(IntEnum):
    """What a board says unasked: its code and what it carries."""

    payload: type[Message]

    def __new__(cls, code: int, payload: type[Message] = Empty) -> Self:
        """The member of a code."""
        member = int.__new__(cls, code)
        member._value_, member.payload = code, payload
        return member

    READY = 1, Ready
    CRASHED = 2, Crashed
    JOB_DONE = 3, JobState
    TOKEN = 4, Token
    LINK_FAULT = 5, link_messages.LinkFault
