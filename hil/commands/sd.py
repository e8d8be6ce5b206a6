"""`hil sd write`: one board's card, on a mounted FAT card or as the image of one. `hil firmware`: the images alone."""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path
from typing import Literal, get_args

from hil.commands.options import add_run_options, number, settings_of
from hil.errors import ModelError
from hil.model import mount
from hil.model.bundle import checkpoint_path, kept_shards
from hil.model.card import BOOT_FILES, Card, CardPlan, files_in, plan_card, write_card, write_card_image
from hil.model.checkpoint import read_checkpoint
from hil.rig.specs import BAUD_DEFAULT, BAUD_MAX, BAUD_MIN
from hil.settings import Compiler
from hil.toolchain import build_image

IMAGE_SUFFIX = ".img"


def add_sd(parser: argparse.ArgumentParser) -> None:
    """Declare `hil sd`."""
    parser.add_argument("action", choices=("write",), help="write: kernel.img, shard, config.txt; then read back")
    parser.add_argument("dest", metavar="DEST", type=Path, help="a mounted FAT card, or a new image file NAME.img")
    parser.add_argument("--rank", type=int, required=True, metavar="N", help="the board's place in the ring")
    parser.add_argument("--model", required=True, metavar="M", help="`tiny`, a llama2.c checkpoint, or `none`")
    parser.add_argument("--boot-files", type=Path, metavar="DIR", help=f"folder with {', '.join(BOOT_FILES)}")
    parser.add_argument("--label", metavar="NAME", help="volume label of an image (default: PIE<rank>)")
    parser.add_argument("--baud", type=_baud, default=BAUD_DEFAULT, help=f"of the bootloader (default: {BAUD_DEFAULT})")
    add_run_options(parser, "world", "compiler")
    parser.set_defaults(run=write)


def _baud(text: str) -> int:
    if not BAUD_MIN <= number(text) <= BAUD_MAX:
        raise argparse.ArgumentTypeError(f"{text}: give {BAUD_MIN} to {BAUD_MAX}")
    return number(text)


def add_firmware(parser: argparse.ArgumentParser) -> None:
    """Declare `hil firmware`."""
    parser.add_argument("--compiler", choices=(*get_args(Compiler), "all"), default="all", help="default: all")
    parser.set_defaults(run=firmware)


def firmware(options: argparse.Namespace) -> int:
    """Build and list kernel.img and ring.img; a compiler that is not installed is named and left out."""
    compilers: tuple[Compiler, ...] = get_args(Compiler) if options.compiler == "all" else (options.compiler,)
    names: tuple[Literal["kernel", "ring"], ...] = ("kernel", "ring")
    built = 0
    for compiler in compilers:
        if compiler == "gcc" and shutil.which("arm-none-eabi-gcc") is None:
            print("gcc     not installed (arm-none-eabi-gcc); images are built with zig, which pip installed")
            continue
        for name in names:
            image = build_image(name, compiler=compiler)
            size = image.path.stat().st_size
            print(f"{compiler:7} {name:7} {size:7} bytes  sha256 {image.sha256[:16]}  {image.path}")
            built += 1
    return 0 if built else 1


def write(options: argparse.Namespace) -> int:
    """Check, write, read back, print the checksums."""
    settings = settings_of(options)
    world_size = settings.world_size
    dest: Path = options.dest
    is_image = check_dest(dest)
    if not 0 <= options.rank < world_size:
        raise ModelError(f"rank {options.rank}: a ring of {world_size} boards has ranks 0 to {world_size - 1}")
    try:
        shard = _shard(options.model, world_size, options.rank)
        kernel = build_image("kernel", compiler=settings.compiler, baud=options.baud).path
        plan = plan_card(
            dest, kernel=kernel, shard=shard, rank=options.rank, boot_files=options.boot_files,
            present={} if is_image else files_in(dest),
        )  # fmt: skip
        if is_image:
            card = write_card_image(dest, plan, label=options.label or f"PIE{options.rank}")
        else:
            _check_room(dest, plan)
            card = write_card(dest, kernel=kernel, shard=shard, rank=options.rank, boot_files=options.boot_files)
    except ValueError as error:
        raise ModelError(str(error)) from None
    except OSError as error:
        raise ModelError(f"{dest}: writing failed: {error.strerror or error}; is the card still in?") from None
    print(f"{card.directory}: rank {options.rank} of {world_size}, written and read back")
    _show(card)
    return 0


def check_dest(dest: Path) -> bool:
    """Whether DEST is a new image (True) or a mounted FAT card (False). Raises ModelError for anything else."""
    if dest.is_dir():
        kind = mount.mounted_filesystem(dest)
        if kind is None:
            raise ModelError(
                f"{dest}: is a folder of this computer, no card is mounted there; mount the card, or name a new "
                f"image file NAME{IMAGE_SUFFIX}"
            )
        if kind not in mount.FAT_KINDS:
            raise ModelError(f"{dest}: has file system {kind}, a board boots from FAT32 only; format the card as FAT32")
        return False
    if dest.exists():
        raise ModelError(f"{dest}: exists already; remove it, or name a new image file NAME{IMAGE_SUFFIX}")
    if dest.suffix != IMAGE_SUFFIX or not dest.absolute().parent.is_dir():
        raise ModelError(
            f"{dest}: is neither a mounted card nor a new image file in a folder that exists; mount the card, or "
            f"name an image NAME{IMAGE_SUFFIX}"
        )
    return True


def _shard(model: str, world_size: int, rank: int) -> Path | None:
    if model == "none":
        return None
    path = checkpoint_path(model)
    return kept_shards(path, read_checkpoint(path), world_size)[rank]


def _check_room(dest: Path, plan: CardPlan) -> None:
    missing = [name for name in BOOT_FILES if name not in plan.sources and not (dest / name).is_file()]
    if missing:
        raise ModelError(
            f"{dest}: has no {', '.join(missing)}, so the board would stay silent; name a folder that has them "
            "with --boot-files (github.com/raspberrypi/firmware, folder boot)"
        )
    free = shutil.disk_usage(dest).free
    if free < plan.size_bytes:
        raise ModelError(
            f"{dest}: {free:,} bytes are free, {plan.size_bytes:,} are needed; make room or use a larger card"
        )


def _show(card: Card) -> None:
    for name, crc in card.checksums.items():
        print(f"  {name:13} crc32 {crc:08x}")
    if BOOT_FILES[0] not in card.checksums and card.directory.is_file():
        print("  no boot files (--boot-files): the simulator boots this image, a board does not")
