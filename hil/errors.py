"""Errors that a user can meet. Each message says where, what value, what limit, and what to do."""

from __future__ import annotations


class HilError(Exception):
    """Base: the message is meant for a person; the command line shows it without a traceback."""


class RigError(HilError):
    """The rig file or the desk is not what the run needs."""


class PortError(HilError):
    """A serial port cannot be opened, read or written."""


class BoardError(HilError):
    """A board does not answer, answers wrongly, refuses a command or has crashed."""


class LinkError(HilError):
    """A link between two boards gave up."""


class ProbeError(HilError):
    """The link probe's adapter cannot be opened, or failed."""


class ModelError(HilError):
    """Checkpoint, tokenizer, prompt or shard do not fit together."""
