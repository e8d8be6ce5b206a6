"""`hil bench serial`: its figures are those of what really happened."""

from hil.bench.serial import flood, round_trips_ms
from hil.line.log import BoardLog


def test_round_trips_are_measured_one_by_one(tmp_path):
    times = round_trips_ms(30, tmp_path)
    assert len(times) == 30
    assert min(times) > 0
    assert (tmp_path / "pi0.log").read_text().count("response PING") == 30


def test_no_byte_is_lost_and_all_are_counted(tmp_path):
    mb_s, lost = flood(200_000, tmp_path, seed=1)
    assert lost == 0
    assert mb_s > 0
    assert [(tmp_path / f"pi{rank}.raw").stat().st_size for rank in range(4)] == [200_000] * 4


def test_bytes_that_are_not_those_that_were_sent_count_as_lost(tmp_path, monkeypatch):
    received = BoardLog.received
    monkeypatch.setattr(BoardLog, "received", lambda log, data: received(log, bytes([data[0] ^ 1]) + data[1:]))
    assert flood(100_000, tmp_path, seed=1)[1] == 400_000
