"""FAT32, read only: the files in the root folder of a card image.

Source: Microsoft's FAT32 File System Specification 1.03. An image is a whole card (a partition table, the first FAT32
partition counts, as for the boot ROM) or one bare volume. Twin that writes: hil/model/fat.py.
No number in an image is believed: nothing is read before it is known to lie in the image, and no chain is followed
twice through the same cluster. Owns: FatError, FatVolume.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from hil.sim.card_folder import CardFileError

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
CLUSTERS_MAX = 16 << 20
"""More than any card formatted as FAT32 comes with (32 GB in clusters of 4 KiB are 8 million)."""
FOLDER_BYTES_MAX = 65536 * ENTRY_BYTES
LONG_NAME_CHARS_MAX = 255


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
            (root,) = struct.unpack_from("<I", boot, 44)
            if sector != SECTOR_BYTES or self._per_cluster == 0 or fats == 0:
                raise FatError(f"{path}: sectors of {sector} bytes, {fats} tables; FAT32 with 512-byte sectors is read")
            self._data = start + (reserved + fats * fat_sectors) * SECTOR_BYTES
            self._clusters = (total - reserved - fats * fat_sectors) // self._per_cluster
            self._check_clusters(fat_sectors)
            table = _read(image, path, start + reserved * SECTOR_BYTES, 4 * (self._clusters + 2))
            self._table = memoryview(table).cast("I")
            self.label = boot[71:82].decode("ascii", "replace").rstrip()
            folder = self._chain_bytes(image, root, FOLDER_BYTES_MAX)
            self._files = {file.name.lower(): file for file in self._entries(folder)}

    def _check_clusters(self, fat_sectors: int) -> None:
        count = self._clusters
        if fat_sectors == 0 or count < CLUSTERS_MIN:
            raise FatError(f"{self.path}: {count} clusters are FAT12 or FAT16; format the card as FAT32")
        if count > CLUSTERS_MAX or 4 * (count + 2) > fat_sectors * SECTOR_BYTES:
            raise FatError(
                f"{self.path}: says that it has {count} clusters and a table of {fat_sectors} sectors for them; "
                f"check the card's file system (at most {CLUSTERS_MAX} clusters are read)"
            )

    @property
    def files(self) -> dict[str, int]:
        """Size in bytes of every file, by name."""
        return {file.name: file.size_bytes for file in self._files.values()}

    def size(self, name: str) -> int:
        """A file's size in bytes, as its entry says. Raises: CardFileError if it is not there."""
        return self._file(name).size_bytes

    def read(self, name: str, limit_bytes: int | None = None) -> bytes:
        """A file's bytes, at most so many. Raises: as size(); FatError if the image is damaged."""
        file = self._file(name)
        wanted = file.size_bytes if limit_bytes is None else min(file.size_bytes, limit_bytes)
        if wanted == 0:
            return b""
        with self.path.open("rb") as image:
            data = self._chain_bytes(image, file.first_cluster, wanted)
        if len(data) < wanted:
            raise FatError(f"{self.path}: {file.name}: {file.size_bytes} bytes, but clusters for {len(data)} only")
        return data[:wanted]

    def _file(self, name: str) -> FatFile:
        try:
            return self._files[name.lower()]
        except KeyError:
            raise CardFileError("is missing") from None

    def _chain_bytes(self, image: BinaryIO, cluster: int, wanted_bytes: int) -> bytes:
        """The clusters of a chain, as many as hold the wanted bytes; runs of neighbours are read at once."""
        size = self._per_cluster * SECTOR_BYTES
        parts = [
            _read(image, self.path, self._data + (first - 2) * size, count * size)
            for first, count in self._runs(cluster, -(-wanted_bytes // size))
        ]
        return b"".join(parts)

    def _runs(self, cluster: int, wanted: int) -> list[tuple[int, int]]:
        """First cluster and count of each run; nothing is read before the chain is known to be whole."""
        runs: list[tuple[int, int]] = []
        seen = bytearray(len(self._table))
        first, count, walked = cluster, 0, 0
        while cluster < CLUSTER_END and walked < wanted:
            if not 2 <= cluster < len(self._table) or seen[cluster]:
                raise FatError(f"{self.path}: a chain of clusters leads to {cluster:#x}; check the card's file system")
            seen[cluster] = 1
            walked += 1
            if cluster != first + count:
                runs.append((first, count))
                first, count = cluster, 0
            count += 1
            cluster = self._table[cluster] & CLUSTER_MASK
        return [*runs, (first, count)] if count else runs

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
                long_name = (piece.split("\0")[0].rstrip("\uffff") + long_name)[:LONG_NAME_CHARS_MAX]
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
    """Bytes of the image; a damaged number asks for no memory, since the image's own size is looked at first."""
    end = image.seek(0, os.SEEK_END)
    if offset + size_bytes > end:
        raise FatError(f"{path}: ends at byte {end}, {offset + size_bytes - end} too early; copy it again")
    image.seek(offset)
    data = image.read(size_bytes)
    if len(data) < size_bytes:
        raise FatError(f"{path}: became shorter while it was read; copy it again")
    return data
