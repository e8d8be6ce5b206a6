"""FAT32 card images: a file that can be written to a card with `dd`, or booted by the simulator.

Source: Microsoft's FAT32 File System Specification 1.03. An image has a partition table and one FAT32 volume with
files in its root folder, each in one piece. The same files give the same bytes. Twin that reads: hil/sim/fat.py.
Why no library does this: docs/cards.md. Owns: the geometry of the images.
"""

from __future__ import annotations

import re
import shutil
import struct
import zlib
from array import array
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from hil.errors import ModelError
from hil.files import atomically

SECTOR_BYTES = 512
VOLUME_SECTOR = 2048
"""The volume starts at 1 MiB, as card formatters put it."""
RESERVED_SECTORS = 32
FATS = 2
ROOT_CLUSTER = 2
IMAGE_BYTES_MIN = 64 << 20
"""FAT32 needs 65525 clusters: 33.5 MB of the smallest ones."""
BIG_BYTES = 300 << 20
"""From here on clusters of 4 KiB are enough to make it FAT32."""
DATE = 1 << 5 | 1
"""1 January 1980: no date, so that an image does not depend on the day."""
_SHORT_NAME = re.compile(r"([A-Za-z0-9_~-]{1,8})(?:\.([A-Za-z0-9_~-]{1,3}))?")
_COPY_BYTES = 1 << 20


class FatImageError(ModelError):
    """An image cannot be written as asked; the message says what, the limit, and what to do."""


@dataclass(frozen=True, slots=True)
class _Geometry:
    sectors: int
    per_cluster: int
    fat_sectors: int

    @property
    def cluster_bytes(self) -> int:
        return self.per_cluster * SECTOR_BYTES

    @property
    def data_sector(self) -> int:
        """First sector of cluster 2, from the start of the image."""
        return VOLUME_SECTOR + RESERVED_SECTORS + FATS * self.fat_sectors

    @property
    def clusters(self) -> int:
        return (self.sectors - RESERVED_SECTORS - FATS * self.fat_sectors) // self.per_cluster

    def count(self, size_bytes: int) -> int:
        """Clusters that so many bytes take."""
        return -(-size_bytes // self.cluster_bytes)


def image_size(content_bytes: int) -> int:
    """Bytes of an image that holds the content with some room to spare; a multiple of 4 MiB."""
    needed = max(IMAGE_BYTES_MIN, content_bytes + content_bytes // 32 + (16 << 20))
    return -(-needed // (4 << 20)) * (4 << 20)


def write_image(path: Path, files: Mapping[str, bytes | Path], *, label: str, size_bytes: int | None = None) -> None:
    """Write a card image; it appears under its name only when it is complete.

    Args:
        files: content by name (8.3), in the order in which they are to lie on the card.
        label: of the volume, at most 11 letters or digits.
        size_bytes: of the whole image; by default as much as the files need, at least 64 MiB.
    Raises: FatImageError if a name is not 8.3, the label is wrong, the files do not fit; OSError from the disk.
    """
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,11}", label):
        raise FatImageError(f"{path}: card label {label!r}: give 1 to 11 letters, digits, - or _")
    sizes = {name: data.stat().st_size if isinstance(data, Path) else len(data) for name, data in files.items()}
    size_bytes = size_bytes or image_size(sum(sizes.values()))
    geometry = _geometry(size_bytes)
    needed = 1 + sum(geometry.count(size) for size in sizes.values())
    if size_bytes < IMAGE_BYTES_MIN or needed > geometry.clusters:
        raise FatImageError(
            f"{path}: an image of {size_bytes} bytes cannot hold {sum(sizes.values())} bytes of files as FAT32; "
            f"give at least {image_size(sum(sizes.values()))}"
        )
    with atomically(path) as part, part.open("wb") as image:
        image.truncate(size_bytes)
        _write_tables(image, geometry, files, sizes, label.upper())


def _geometry(size_bytes: int) -> _Geometry:
    sectors = max(0, size_bytes // SECTOR_BYTES - VOLUME_SECTOR)
    per_cluster = 8 if size_bytes >= BIG_BYTES else 1
    fat_sectors = -(-(sectors // per_cluster + 2) * 4 // SECTOR_BYTES)
    return _Geometry(sectors, per_cluster, fat_sectors)


def _write_tables(
    image: BinaryIO, geometry: _Geometry, files: Mapping[str, bytes | Path], sizes: Mapping[str, int], label: str
) -> None:
    fat = array("I", [0x0FFFFFF8, 0x0FFFFFFF, 0x0FFFFFFF])
    folder = bytearray(_entry(label.ljust(11).encode(), 0, 0x08, 0, 0))
    for name, data in files.items():
        first = len(fat) if sizes[name] else 0
        count = geometry.count(sizes[name])
        if count:
            fat.extend(range(first + 1, first + count))
            fat.append(0x0FFFFFFF)
            image.seek(geometry.data_sector * SECTOR_BYTES + (first - ROOT_CLUSTER) * geometry.cluster_bytes)
            _pour(image, data)
        packed, flags = _short_name(name)
        folder += _entry(packed, flags, 0x20, first, sizes[name])
    if len(folder) > geometry.cluster_bytes:
        raise FatImageError(f"{len(files)} files: an image has room for {geometry.cluster_bytes // 32 - 1}")
    image.seek(geometry.data_sector * SECTOR_BYTES)
    image.write(folder)
    for table in range(FATS):
        image.seek((VOLUME_SECTOR + RESERVED_SECTORS + table * geometry.fat_sectors) * SECTOR_BYTES)
        image.write(fat.tobytes())
    free = geometry.clusters - (len(fat) - 2)
    boot, info = _boot_sector(geometry, label), _info_sector(free, len(fat))
    for sector, data in ((0, boot), (1, info), (6, boot), (7, info)):
        image.seek((VOLUME_SECTOR + sector) * SECTOR_BYTES)
        image.write(data)
    image.seek(0)
    image.write(_partition_sector(geometry))


def _pour(image: BinaryIO, data: bytes | Path) -> None:
    if isinstance(data, bytes):
        image.write(data)
        return
    with data.open("rb") as source:
        shutil.copyfileobj(source, image, _COPY_BYTES)


def _short_name(name: str) -> tuple[bytes, int]:
    """The 11 bytes of a name and the two bits that say which part is in small letters."""
    match = _SHORT_NAME.fullmatch(name)
    parts = [match[1], match[2] or ""] if match else []
    if not parts or any(part not in (part.lower(), part.upper()) for part in parts):
        raise FatImageError(f"file name {name!r}: a card image takes names of 8.3 letters in one case")
    flags = (0x08 if parts[0] != parts[0].upper() else 0) | (0x10 if parts[1] != parts[1].upper() else 0)
    return (parts[0].ljust(8) + parts[1].ljust(3)).upper().encode("ascii"), flags


def _entry(name: bytes, flags: int, attributes: int, cluster: int, size_bytes: int) -> bytes:
    return struct.pack(
        "<11sBBBHHHHHHHI",
        name, attributes, flags, 0, 0, DATE, DATE, cluster >> 16, 0, DATE, cluster & 0xFFFF, size_bytes,
    )  # fmt: skip


def _boot_sector(geometry: _Geometry, label: str) -> bytes:
    head = struct.pack(
        "<3s8sHBHBHHBHHHII",
        b"\xeb\x58\x90", b"MSWIN4.1", SECTOR_BYTES, geometry.per_cluster, RESERVED_SECTORS, FATS, 0, 0, 0xF8, 0,
        63, 255, VOLUME_SECTOR, geometry.sectors,
    )  # fmt: skip
    tail = struct.pack(
        "<IHHIHH12xBBBI11s8s",
        geometry.fat_sectors, 0, 0, ROOT_CLUSTER, 1, 6, 0x80, 0, 0x29, zlib.crc32(label.encode()),
        label.ljust(11).encode(), b"FAT32   ",
    )  # fmt: skip
    return (head + tail).ljust(510, b"\0") + b"\x55\xaa"


def _info_sector(free: int, next_free: int) -> bytes:
    return b"RRaA".ljust(484, b"\0") + struct.pack("<4sII12xI", b"rrAa", free, next_free, 0xAA550000)


def _partition_sector(geometry: _Geometry) -> bytes:
    """One FAT32 partition with block addresses; the cylinder fields say `too large`."""
    entry = struct.pack("<B3sB3sII", 0, b"\xfe\xff\xff", 0x0C, b"\xfe\xff\xff", VOLUME_SECTOR, geometry.sectors)
    return (b"\0" * 446 + entry).ljust(510, b"\0") + b"\x55\xaa"
