"""Firmware with one deliberate error, for tests that must find it."""

import shutil
from pathlib import Path

from hil.toolchain import Image, build_image, default_out, firmware_folder


def broken_image(folder: Path, name: str, right: str, wrong: str) -> Image:
    """The ring image with one text of one file (as model/forward.c) replaced; the text must stand there just once."""
    source = folder / "firmware"
    shutil.copytree(firmware_folder(), source)
    text = (source / name).read_text()
    assert text.count(right) == 1, f"{right!r} stands {text.count(right)} times in {name}"
    (source / name).write_text(text.replace(right, wrong))
    return build_image("ring", source=source, out=folder / "out", objects=default_out() / "objects")
