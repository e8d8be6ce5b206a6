"""Cards: `hil shard`, `hil synth`, `hil sd write`, images that other tools accept and the simulator boots."""

from __future__ import annotations

import random
import shutil
import subprocess
import zlib
from dataclasses import replace
from pathlib import Path

import pytest

from hil.cli import main
from hil.model import mount
from hil.model.bundle import load_model
from hil.model.card import BOOT_FILES
from hil.model.fat import FatImageError, image_size, write_image
from hil.model.mount import mounted_filesystem, parse_mount_output, parse_mountinfo
from hil.model.synth import synthesize_tokenizer
from hil.model.tokenizer import TokenizerError
from hil.sim import BoardConfig, Netlist, Simulation
from hil.sim.card import read_card
from hil.sim.fat import FatError, FatVolume

MIB = 1 << 20
FILES = {
    "bootcode.bin": b"b" * 52_000,
    "kernel.img": bytes(range(256)) * 20,
    "shard.bin": random.Random(5).randbytes(3 * MIB + 77),
    "start_cd.elf": b"s" * 513,
    "EMPTY": b"",
    "config.txt": b"initramfs shard.bin 0x2000000\n",
}


def tool(name: str) -> str:
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")
    if found is None:
        pytest.skip(f"{name} is not installed: apt-get install {'mtools' if name[0] == 'm' else 'dosfstools'}")
    return found


@pytest.fixture
def boot_files(tmp_path: Path) -> Path:
    folder = tmp_path / "boot"
    folder.mkdir()
    for name in BOOT_FILES:
        (folder / name).write_bytes(name.encode() * 100)
    return folder


def volume_of(image: Path) -> Path:
    """The bare volume, for tools that know no partition table."""
    bare = image.with_suffix(".vol")
    bare.write_bytes(image.read_bytes()[MIB:])
    return bare


@pytest.mark.parametrize("size_bytes", [None, 300 * MIB], ids=["64 MiB", "300 MiB"])
def test_image_reads_back_whatever_the_cluster_size(tmp_path, size_bytes):
    path = tmp_path / "a.img"
    write_image(path, FILES, label="PIE0", size_bytes=size_bytes)
    volume = FatVolume(path)
    assert volume.label == "PIE0"
    assert volume.files == {name: len(data) for name, data in FILES.items()}
    assert all(volume.read(name.upper()) == data for name, data in FILES.items())
    assert [p.name for p in tmp_path.iterdir()] == ["a.img"]


def test_same_files_give_the_same_image(tmp_path):
    paths = [tmp_path / "a.img", tmp_path / "b.img"]
    for path in paths:
        write_image(path, {"config.txt": b"x"}, label="PIE1")
    assert len({zlib.crc32(path.read_bytes()) for path in paths}) == 1


def test_fsck_finds_nothing_wrong_and_finds_a_wrong_table(tmp_path):
    path = tmp_path / "a.img"
    write_image(path, FILES, label="PIE0")
    bare = volume_of(path)
    command = [tool("fsck.fat"), "-n", str(bare)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    with bare.open("r+b") as file:
        file.seek(32 * 512 + 4 * 4)
        file.write(b"\x03\0\0\0")  # cluster 4 leads back to cluster 3
    assert subprocess.run(command, capture_output=True, check=False).returncode != 0


def test_mtools_read_the_same_bytes(tmp_path):
    path = tmp_path / "a.img"
    write_image(path, FILES, label="PIE0")
    for name, data in FILES.items():
        done = subprocess.run([tool("mtype"), "-i", f"{path}@@1M", f"::{name}"], capture_output=True, check=True)
        assert done.stdout == data


def test_a_volume_that_others_formatted_is_read_with_long_names(tmp_path):
    path = tmp_path / "others.img"
    with path.open("wb") as file:
        file.truncate(64 * MIB)
    subprocess.run([tool("mkfs.fat"), "-F", "32", "-n", "THEIRS", str(path)], check=True, capture_output=True)
    source = tmp_path / "source"
    source.write_bytes(FILES["shard.bin"])
    for name in ("rank0-of-4 weights.bin", "KERNEL.IMG"):
        subprocess.run([tool("mcopy"), "-i", str(path), str(source), f"::{name}"], check=True)
    volume = FatVolume(path)
    assert set(volume.files) == {"rank0-of-4 weights.bin", "KERNEL.IMG"}
    assert volume.read("RANK0-of-4 weights.bin") == FILES["shard.bin"]


@pytest.mark.parametrize(
    ("files", "label", "size_bytes", "sentence"),
    [
        ({"much-too-long.bin": b""}, "PIE0", None, "file name 'much-too-long.bin': a card image takes names of 8.3"),
        ({"Mixed.bin": b""}, "PIE0", None, "file name 'Mixed.bin'"),
        ({"a.bin": b""}, "TWELVE-CHARS", None, "card label 'TWELVE-CHARS': give 1 to 11"),
        ({"a.bin": b"x" * (70 * MIB)}, "PIE0", 64 * MIB, "cannot hold 73400320 bytes of files as FAT32; give at least"),
        ({"a.bin": b""}, "PIE0", 10 * MIB, "an image of 10485760 bytes cannot hold"),
    ],
)
def test_impossible_images_are_refused_and_leave_nothing(tmp_path, files, label, size_bytes, sentence):
    with pytest.raises(FatImageError, match=sentence):
        write_image(tmp_path / "a.img", files, label=label, size_bytes=size_bytes)
    assert list(tmp_path.iterdir()) == []


def test_default_size_holds_what_it_was_asked_for(tmp_path):
    for size in (0, 48 * MIB, 290 * MIB):
        part = tmp_path / "content"
        with part.open("wb") as file:
            file.truncate(size)
        write_image(tmp_path / "a.img", {"a.bin": part}, label="X", size_bytes=image_size(size))


def _spoil(path: Path, at: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        file.write(data)


@pytest.mark.parametrize(
    ("at", "data", "sentence"),
    [
        (510, b"\0\0", "no boot signature"),
        (450, b"\x83", "no FAT32 partition"),
        (MIB + 32, (40_000).to_bytes(4, "little"), "are FAT12 or FAT16"),
        (MIB + 32 * 512 + 3 * 4, (0).to_bytes(4, "little"), "a chain of clusters leads to 0x0"),
        (MIB + 32 * 512 + 3 * 4, (3).to_bytes(4, "little"), "a chain of clusters leads to 0x3"),
    ],
)
def test_damaged_image_is_refused_and_a_board_with_it_stays_silent(tmp_path, at, data, sentence):
    path = tmp_path / "a.img"
    write_image(path, {"kernel.img": b"k" * 5000, "config.txt": b""}, label="PIE0")
    assert read_card(path, ram_bytes=512 * MIB).entry == 0x8000
    _spoil(path, at, data)
    with pytest.raises(FatError, match=sentence):
        FatVolume(path).read("kernel.img")
    boot = read_card(path, ram_bytes=512 * MIB)
    assert boot.entry is None
    assert any(sentence in note and "stays silent" in note for note in boot.notes)


@pytest.mark.parametrize("as_image", [True, False], ids=["image", "folder"])
def test_sd_write_gives_a_card_that_the_simulator_boots(tmp_path, monkeypatch, capsys, boot_files, as_image):
    dest = tmp_path / ("card.img" if as_image else "PIE2")
    if not as_image:
        dest.mkdir()
        monkeypatch.setattr(mount, "mounted_filesystem", lambda path: "vfat" if path == dest else None)
    arguments = ["--rank", "2", "--world", "4", "--model", "tiny", "--boot-files", str(boot_files)]
    assert main(["sd", "write", *arguments, str(dest)]) == 0
    shown = capsys.readouterr().out
    boot = read_card(dest, ram_bytes=512 * MIB)
    loads = {load.name: load for load in boot.loads}
    assert loads["kernel.img"].address == 0x8000
    assert loads["shard.bin"].address == 0x2000000
    assert boot.notes == []
    for name in ("kernel.img", "shard.bin"):
        assert f"{zlib.crc32(loads[name].data):08x}" in shown
    with Simulation([BoardConfig(dest)], Netlist(), seed=1) as sim:
        sim.power_on(0)
        assert sim.run(3_000_000_000, stop_on_rx=[0]), "the bootloader said nothing"
        sim.run(sim.time_ns + 20_000_000)
        assert (0x11112222).to_bytes(4, "little") in sim.uart_read(0), "it asked for no image"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["PIE0"], "PIE0: is neither a mounted card nor a new image file in a folder that exists"),
        (["nowhere/card.img"], "nowhere/card.img: is neither a mounted card nor a new image file"),
        (["folder"], "folder: is a folder of this computer, no card is mounted there"),
        (["old.img"], "old.img: exists already; remove it"),
        (["/proc"], "/proc: has file system proc, a board boots from FAT32 only"),
        (["new.img", "--rank", "4"], "rank 4: a ring of 4 boards has ranks 0 to 3"),
        (["new.img", "--world", "17", "--rank", "16"], "--world 17: a ring has 1 to 16 boards"),
        (["new.img", "--model", "nowhere.bin"], "nowhere.bin"),
        (["new.img", "--boot-files", "folder"], "folder: has no bootcode.bin, start.elf, fixup.dat; name a folder"),
        (["new.img", "--label", "NO GOOD"], "card label 'NO GOOD'"),
    ],
)
def test_sd_write_refuses_and_makes_nothing(tmp_path, monkeypatch, capsys, arguments, sentence):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "old.img").write_bytes(b"old")
    assert main(["sd", "write", "--rank", "0", "--model", "tiny", *arguments]) == 1
    error = capsys.readouterr().err
    assert sentence in error
    assert error.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder", "old.img"]
    assert list((tmp_path / "folder").iterdir()) == []


def test_sd_write_wants_boot_files_and_room_on_a_mounted_card(tmp_path, monkeypatch, capsys, boot_files):
    dest = tmp_path / "PIE0"
    dest.mkdir()
    monkeypatch.setattr(mount, "mounted_filesystem", lambda _: "msdos")
    command = ["sd", "write", "--rank", "0", "--model", "tiny", str(dest)]
    assert main(command) == 1
    assert "has no bootcode.bin, start.elf, fixup.dat, so the board would stay silent" in capsys.readouterr().err
    usage = type("Usage", (), {"free": 1000})
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    assert main([*command, "--boot-files", str(boot_files)]) == 1
    assert "1,000 bytes are free" in capsys.readouterr().err
    assert list(dest.iterdir()) == []


def test_mount_tables_are_read():
    linux = parse_mountinfo(
        "36 35 98:0 / / rw - ext4 /dev/root rw\n"
        "40 36 8:1 / /media/a/MY\\040CARD rw,nosuid shared:1 - vfat /dev/sdb1 rw\n"
    )
    assert linux == {"/": "ext4", "/media/a/MY CARD": "vfat"}
    mac = parse_mount_output(
        "/dev/disk3s1 on / (apfs, local)\n/dev/disk4s1 on /Volumes/MY PIE0 (msdos, local, nodev)\n"
    )
    assert mac == {"/": "apfs", "/Volumes/MY PIE0": "msdos"}


def test_a_plain_folder_is_no_mount_and_proc_is_one(tmp_path):
    assert mounted_filesystem(tmp_path) is None
    assert mounted_filesystem(Path("/proc")) == "proc"


def test_shard_and_synth_show_what_they_wrote(tmp_path, capsys):
    model = tmp_path / "model.bin"
    assert main(["synth", "260K", str(model), "--seed", "7"]) == 0
    assert "1,056,540 bytes" in capsys.readouterr().out
    assert main(["shard", str(model), "4", str(tmp_path / "out")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[-2] for line in lines] == [
        "layers [0, 2)", "layers [2, 4)", "layers [4, 5)", "embedding + head",
    ]  # fmt: skip
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [f"rank{n}.bin" for n in range(4)]


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("out/rank1.bin", ["shard", "tiny", "4", "out"]),
        ("out/joined.bin", ["shard", "tiny", "4", "out", "--joined"]),
        ("out.bin", ["synth", "260K", "out.bin"]),
        ("words.bin", ["synth", "260K", "out.bin", "--tokenizer", "words.bin"]),
    ],
)
def test_shard_and_synth_replace_nothing_unless_told(tmp_path, monkeypatch, capsys, name, command):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "out").mkdir()
    Path(name).write_text("a week's work")
    assert main(command) == 1
    said = f"hil {command[0]}: {name}: is there already; name another file, or replace it with --force\n"
    assert capsys.readouterr().err == said
    assert Path(name).read_text() == "a week's work"
    assert main([*command, "--force"]) == 0
    assert Path(name).stat().st_size > 1000


def test_synth_writes_a_tokenizer_with_which_the_model_can_be_run(tmp_path, capsys):
    model, tokenizer = tmp_path / "model.bin", tmp_path / "words.bin"
    assert main(["synth", "260K", str(model), "--tokenizer", str(tokenizer)]) == 0
    loaded = load_model(str(model), str(tokenizer))
    assert loaded.tokenizer.vocab_size == 512
    assert loaded.tokenizer.decode_all(loaded.tokenizer.encode("any text: ä")) == "any text: ä"
    with pytest.raises(TokenizerError, match="a vocabulary of 99; specials and bytes need 259: choose a larger one"):
        synthesize_tokenizer(replace(loaded.weights.config, vocab_size=99), tokenizer)


def test_shard_writes_the_file_for_one_board_that_plays_every_rank(tmp_path, capsys):
    assert main(["shard", "tiny", "3", str(tmp_path / "out"), "--joined"]) == 0
    assert "all ranks" in capsys.readouterr().out
    parts = [(tmp_path / "out" / f"rank{n}.bin").read_bytes() for n in range(3)]
    assert (tmp_path / "out" / "joined.bin").read_bytes() == b"".join(parts)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("shape", "size", "table"),
    [
        ("42M", 167_020_572, ["layers [0, 3)", "layers [3, 6)", "layers [6, 8)", "embedding + head"]),
        ("110M", 438_381_596, ["layers [0, 4)", "layers [4, 8)", "layers [8, 12)", "embedding + head"]),
    ],
)
def test_shards_of_the_large_shapes_have_the_layer_table(tmp_path, capsys, shape, size, table):
    model = tmp_path / "model.bin"
    assert main(["synth", shape, str(model)]) == 0
    assert model.stat().st_size == size
    capsys.readouterr()
    assert main(["shard", str(model), "4", str(tmp_path / "out")]) == 0
    assert [line.split("  ")[-2] for line in capsys.readouterr().out.splitlines()] == table
    shutil.rmtree(tmp_path)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["synth", "43M", "out.bin"], "no shape is named '43M'; choose one of 260K, 15M, 42M, 110M"),
        (["synth", "260K", "nowhere/out.bin"], "there is no folder"),
        (["shard", "tiny", "17", "out"], "world size 17: a ring has 1 to 16 boards"),
        (["shard", "nowhere.bin", "4", "out"], "nowhere.bin"),
        (["shard", "tiny", "4", "no/where"], "there is no folder"),
    ],
)
def test_shard_and_synth_refuse_in_one_sentence(tmp_path, monkeypatch, capsys, arguments, sentence):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 1
    error = capsys.readouterr().err
    assert sentence in error
    assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
