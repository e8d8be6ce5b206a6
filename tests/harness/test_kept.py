"""Kept folders: made once, checked at every use, whole or not there; and the package's own places."""

import multiprocessing
import os

import pytest

from hil import data
from hil.kept import SUMS, kept_folder
from hil.model.bundle import load_model
from hil.toolchain import build_image


def write(folder):
    (folder / "a").write_bytes(b"some bytes")


def test_folder_is_made_once(tmp_path):
    folder = kept_folder(tmp_path / "x", write)
    assert kept_folder(folder, lambda _: pytest.fail("made again")) == folder
    assert sorted(path.name for path in tmp_path.rglob("*")) == [SUMS, "a", "x"], "no lock and no part stays"


@pytest.mark.parametrize("spoil", ["flip", "cut", "remove", "sums"])
def test_damage_is_said_and_mended(tmp_path, spoil):
    folder = kept_folder(tmp_path / "x", write)
    file = folder / (SUMS if spoil == "sums" else "a")
    data = bytearray(file.read_bytes())
    data[0] ^= 1
    file.unlink() if spoil == "remove" else file.write_bytes(data[:3] if spoil == "cut" else data)
    said = []
    kept_folder(folder, write, say=said.append)
    assert (folder / "a").read_bytes() == b"some bytes"
    assert len(said) == 1
    assert str(folder / "a") in said[0]
    assert said[0].endswith("; it is made again")
    kept_folder(folder, lambda _: pytest.fail("made again"))


def test_folder_without_sums_is_made_anew_in_silence(tmp_path):
    (tmp_path / "x").mkdir()
    kept_folder(tmp_path / "x", write, say=lambda text: pytest.fail(text))
    assert (tmp_path / "x" / "a").exists()


def test_maker_that_fails_leaves_nothing(tmp_path):
    with pytest.raises(ZeroDivisionError):
        kept_folder(tmp_path / "x", lambda _: 1 / 0)
    assert list(tmp_path.iterdir()) == []


def _keep(folder, made):
    def make(part):
        made.put(os.getpid())
        write(part)

    kept_folder(folder, make)


def test_processes_at_once_make_it_once(tmp_path):
    made = multiprocessing.Queue()
    makers = [multiprocessing.Process(target=_keep, args=(tmp_path / "x", made)) for _ in range(6)]
    for maker in makers:
        maker.start()
    for maker in makers:
        maker.join()
    assert [maker.exitcode for maker in makers] == [0] * 6
    made.get(timeout=10)
    assert made.empty(), "made more than once"


def test_flipped_bit_in_a_kept_shard_or_image_is_said(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HIL_CACHE", str(tmp_path))
    shard = load_model("tiny").shards(4)[1]
    good = shard.read_bytes()
    shard.write_bytes(good[:-1] + bytes([good[-1] ^ 0x10]))
    assert load_model("tiny").shards(4)[1].read_bytes() == good
    assert f"{shard}: is not as it was written (SHA-256" in capsys.readouterr().err
    image = build_image("kernel")
    image.path.write_bytes(b"\1" + image.path.read_bytes()[1:])
    assert build_image("kernel") == image
    assert f"{image.path}: is not as it was written (SHA-256" in capsys.readouterr().err


def test_where_no_folder_can_be_written_it_is_a_private_temporary_one(tmp_path, monkeypatch):
    monkeypatch.setattr(data, "_REPOSITORY", tmp_path / "file")
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setattr(data.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr(data.tempfile, "tempdir", str(tmp_path))
    found = data.build_path()
    assert found == tmp_path / f"pi-ring-hil-{os.getuid()}"
    assert found.stat().st_mode & 0o777 == 0o700
    found.chmod(0o777)
    assert data.build_path() != found, "what anybody can write is not ours"


def test_zig_gets_a_folder_where_the_home_has_none(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("HIL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    monkeypatch.delenv("ZIG_GLOBAL_CACHE_DIR", raising=False)
    assert data.compiler_environment()["ZIG_GLOBAL_CACHE_DIR"] == str(tmp_path / "cache" / "zig")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert "ZIG_GLOBAL_CACHE_DIR" not in data.compiler_environment()
