"""A channel by itself: frames with whatever runs already, without a boot and without a Board."""

import pytest

from hil.board.channel import Channel
from hil.errors import BoardError
from hil.line.log import BoardLog
from hil.line.loop import Loop, WallWaiter
from hil.protocol.messages import Blob, Command, Empty, Event
from hil.rig.specs import BoardSpec
from tests.harness.doubles import Behaviour, BoardDouble


class RunningDouble(BoardDouble):
    """Its image runs already."""

    def _boot(self) -> bool:
        return True


@pytest.fixture
def line(tmp_path):
    """line(behaviour) -> (channel, double) that are connected."""
    made = []

    def make(behaviour: Behaviour):
        double = RunningDouble(bytes(range(16)), behaviour)
        loop, log = Loop(WallWaiter()), BoardLog(tmp_path, 0)
        made.append((loop, double, log))
        channel = Channel(BoardSpec(0, double.path), loop, log, 115200)
        double.power_on()
        return channel, double

    yield make
    for loop, double, log in made:
        loop.close()
        double.close()
        log.close()


def test_commands_are_executed_once_and_events_are_kept(line):
    channel, double = line(Behaviour(lose_responses=1, repeat_responses=1))
    heard = []
    channel.on_event = lambda one, noted: heard.append((one, noted.event))
    assert channel.command(Command.PING, Blob(b"abc"), Blob, timeout_s=30).data == b"abc"
    assert channel.command(Command.PING, Blob(b"def"), Blob, timeout_s=30).data == b"def"
    assert double.executed == [Command.PING, Command.PING]
    assert double.complaints == []
    assert heard == [(channel, Event.READY)]
    assert [noted.event for noted in channel.events] == [Event.READY]
    assert channel.asked == {Command.PING}


def test_every_byte_is_in_the_log_and_damaged_ones_are_counted(line):
    channel, _ = line(Behaviour(garbage_on_ping=b"\x55\xaa\x00"))
    channel.command(Command.PING, Blob(b"x"), Blob, timeout_s=30)
    assert channel.junk_bytes == 2
    assert channel.log.raw_path.stat().st_size == channel.log.size_bytes


def test_refusal_and_a_second_command_in_flight_are_errors(line):
    channel, _ = line(Behaviour(refuse_ping="not now"))
    with pytest.raises(BoardError, match=r"board 0 \(.*\): refuses PING \(BAD_ARGUMENT\): not now; log: "):
        channel.command(Command.PING, Blob(b""), Blob)
    channel.start(Command.PING, Blob(b""))
    with pytest.raises(BoardError, match="IDENTIFY while PING is not answered yet"):
        channel.ask_once(Command.IDENTIFY, Empty(), timeout_s=1)


def test_what_is_forgotten_settles_the_command_in_flight(line):
    channel, _ = line(Behaviour(lose_responses=99))
    settled = []
    channel.start(Command.PING, Blob(b""), on_done=lambda pending: settled.append(pending.error))
    channel.forget("the board was booted anew")
    assert settled == ["the board was booted anew"]
    assert not channel.events
