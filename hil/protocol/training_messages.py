"""Messages of a training: TRAIN_SETUP, TRAIN_TOKENS, TRAIN_STEP, TRAIN_RESULT.

Their codes and the table of all commands: hil/protocol/messages.py. Meaning: docs/protocol.md, section 6.
"""

from __future__ import annotations

from enum import IntEnum

from hil.protocol.fields import F32, U8, U16, U32, Message, Tail


class Optimizer(IntEnum):
    """Optimiser of a TRAIN_SETUP."""

    SGD = 0
    ADAMW = 1


class TrainSetup(Message):
    """Prepares a training on every rank: memory, gradients and the optimiser's state of zero."""

    optimizer: U8  # Optimizer
    positions: U16  # of a microbatch
    microbatches: U16  # of a step
    slots: U16  # microbatches whose activations are kept at a time
    learning_rate: F32
    momentum: F32
    beta1: F32
    beta2: F32
    epsilon: F32
    weight_decay: F32
    clip: F32  # largest norm of all gradients; 0: none


class TrainMemory(Message):
    """What a training takes, and the memory that there was for it."""

    needed_bytes: U32
    there_bytes: U32


class TrainTokens(Message):
    """The rank with the head: tokens of the next step, uint16 each, microbatch after microbatch.

    Each microbatch has positions + 1 of them. first 0 begins anew; every further part begins where the last ended.
    """

    first: U32
    tokens: Tail


class TrainStep(Message):
    """One step, on every rank at once."""

    flags: U8  # JobFlag
    timeout_ms: U32  # between frames


class TrainResult(Message):
    """Of the last step; losses only on the rank with the head."""

    steps: U32  # since TRAIN_SETUP
    loss: F32  # mean over the microbatches
    norm: F32  # of all gradients
    factor: F32  # by clipping
    squares_in: F32  # sum of squares of the gradients of the ranks before this board
    squares_out: F32  # the same with this board's own; of the head's board: of all
    losses: Tail  # float32 per microbatch
