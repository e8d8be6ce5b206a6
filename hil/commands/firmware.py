"""`hil firmware`: build both images."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from typing import Literal

from hil.toolchain import build_image

NAMES: tuple[Literal["kernel", "ring"], ...] = ("kernel", "ring")


def build_all(compilers: Sequence[Literal["zig", "gcc"]]) -> int:
    """Build and list kernel.img and ring.img; a compiler that is not installed is named and left out."""
    built = 0
    for compiler in compilers:
        if compiler == "gcc" and shutil.which("arm-none-eabi-gcc") is None:
            print("gcc     not installed (arm-none-eabi-gcc); images are built with zig, which pip installed")
            continue
        for name in NAMES:
            image = build_image(name, compiler=compiler)
            size = image.path.stat().st_size
            print(f"{compiler:7} {name:7} {size:7} bytes  sha256 {image.sha256[:16]}  {image.path}")
            built += 1
    return 0 if built else 1
