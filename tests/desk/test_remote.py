"""Remote rigs: boards behind RFC 2217 servers, and every way in which the network lets them down."""

from __future__ import annotations

import os
import queue
import socket
import threading

import pytest
from serial import rfc2217
from serial.rfc2217 import PortManager

from hil.cli import main
from hil.errors import BoardError, PortError
from hil.line.loop import Loop, WallWaiter
from hil.line.port import open_device
from hil.line.remote import open_reason, remote_device
from hil.rig.config import load_rig
from tests.desk.boards import BUILD, GET_PROG_INFO, Bootloader, RunningBoard
from tests.desk.servers import PortServer, free_numbers, ser2net
from tests.harness.test_loop import Terminal


@pytest.fixture
def serve(plug):
    """serve(board) -> an RFC 2217 server for the board's terminal."""
    return lambda board: plug(PortServer(board.path))


@pytest.fixture
def loop():
    made = Loop(WallWaiter())
    yield made
    made.close()


@pytest.fixture
def listener():
    """A socket that listens, whatever the test makes of it."""
    with socket.create_server(("127.0.0.1", 0)) as made:
        yield made


def url_of(listener: socket.socket) -> str:
    return f"rfc2217://127.0.0.1:{listener.getsockname()[1]}"


def greet(listener: socket.socket, words: bytes) -> threading.Thread:
    """Say something to everybody who comes, and hang up."""

    def run() -> None:
        try:
            while True:
                with listener.accept()[0] as client:
                    client.sendall(words)
        except OSError:
            return

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread


def test_every_byte_value_crosses_both_ways(plug, serve, loop):
    """0xff is telnet's escape: it must come through doubled and undoubled."""
    terminal = plug(Terminal())
    got = bytearray()
    data = bytes(range(256)) * 40
    port = loop.open_port(serve(terminal).url, 115200, got.extend)
    os.write(terminal.master, data[:4000])
    port.write(data[:4000])
    back = b""
    while len(back) < 4000:
        back += os.read(terminal.master, 4000)
    assert loop.run_until(lambda: len(got) >= 4000, 20)
    assert bytes(got) == data[:4000] == back


def test_image_for_a_slow_line_leaves_in_parts(monkeypatch):
    """pyserial's time limit is for one write: 5 s, in which 9600 baud carry 4,800 bytes."""
    parts = []
    monkeypatch.setattr(rfc2217.Serial, "write", lambda self, data: parts.append(bytes(data)))
    image = bytes(range(256)) * 300
    assert remote_device("rfc2217://lab:4000", 115200, 0.1).write(image) == len(image)
    assert b"".join(parts) == image
    assert max(map(len, parts)) <= 4800


def test_telnet_commands_may_be_cut_anywhere(monkeypatch):
    """Data with doubled escapes, an option, an answer with an escape in it, a command of two bytes."""
    stream = (
        b"ab\xff\xffc" + b"\xff\xfb\x2c" + b"d" + b"\xff\xfa\x2c\x65\x00\xff\xff\xc2\x00\xff\xf0" + b"\xff\xf1e\xff\xff"
    )
    said: list[tuple[bytes, ...]] = []
    port = remote_device("rfc2217://lab:4000", 115200, 0.1)
    monkeypatch.setattr(port, "_telnet_negotiate_option", lambda *words: said.append(words))
    monkeypatch.setattr(port, "_telnet_process_subnegotiation", lambda *words: said.append(words))
    for cut in range(len(stream) + 1):
        said.clear()
        monkeypatch.setattr(port, "_read_buffer", queue.Queue())
        assert port._decode(port._decode(stream[:cut]) + stream[cut:]) == b""
        assert b"".join(port._read_buffer.queue) == b"ab\xffcde\xff", f"cut at {cut}"
        assert said == [(b"\xfb", b"\x2c"), (b"\x2c\x65\x00\xff\xc2\x00",)], f"cut at {cut}"


def test_subnegotiation_without_end_is_data_after_a_while(monkeypatch):
    """A server that is none cannot make the host keep everything it says."""
    port = remote_device("rfc2217://lab:4000", 115200, 0.1)
    monkeypatch.setattr(port, "_read_buffer", queue.Queue())
    junk = b"\xff\xfa" + bytes(5000)
    assert port._decode(junk) == b""
    assert b"".join(port._read_buffer.queue) == junk


def test_nobody_listens():
    (number,) = free_numbers(1)
    with pytest.raises(PortError, match=f"nothing listens at port {number} of 127.0.0.1; start the"):
        open_device(f"rfc2217://127.0.0.1:{number}", 115200)
    with pytest.raises(PortError, match=f"nothing listens at port {number}"):
        open_device(f"socket://127.0.0.1:{number}", 115200)


def test_board_is_named_when_its_port_cannot_be_opened(plug, serve, desk_of):
    good = serve(plug(RunningBoard(BUILD)))
    (number,) = free_numbers(1)
    with pytest.raises(PortError, match=f"^board 1: port rfc2217://127.0.0.1:{number}: nothing listens"):
        desk_of(good.url, f"rfc2217://127.0.0.1:{number}")


@pytest.mark.parametrize("url", ["rfc2217://lab", "rfc2217://:4000", "rfc2217://lab:70000", "rfc2217://lab:x"])
def test_url_without_host_or_number_is_refused(url):
    with pytest.raises(PortError, match=f"port {url}: names no host and port; write rfc2217://HOST:NUMBER"):
        open_device(url, 115200)


def test_unknown_host():
    with pytest.raises(PortError, match=r"host no-such-host.invalid is not known; correct its name in the rig file"):
        open_device("rfc2217://no-such-host.invalid:4000", 115200)


def test_server_that_speaks_no_rfc_2217(listener):
    """It takes the connection and never answers."""
    with pytest.raises(PortError, match=r"does not speak RFC 2217, or hangs .*`accepter: telnet\(rfc2217\),tcp"):
        open_device(f"{url_of(listener)}?timeout=0.2", 115200)


def test_server_that_hangs_up_without_a_word(listener):
    greet(listener, b"")
    with pytest.raises(PortError, match=r"does not speak RFC 2217, or hangs up without a word"):
        open_device(f"{url_of(listener)}?timeout=0.2", 115200)


def test_server_that_leaves_a_setting_unanswered_is_told_from_one_that_is_none(plug, serve, monkeypatch):
    answer = PortManager._telnet_process_subnegotiation
    monkeypatch.setattr(
        PortManager,
        "_telnet_process_subnegotiation",
        lambda self, request: None if request[1:2] == rfc2217.SET_CONTROL else answer(self, request),
    )
    url = serve(plug(Terminal())).url
    with pytest.raises(PortError, match=r"the server does not answer a setting \(.*\); add \?ign_set_control"):
        open_device(f"{url}?timeout=0.3", 115200)
    open_device(f"{url}?ign_set_control", 115200).close()


def test_host_that_does_not_answer():
    """No address outside this computer is asked for it."""
    assert open_reason("rfc2217://lab:4000", TimeoutError("timed out")) == (
        "lab does not answer; is it on, and is port 4000 open in its firewall?"
    )


def test_raw_socket_carries_every_byte_and_its_end_is_told(listener, loop):
    got = bytearray()
    port = loop.open_port(f"socket://127.0.0.1:{listener.getsockname()[1]}", 115200, got.extend)
    data = bytes(range(256)) * 8
    with listener.accept()[0] as server:
        server.sendall(data)
        assert loop.run_until(lambda: len(got) >= len(data), 20)
        port.write(data)
        back = b""
        while len(back) < len(data):
            back += server.recv(65536)
    assert bytes(got) == data == back
    assert loop.run_until(lambda: port.failure is not None, 20)
    assert "is the serial server on 127.0.0.1 still running" in port.failure


def test_server_that_has_another_client_says_so(listener):
    greet(listener, b"Port already in use\r\n")
    with pytest.raises(PortError, match=r"is in use by another computer \(the server says: Port already in use\)"):
        open_device(f"{url_of(listener)}?timeout=0.2", 115200)


def test_servers_words_are_shown_escaped(listener):
    greet(listener, b"\xff\xfd\x2c\x1b[31mno such device\xfe\r\n")
    with pytest.raises(PortError, match=r"it says: \[31mno such device\\xfe$"):
        open_device(f"{url_of(listener)}?timeout=0.2", 115200)


def test_rig_init_asks_through_the_network(plug, serve, tmp_path, capsys):
    boards = [plug(RunningBoard(BUILD, rank=rank, world_size=2)) for rank in (1, 0)]
    for board in boards:
        board.power_on()
    urls = [serve(board).url for board in boards]
    path = tmp_path / "network.toml"
    assert main(["rig", "init", str(path), "--ports", *urls]) == 0, capsys.readouterr()
    assert [spec.port for spec in load_rig(str(path)).boards] == urls[::-1]


def test_second_client_of_ser2net_is_told_so(plug, tmp_path):
    board = plug(RunningBoard(BUILD))
    with ser2net([board.path], tmp_path) as (number,):
        url = f"rfc2217://127.0.0.1:{number}"
        first = open_device(url, 115200)
        try:
            with pytest.raises(PortError, match=r"is in use by another computer"):
                open_device(f"{url}?timeout=0.5", 115200)
        finally:
            first.close()


def test_connection_dropped_while_a_command_waits_names_board_and_server(plug, serve, desk_of):
    server = serve(plug(RunningBoard(BUILD)))
    desk = desk_of(server.url)
    board = desk.boards[0]
    board.call_later(0.05, server.close)
    with pytest.raises(BoardError) as caught:
        board.identify()
    assert str(caught.value) == (
        f"board 0: port {server.url}: reading failed: the connection was closed; "
        "is the serial server on 127.0.0.1 still running, and the adapter plugged in there?"
    )


def test_connection_that_is_dropped_is_made_again(plug, serve):
    master = plug(Bootloader())
    loop, got, back = Loop(WallWaiter(), reconnect_s=20), bytearray(), []
    try:
        server = serve(master)
        port = loop.open_port(server.url, 115200, got.extend)
        port.on_back = back.append
        assert loop.run_until(lambda: GET_PROG_INFO in got, 20)
        server.drop()
        assert loop.run_until(lambda: bool(back), 20)
        got.clear()
        assert loop.run_until(lambda: GET_PROG_INFO in got, 20), "bytes come through the new connection"
    finally:
        loop.close()


def test_bytes_that_came_before_the_connection_broke_are_not_lost(plug, serve, loop):
    got = bytearray()
    data = bytes(range(255)) * 400
    server = serve(plug(Terminal()))
    port = loop.open_port(server.url, 115200, got.extend)
    server.say(data)
    server.drop()
    assert loop.run_until(lambda: port.failure is not None, 20)
    assert bytes(got) == data
    assert "the connection was closed" in port.failure
