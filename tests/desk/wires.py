"""Serial ports that misbehave: a pseudo-terminal behind a link that stays the same, as udev's by-id links do."""

from __future__ import annotations

import os
import threading
import tty
from dataclasses import dataclass
from pathlib import Path

from tests.harness.doubles import BoardDouble


class LinkedPort:
    """A port's stable name. `plug` puts a new terminal behind it, `unplug` takes it away, as a USB adapter does.

    `master` is the board's end of the wire, None while unplugged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.master: int | None = None
        self.devices: list[str] = []
        self.plug()

    def plug(self) -> None:
        """Another device appears behind the name."""
        self.master, slave = os.openpty()
        tty.setraw(slave)
        self.devices.append(os.ttyname(slave))
        self.path.unlink(missing_ok=True)
        self.path.symlink_to(self.devices[-1])
        self.slave = slave

    def unplug(self) -> None:
        """The device disappears, and its name with it."""
        if self.master is not None:
            self.path.unlink(missing_ok=True)
            os.close(self.slave)
            os.close(self.master)
            self.master = None

    def close(self) -> None:
        """For fixtures."""
        self.unplug()


@dataclass
class LinkedBoard(BoardDouble):
    """A board double whose port has a stable name; `unplug` and a new LinkedBoard on the same port are a replug."""

    link: LinkedPort | None = None
    runs: bool = False
    """Its image runs already: it serves without a boot."""

    def __post_init__(self) -> None:
        super().__post_init__()
        assert self.link is not None
        os.close(self.master)
        os.close(self._slave)
        if self.link.master is None:
            self.link.plug()
        assert self.link.master is not None
        self.master, self._slave, self.path = self.link.master, self.link.slave, str(self.link.path)

    def _boot(self) -> bool:
        return True if self.runs else super()._boot()

    def unplug(self) -> None:
        """The port disappears, from whichever thread."""
        assert self.link is not None
        if self._open and self.link.master == self.master:
            self._open = False
            if self._thread.ident is not None and self._thread is not threading.current_thread():
                os.write(self._slave, b"\0")  # a thread that reads would keep the terminal alive
                self._thread.join(timeout=20)
        self.link.unplug()

    def _hang_up(self) -> None:
        self.unplug()

    def close(self) -> None:
        """End the thread and take the port away."""
        self.unplug()
