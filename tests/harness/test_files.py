"""A file is written whole or not at all, and leaves nothing unfinished behind."""

import os

import pytest

from hil.files import atomically, write_atomically


def test_text_and_bytes_arrive_as_they_are_with_the_rights_of_any_file(tmp_path):
    write_atomically(tmp_path / "new" / "a.txt", "größe\r\n")
    write_atomically(tmp_path / "new" / "b.bin", b"\x00\xff")
    (tmp_path / "plain").touch()
    assert (tmp_path / "new" / "a.txt").read_bytes() == "größe\r\n".encode()
    assert (tmp_path / "new" / "b.bin").read_bytes() == b"\x00\xff"
    assert (tmp_path / "new" / "a.txt").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_file_and_folder_are_on_the_disk_before_the_call_returns(tmp_path, monkeypatch):
    synced, real = [], os.fsync
    monkeypatch.setattr(os, "fsync", lambda fd: (synced.append(os.readlink(f"/proc/self/fd/{fd}")), real(fd)))
    write_atomically(tmp_path / "a", "text")
    assert synced[0].endswith(".part")
    assert synced[1:] == [str(tmp_path)]


@pytest.mark.parametrize("when", ["in the block", "at the disk", "at the name"])
def test_what_was_there_stays_when_writing_fails(tmp_path, monkeypatch, when):
    kept = tmp_path / "kept"
    kept.write_text("before")

    def fail(*_):
        raise OSError(28, "No space left on device")

    if when != "in the block":
        monkeypatch.setattr(os, "fsync" if when == "at the disk" else "replace", fail)
    with pytest.raises(OSError, match="No space left"), atomically(kept) as part:
        part.write_text("half")
        if when == "in the block":
            fail()
    assert [entry.name for entry in tmp_path.iterdir()] == ["kept"]
    assert kept.read_text() == "before"


def test_block_that_makes_no_file_changes_nothing(tmp_path):
    (tmp_path / "kept").write_text("before")
    with atomically(tmp_path / "kept"):
        pass
    assert (tmp_path / "kept").read_text() == "before"


def test_two_writers_at_once_both_finish_and_the_later_stays(tmp_path):
    with atomically(tmp_path / "a") as first:
        first.write_text("first")
        with atomically(tmp_path / "a") as second:
            second.write_text("second")
        assert (tmp_path / "a").read_text() == "second"
    assert (tmp_path / "a").read_text() == "first"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a"]
