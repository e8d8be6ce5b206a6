"""Serial ports that misbehave: a pseudo-terminal behind a link that stays the same, as udev's by-id links do."""

from __future__ import annotations

import os
import tty
from pathlib import Path


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
        self._slave = slave

    def unplug(self) -> None:
        """The device disappears, and its name with it."""
        if self.master is not None:
            self.path.unlink(missing_ok=True)
            os.close(self._slave)
            os.close(self.master)
            self.master = None

    def close(self) -> None:
        """For fixtures."""
        self.unplug()
