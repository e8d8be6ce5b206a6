"""One board: boot it, give it commands, keep what it says.

A Board is a channel (hil/board/channel.py) whose other end starts from nothing: first its bootloader is there and
takes an image, then the image speaks frames, or text where it is not ours (`boot`, `expect`).
Owns: the upload, who the board says it is, its crash.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from hil.board.boot import GET_PROG_INFO_BYTES, Announcements, Upload, identity_problem, open_image
from hil.board.channel import BoardEvent, Channel, Pending
from hil.board.text import BoardText
from hil.board.words import describe_crash
from hil.errors import BoardError
from hil.line.log import BoardLog
from hil.line.loop import Loop
from hil.protocol.boot import BootError, BootSession, BootState, WrongBoardError
from hil.protocol.messages import Command, Crashed, Event, Identify, Identity, Reboot
from hil.rig.specs import BoardSpec
from hil.text import printable
from hil.toolchain import Image

BOOT_TIMEOUT_S = 60.0
REBOOT_TRIES, REBOOT_EVERY_S = 4, 0.3
BY_HAND = "short RUN to ground, or unplug the board and plug it in again"
"""What starts any board anew."""


class Board(Channel):
    """One board of a rig, opened.

    Args:
        spec, loop, log, baud: as for Channel.
        session: names this host's session with the board; boards forget older sequence numbers.
    Attributes:
        identity: who the image says it is; None until it has booted.
        crash: how the image crashed, in words, or None.
        reset: starts the board from its card; the desk gives what can do that. Else firmware that runs is asked.
        describe_reset: what does it, for messages.
        line_share: time that the image's bits take at the boot baud, over what the upload took.
    """

    def __init__(self, spec: BoardSpec, loop: Loop, log: BoardLog, baud: int, *, session: int) -> None:
        super().__init__(spec, loop, log, baud)
        self.identity: Identity | None = None
        self.crash: str | None = None
        self.image: Image | None = None
        self.upload: Upload | None = None
        self.text: BoardText | None = None
        self.on_text: Callable[[Board, bytes], None] | None = None
        self.reset: Callable[[], None] = self.expect_bootloader
        self.describe_reset: Callable[[], str] = lambda: BY_HAND
        self.announcements = Announcements()
        self.received_bytes = 0
        self.line_share: float | None = None
        self.boot_started_s = 0.0
        self.boot_done_s: float | None = None
        self.wrong_board = False
        self._boot_baud = baud
        self._session = session
        self._identify_sent = False

    # --- booting -------------------------------------------------------------------------------

    def begin_boot(self, image: Image, *, hold: bool = False) -> None:
        """Expect the bootloader and give it our image.

        Args:
            hold: offer nothing before `upload.release()`.
        Raises: BoardError if the file cannot be read or cannot fit.
        """
        session = open_image(image.path, image.load_address, board_serial=self.spec.serial, hold=hold)
        self.stand_by()
        self.image = image
        self._begin_upload(session)

    def begin_program(self, path: Path) -> None:
        """Expect the bootloader and give it any image for 0x8000, which then prints text.

        Raises: BoardError if the file cannot be read or cannot fit.
        """
        session = open_image(path, board_serial=self.spec.serial)
        self.stand_by()
        self.text = BoardText(self._text_line)
        self._begin_upload(session)

    def _begin_upload(self, session: BootSession) -> None:
        self.upload = Upload(session, self.port.write, self.log, self.now_s)

    def stand_by(self) -> None:
        """Forget what ran on the board; what it says is only logged until it is booted."""
        self.finish_text()
        self.upload = self.text = None
        self.wrong_board = self._identify_sent = False
        self.forget("the board was booted anew")
        self.image = None
        self.identity = self.crash = None
        self.boot_done_s = None
        self.boot_started_s = self.now_s()
        self.received_bytes = 0
        self.line_share = None
        self.announcements.forget_greeting()
        if self.baud != self._boot_baud:
            self.set_baud(self._boot_baud)
        if not self.port.usable:
            self._loop.reopen(self.port)

    def stop_boot(self) -> None:
        """Give up an upload that has not sent the image yet."""
        if not self.boot_begun:
            self.upload = None

    @property
    def boot_state(self) -> BootState:
        """How far the upload is."""
        return self.upload.state if self.upload else BootState.WAITING

    @property
    def boot_begun(self) -> bool:
        """Whether the image, or a part of it, has been sent."""
        return self.boot_state in (BootState.SENDING, BootState.DONE)

    @property
    def booted(self) -> bool:
        """The image runs and has said who it is."""
        return self.identity is not None

    def boot_problem(self, timeout_s: float) -> str:
        """One sentence on a boot that did not finish in time."""
        lost = self._lost()
        if lost is not None:
            return lost
        if self.received_bytes == 0:
            what = f"no byte in {timeout_s:.0f} s; is it powered, is its card in, are TX and RX crossed?"
        elif self.boot_state is BootState.WAITING and self.upload is not None and self.upload.interrupted:
            what = (
                "its port was away while the image was sent, and its bootloader did not ask again in "
                f"{timeout_s:.0f} s; it may have got all of it and run it already: reset the board"
            )
        elif self.boot_state is BootState.WAITING:
            what = (
                f"{self.received_bytes} bytes arrived but no word of the bootloader at {self.baud} baud; "
                "the other end probably runs at another rate"
            )
        elif self.boot_state is BootState.DONE:
            what = f"took the image but did not answer within {timeout_s:.0f} s"
        else:
            what = f"stopped while {self.boot_state.value} ({timeout_s:.0f} s)"
        return self.sentence(what)

    def expect_bootloader(self) -> None:
        """Ask firmware that may be running to return to the bootloader."""
        asked_s = self.now_s()
        self._ask_to_reboot()

        def once_more() -> None:
            """A board left at a raised baud by another run comes back to this one when it hears garbage."""
            if not self.announcements.since(asked_s) and not self.booted and self.dead is None:
                self._ask_to_reboot()

        for number in range(1, REBOOT_TRIES):
            self._loop.call_at(asked_s + number * REBOOT_EVERY_S, once_more)

    def _ask_to_reboot(self) -> None:
        self.say(Command.IDENTIFY, Identify(self._session))
        self.say(Command.REBOOT, Reboot(10), sequence=1)

    # --- images of any make --------------------------------------------------------------------

    def boot(self, path: Path | str, *, timeout_s: float = BOOT_TIMEOUT_S) -> None:
        """Reset the board and boot an image of any make; then `expect` what it prints.

        Raises: BoardError if the image cannot be used or the board does not take it in time.
        """
        __tracebackhide__ = True
        self.begin_program(Path(path))
        self.reset()
        if not self.wait_until(lambda: self.boot_state is BootState.DONE, timeout_s):
            why = self.dead or self.boot_problem(timeout_s)
            raise BoardError(f"{why}; to start it anew: {self.describe_reset()}")

    def expect(self, pattern: str | re.Pattern[str], timeout_s: float = 10.0) -> re.Match[str]:
        """Wait until the text that the board prints matches; what precedes the match's end is used up.

        Args:
            pattern: a regular expression, searched in the text (MULTILINE).
            timeout_s: on the rig's clock.
        Raises: BoardError with the pattern, the end of the text, and the log's path.
        """
        __tracebackhide__ = True
        text = self.text
        if text is None:
            raise BoardError(f"{self}: expect() reads the text of an image that was booted with board.boot(path)")
        wanted = re.compile(pattern, re.MULTILINE) if isinstance(pattern, str) else pattern
        match: re.Match[str] | None = None

        def seen() -> bool:
            nonlocal match
            match = match or text.search(wanted)
            return match is not None

        self.wait_until(seen, timeout_s)
        if match is not None:
            return match
        why = f"\n  {self.dead}" if self.dead else ""
        raise BoardError(
            f"{self}: nothing matches {wanted.pattern!r} within {timeout_s:g} s{why}\n"
            f"  the text ends: {printable(text.tail()) or '(nothing was printed)'}\n  log: {self.log.path}"
        )

    def find(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        """A match in the text so far, without waiting; None for an image that prints no text."""
        return self.text.search(pattern) if self.text is not None else None

    def finish_text(self) -> None:
        """Put an unfinished line of text into the log."""
        if self.text is not None:
            self.text.finish()

    def _text_line(self, line: bytes, size_bytes: int) -> None:
        self.log.line(self.now_s(), f"text     {printable(line)}", size_bytes=size_bytes)
        if self.on_text is not None:
            self.on_text(self, line)

    # --- what the board says -------------------------------------------------------------------

    def identify(self, *, timeout_s: float = 5.0) -> Identity:
        """Ask the board who it is; starts a session. Raises BoardError."""
        self.identity = self.command(Command.IDENTIFY, Identify(self._session), Identity, timeout_s=timeout_s)
        return self.identity

    @property
    def dead(self) -> str | None:
        """One sentence on why the board cannot go on, or None."""
        if self.crash is not None and self.port.failure is None:
            return self.sentence(self.crash)
        return super().dead

    def _port_back(self, sentence: str) -> None:
        """A board in its bootloader is given all of the image again."""
        super()._port_back(sentence)
        if self.upload is not None and self.upload.state is not BootState.DONE:
            self.upload.restart()

    def _take(self, data: bytes) -> None:
        self.received_bytes += len(data)
        self.announcements.hear(data, self.now_s())
        if self.boot_state is not BootState.DONE:
            data = self._boot_data(data)
        if self.boot_state is not BootState.DONE:
            return
        if self.text is not None:
            self._text_data(self.text, data)
        else:
            self._frame_data(data)

    def _boot_data(self, data: bytes) -> bytes:
        """Feed the upload; what comes behind it is returned."""
        upload = self.upload
        if upload is None or self.failure is not None:
            self.log.line(self.now_s(), f"unasked  {printable(data)}", size_bytes=len(data))
            return b""
        skipped_before = upload.skipped_bytes
        try:
            leftover = upload.feed(data)
        except BootError as error:
            self.wrong_board = isinstance(error, WrongBoardError)
            self.failure = self.sentence(str(error))
            return b""
        self.junk_bytes += upload.skipped_bytes - skipped_before
        if upload.state is BootState.DONE:
            self.restart_numbers()
            self.line_share = upload.line_share(self.baud)
        return leftover

    def _text_data(self, text: BoardText, data: bytes) -> None:
        text.feed(data)
        if GET_PROG_INFO_BYTES in text.recent and self.failure is None:
            self.failure = self.sentence("restarted and waits in its bootloader")

    def _frame_data(self, data: bytes) -> None:
        super()._take(data)
        if GET_PROG_INFO_BYTES in self._decoder.pending() and self.failure is None:
            why = self.announcements.restart_reason(asked=Command.REBOOT in self.asked)
            self.failure = self.sentence(f"{why} and waits in its bootloader")
            self.log.line(self.now_s(), "restart  the bootloader asks for an image")

    def _heard(self, noted: BoardEvent) -> None:
        if isinstance(noted.message, Crashed):
            self.crash = describe_crash(noted.message, self.image.elf if self.image else None)
            self.log.line(noted.time_s, f"crash    {self.crash}")
        if noted.event is Event.READY and self.image is not None and not (self.booted or self._identify_sent):
            self._identify_sent = True
            self.start(Command.IDENTIFY, Identify(self._session), on_done=self._identified)

    def _identified(self, pending: Pending) -> None:
        identity = pending.response
        if not isinstance(identity, Identity):
            self.failure = self.sentence(str(pending.error))
            return
        problem = identity_problem(identity, self.image.build_id if self.image else None, self.spec.serial)
        if problem is not None:
            self.failure = f"{self}: {problem}"
        else:
            self.identity = identity
            self.boot_done_s = self.now_s()
