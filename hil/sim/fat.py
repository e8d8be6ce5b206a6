"""FAT32, read only: the files in the root folder of a card image.

Source: Microsoft's FAT32 File System Specification 1.03. An image is a whole card (a partition table, the first FAT32
partition counts, as for the boot ROM) or one bare volume. Twin that writes: hil/model/fat.py.
Owns: FatError, FatVolume.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

SECTOR_BYTES = 512
PARTITION_TABLE = 446
FAT32_TYPES = (0x0B, 0x0C)
"""Partition types of FAT32 with cylinder and with block addresses."""
ENTRY_BYTES = 32
ATTRIBUTE_LONG_NAME = 0x0F
ATTRIBUTE_VOLUME = 0x08
ATTRIBUTE_FOLDER = 0x10
CLUSTER_END = 0x0FFFFFF8
CLUSTER_MASK = 0x0FFFFFFF
CLUSTERS_MIN = 65525
"""A volume with fewer clusters is FAT16 by definition, whatever its boot sector says."""


class FatError(ValueError):
    """An image cannot be read as FAT32; the message says where and why."""


@dataclass(frozen=True, slots=True)
class FatFile:
    """A file in the root folder."""

    name: str
    first_cluster: int
    size_bytes: int


class FatVolume:
    """The root folder of the first FAT32 volume in an image. Names are found whatever their case, as FAT does.

    Raises: FatError if there is no such volume; OSError if the image cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with path.open("rb") as image:
            start = _volume_start(image, path)
            boot = _read(image, path, start, SECTOR_BYTES)
            sector, self._per_cluster, reserved, fats = struct.unpack_from("<HBHB", boot, 11)
            total, fat_sectors = struct.unpack_from("<II", boot, 32)
            (self._root,) = struct.unpack_from("<I", boot, 44)
            if sector != SECTOR_BYTES or self._per_cluster == 0 or fats == 0:
                raise FatError(f"{path}: sectors of {sector} bytes, {fats} tables; FAT32 with 512-byte sectors is read")
            self._data = start + (reserved + fats * fat_sectors) * SECTOR_BYTES
            count = (total - reserved - fats * fat_sectors) // self._per_cluster
            if fat_sectors == 0 or count < CLUSTERS_MIN:
                raise FatError(f"{path}: {count} clusters are FAT12 or FAT16; format the card as FAT32")
            table = _read(image, path, start + reserved * SECTOR_BYTES, fat_sectors * SECTOR_BYTES)
            self._table = memoryview(table).cast("I")
            self.label = boot[71:82].decode("ascii", "replace").rstrip()
            self._files = {file.name.lower(): file for file in self._entries(self._chain_bytes(image, self._root))}

    @property
    def files(self) -> dict[str, int]:
        """Size in bytes of every file, by name."""
        return {file.name: file.size_bytes for file in self._files.values()}

    def __contains__(self, name: str) -> bool:
        return name.lower() in self._files

    def read(self, name: str) -> bytes:
        """A file's bytes. Raises KeyError if it is not there, FatError if the image is damaged."""
        file = self._files[name.lower()]
        if file.size_bytes == 0:
            return b""
        with self.path.open("rb") as image:
            data = self._chain_bytes(image, file.first_cluster)
        if len(data) < file.size_bytes:
            raise FatError(f"{self.path}: {file.name}: {file.size_bytes} bytes, but clusters for {len(data)} only")
        return data[: file.size_bytes]

    def _chain_bytes(self, image: BinaryIO, cluster: int) -> bytes:
        """The clusters of a chain; runs of neighbours are read at once."""
        size = self._per_cluster * SECTOR_BYTES
        parts = [
            _read(image, self.path, self._data + (first - 2) * size, count * size)
            for first, count in self._runs(cluster)
        ]
        return b"".join(parts)

    def _runs(self, cluster: int) -> Iterator[tuple[int, int]]:
        first, count, walked = cluster, 0, 0
        while cluster < CLUSTER_END:
            walked += 1
            if not 2 <= cluster < len(self._table) or walked > len(self._table):
                raise FatError(f"{self.path}: a chain of clusters leads to {cluster:#x}; check the card's file system")
            if cluster != first + count:
                yield first, count
                first, count = cluster, 0
            count += 1
            cluster = self._table[cluster] & CLUSTER_MASK
        if count:
            yield first, count

    @staticmethod
    def _entries(folder: bytes) -> Iterator[FatFile]:
        """Files of a folder; a long name stands in entries before its file, last piece first."""
        long_name = ""
        for at in range(0, len(folder), ENTRY_BYTES):
            entry = folder[at : at + ENTRY_BYTES]
            if entry[0] == 0:
                return
            if entry[11] == ATTRIBUTE_LONG_NAME and entry[0] != 0xE5:
                piece = (entry[1:11] + entry[14:26] + entry[28:32]).decode("utf-16-le", "replace")
                long_name = piece.split("\0")[0].rstrip("\uffff") + long_name
                continue
            if entry[0] != 0xE5 and not entry[11] & (ATTRIBUTE_VOLUME | ATTRIBUTE_FOLDER):
                high, low, size = struct.unpack_from("<H4xHI", entry, 20)
                yield FatFile(long_name or _short_name(entry), high << 16 | low, size)
            long_name = ""


def _short_name(entry: bytes) -> str:
    """NAME.EXT; two bits say that a part is meant in small letters."""
    base, extension = (entry[a:b].decode("ascii", "replace").rstrip() for a, b in ((0, 8), (8, 11)))
    base = base.lower() if entry[12] & 0x08 else base
    extension = extension.lower() if entry[12] & 0x10 else extension
    return f"{base}.{extension}" if extension else base


def _volume_start(image: BinaryIO, path: Path) -> int:
    """Byte offset of the volume: 0 for a bare one, else the first FAT32 partition."""
    first = _read(image, path, 0, SECTOR_BYTES)
    if first[510:512] != b"\x55\xaa":
        raise FatError(f"{path}: no boot signature; this is not the image of a card")
    if first[82:87] == b"FAT32":
        return 0
    for slot in range(4):
        entry = first[PARTITION_TABLE + 16 * slot : PARTITION_TABLE + 16 * (slot + 1)]
        if entry[4] in FAT32_TYPES:
            return int(struct.unpack_from("<I", entry, 8)[0]) * SECTOR_BYTES
    raise FatError(f"{path}: no FAT32 partition; format the card as FAT32")


def _read(image: BinaryIO, path: Path, offset: int, size_bytes: int) -> bytes:
    image.seek(offset)
    data = image.read(size_bytes)
    if len(data) < size_bytes:
        raise FatError(f"{path}: ends at byte {offset + len(data)}, {size_bytes - len(data)} too early; copy it again")
    return data
