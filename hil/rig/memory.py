"""Memory of a rig's boards: `memory_mb` and `gpu_mem` of a rig file. Used by the memory plan and the simulator.

Format: docs/rigs.md. Owns: the sizes that boards of this family have.
"""

from __future__ import annotations

from typing import Any

from hil.errors import RigError

MEMORY_MB = (512, 256)
"""What boards of this family have; 256 is an old A+."""
GPU_MEM_DEFAULT = 64
GPU_MEM_MIN = 16


def parse_memory(value: Any, count: int, where: str) -> tuple[int, ...]:
    """Megabytes of each of `count` boards, from one number for all or a list of one for each.

    Raises: RigError beginning with `where`.
    """
    found = tuple(value) if isinstance(value, list) else (value,) * count
    if len(found) != count or any(size not in MEMORY_MB for size in found):
        sizes = " or ".join(map(str, MEMORY_MB))
        raise RigError(f"{where}: memory_mb = {value!r}: give {sizes}, or a list of {count}, one for each board")
    return found


def parse_gpu_mem(value: Any, memory_mb: tuple[int, ...], where: str) -> int:
    """Megabytes that the GPU keeps. Raises RigError beginning with `where`."""
    most = min(memory_mb) - 1
    if not isinstance(value, int) or not GPU_MEM_MIN <= value <= most:
        raise RigError(f"{where}: gpu_mem = {value!r}: give {GPU_MEM_MIN} to {most} MB, as in config.txt on the cards")
    return value
