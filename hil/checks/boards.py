"""Checks of boards and wires: do they boot, is every board the one it should be, is every wire where it should be?"""

from __future__ import annotations

from hil.checks.check import Result, Setup, Sign, check
from hil.checks.wiring import scan_wiring
from hil.protocol.messages import PROTOCOL_VERSION, Blob, Command, Empty, Health
from hil.rig.needs import Need
from hil.ring.ring import Ring

HOT_MC = 85_000


def health(ring: Ring, rank: int) -> Health:
    """Temperature, clocks and throttling of a board. Raises BoardError."""
    return ring.boards[rank].command(Command.HEALTH, Empty(), Health)


def _found(problems: list[str]) -> Result:
    return Result("\n".join(problems), Sign.BOARD)


@check("boot", "ring", Need.BOARD, night=True, all_boards=False)
def boot(setup: Setup, seed: int) -> Result:
    """Reset and boot all boards, ask each who it is."""
    image = setup.image or setup.ring.image
    assert image is not None, "nothing was booted and no image given"
    times = setup.ring.boot(image)
    if not Need.WIRED_RANKS.lack(setup.ring.desk.config):
        setup.ring.check_ranks()
    return Result(figures={"boot_s": max(times.seconds), "skew_s": times.skew_s})


@check("image", "ring", Need.BOARD)
def image_sent(setup: Setup, seed: int) -> Result:
    """Every board runs the image that was sent, and speaks this protocol."""
    image = setup.ring.image
    assert image is not None, "nothing was booted"
    wanted = (PROTOCOL_VERSION, image.build_id)
    found = ((identity.protocol, identity.build_id) for identity in setup.ring.identities())
    return _found(
        [f"board {n} runs {one[1].hex()} of protocol {one[0]}" for n, one in enumerate(found) if one != wanted]
    )


@check("ranks", "ring", Need.WIRED_RANKS)
def ranks(setup: Setup, seed: int) -> Result:
    """Every board holds the shard of its place."""
    setup.ring.check_ranks()
    return Result()


@check("serial numbers", "ring", Need.BOARD)
def serial_numbers(setup: Setup, seed: int) -> Result:
    """No two boards say the same serial number."""
    serials = [identity.board_serial for identity in setup.ring.identities()]
    twice = sorted({serial for serial in serials if serials.count(serial) > 1})
    return _found([f"several boards have serial {serial:016x}" for serial in twice])


@check("layers shared out", "ring", Need.RING)
def layers_shared_out(setup: Setup, seed: int) -> Result:
    """The boards' layers follow one another without a gap, and are all that the model has."""
    ends = [0, *(i.layer_end for i in setup.ring.identities() if not i.has_head)]
    starts = [*(i.layer_start for i in setup.ring.identities() if not i.has_head), setup.model.weights.config.n_layers]
    return _found([f"layers end at {end} and go on at {start}" for end, start in zip(ends, starts, strict=True)
                   if end != start])  # fmt: skip


@check("echo", "ring", Need.BOARD)
def echo(setup: Setup, seed: int) -> Result:
    """Every board sends back a kilobyte as it came."""
    data = bytes(range(256)) * 4
    return _found(
        [f"{board}: the echo differs" for board in setup.ring.boards
         if board.command(Command.PING, Blob(data), Blob).data != data]
    )  # fmt: skip


@check("health", "ring", Need.BOARD)
def healthy(setup: Setup, seed: int) -> Result:
    """Every board has its clocks, is not hot and has lost no byte on its serial line."""
    problems = []
    for board in setup.ring.boards:
        now = health(setup.ring, board.rank)
        if now.temperature_mc >= HOT_MC:
            problems.append(f"{board}: {now.temperature_mc / 1000} degrees, at most {HOT_MC / 1000}")
        if not now.uart_clock_hz or not now.arm_clock_hz:
            problems.append(f"{board}: UART at {now.uart_clock_hz} Hz, processor at {now.arm_clock_hz} Hz")
        if now.uart_overruns:
            problems.append(f"{board}: {now.uart_overruns} bytes lost on its serial line")
    return _found(problems)


@check("wiring", "wiring", Need.BOARD, night=True)
def wiring(setup: Setup, seed: int) -> Result:
    """Scan every wire; one pad drives at a time, so it is safe on any wiring."""
    report = scan_wiring(setup.ring)
    found = Result(detail=report.text(), report=report)
    found.figures = {"scan_s": report.seconds, "findings": len(report.findings)}
    if not report.good:
        more = f" (and {len(report.findings) - 1} more)" if len(report.findings) > 1 else ""
        found.sentence, found.sign = report.findings[0].text + more, Sign.LINK
    return found
