"""The other end of a pseudo-terminal for `hil bench serial`, in a process of its own.

`echo FD` is a board that boots anything and answers IDENTIFY and PING at once; `flood COUNT SEED FD...` writes random
bytes to every descriptor as fast as they are taken, and prints what it wrote.
"""

from __future__ import annotations

import hashlib
import os
import random
import struct
import sys
import threading
from collections.abc import Sequence

from hil.protocol.boot import BootWord
from hil.protocol.frames import Frame, FrameDecoder, encode_frame
from hil.protocol.messages import PROTOCOL_VERSION, Command, Event, Identify, Identity, Kind, Ready, Status

BUILD_ID = b"bench of serial."
BLOCK_BYTES = 1 << 16


def _read(descriptor: int, count: int) -> bytes:
    data = b""
    while len(data) < count:
        data += os.read(descriptor, count - len(data))
    return data


def _boot(descriptor: int) -> None:
    os.write(descriptor, struct.pack("<I", BootWord.GET_PROG_INFO))
    _, _, size, crc = struct.unpack("<4I", _read(descriptor, 16))
    os.write(descriptor, struct.pack("<2I", BootWord.GET_CODE, crc))
    _read(descriptor, 4 + size)
    os.write(descriptor, struct.pack("<I", BootWord.BOOT_SUCCESS))
    ready = Ready(PROTOCOL_VERSION, 0xFF, 0, BUILD_ID)
    os.write(descriptor, encode_frame(Frame(Kind.EVENT, Event.READY, 0, ready.pack())))


def _identity(payload: bytes) -> bytes:
    session = Identify.unpack(payload).session
    return Identity(
        session, PROTOCOL_VERSION, 0xFF, 0, 0, 0, 0, 0, 0, 0, 0, 0, BUILD_ID, b"bench".ljust(16, b"\0"), 115200
    ).pack()


def echo(descriptor: int) -> None:
    """Answer until the process is ended."""
    _boot(descriptor)
    decoder = FrameDecoder()
    while data := os.read(descriptor, BLOCK_BYTES):
        for frame in decoder.feed(data):
            if isinstance(frame, Frame) and frame.kind is Kind.COMMAND:
                answer = _identity(frame.payload) if frame.code == Command.IDENTIFY else frame.payload
                body = bytes([Status.OK]) + answer
                os.write(descriptor, encode_frame(Frame(Kind.RESPONSE, frame.code, frame.sequence, body)))


def flood(count: int, seed: int, descriptors: Sequence[int]) -> None:
    """Write `count` bytes to each, all at once; prints the SHA-256 of each, in order."""
    hashes = [hashlib.sha256() for _ in descriptors]

    def send(index: int) -> None:
        block, left = random.Random(seed + index).randbytes(BLOCK_BYTES), count
        while left:
            done = os.write(descriptors[index], block[: min(left, len(block))])
            hashes[index].update(block[:done])
            left -= done

    threads = [threading.Thread(target=send, args=(index,)) for index in range(len(descriptors))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(" ".join(value.hexdigest() for value in hashes), flush=True)


def main(words: Sequence[str]) -> None:
    """Entry point of the process."""
    if words[0] == "echo":
        echo(int(words[1]))
    else:
        flood(int(words[1]), int(words[2]), [int(word) for word in words[3:]])


if __name__ == "__main__":
    main(sys.argv[1:])
