"""Other people's images: `hil run`, `board.boot`, `board.expect`, on pseudo-terminals and on simulated boards."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from hil.board.text import BoardText
from hil.cli import main
from hil.errors import BoardError, PortError
from tests.desk.boards import GET_PROG_INFO, Bootloader
from tests.sim.programs import assemble

HELLO = """
main:
    mov r0, #26
    mov r1, #3
    bl uart_init
    adr r4, text
1:  ldrb r0, [r4], #1
    cmp r0, #0
    beq stop
    bl putc
    b 1b
text: .asciz "hello from a board\\r\\n\\033[31mDONE!!!\\n"
    .align 2
"""

QPU_PROGRAM = """
main:
    ldr r4, =MAIL
    ldr r5, =enable + 8
    str r5, [r4, #0x20]
1:  ldr r1, [r4, #0x18]
    tst r1, #1 << 30
    bne 1b
    ldr r1, [r4]
    ldr r4, =0x20c00430
    ldr r5, =0x40000000 + program
    str r5, [r4]
2:  ldr r0, [r4, #0xc]
    tst r0, #0xff0000
    beq 2b
    b stop
    .balign 16
enable: .word 32, 0, 0x00030012, 4, 4, 1, 0, 0
program: .word 0x009e7000, 0x100009e7, 0x009e7000, 0x200009e7     @ nop; nop with the signal for a thread switch
"""


def story(*parts: bytes):
    def program(write):
        for part in parts:
            write(part)

    return program


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "theirs.bin"
    path.write_bytes(b"\x01\x02\x03\x04" * 300)
    return path


def test_hil_run_on_simulated_boards(tmp_path, capsys):
    program = tmp_path / "hello.img"
    program.write_bytes(assemble(HELLO))
    arguments = ["--rig", "sim", "--world", "2", "--logs", str(tmp_path / "logs")]
    assert main(["run", str(program), *arguments]) == 0
    shown = capsys.readouterr().out.splitlines()
    for rank in range(2):
        assert f"pi{rank}| hello from a board" in shown
        assert f"pi{rank}| \\x1b[31mDONE!!!" in shown
        assert any(line.startswith(f"pi{rank}: matched 'DONE!!!'; log: ") for line in shown)
        log = (tmp_path / "logs" / f"pi{rank}.log").read_text()
        assert "text     hello from a board" in log
    assert main(["run", str(program), *arguments, "--board", "1", "--until", "goodbye", "--for", "3"]) == 1
    assert "pi1: nothing matched 'goodbye' within 3 s" in capsys.readouterr().out
    assert main(["run", str(program), *arguments, "--board", "0", "--for", "2"]) == 0


def test_hil_run_names_the_qpu_instruction_that_is_not_modelled(tmp_path, capsys):
    program = tmp_path / "qpu.img"
    program.write_bytes(assemble(QPU_PROGRAM))
    at = 0x40000000 + 0x8000 + program.stat().st_size
    assert main(["run", str(program), "--rig", "sim", "--world", "1", "--logs", str(tmp_path / "logs")]) == 1
    shown = capsys.readouterr().err
    match = re.fullmatch(
        r"hil run: rig sim \(simulated\): board 0: QPU 0, instruction 0x200009e7009e7000 at 0x(\w{8}): "
        r"a thread switch is not modelled: user programs have one thread\n",
        shown,
    )
    assert match is not None, shown
    assert 0x40008000 < int(match[1], 16) < at


def test_hil_run_gives_each_board_its_image_and_prefixes_its_text(tmp_path, capsys, plug, rig_file):
    boards = [plug(Bootloader(story(b"I am %d\n" % rank, b"DONE!!!\n"))) for rank in range(3)]
    images = []
    for rank in range(3):
        images.append(tmp_path / f"image{rank}")
        images[-1].write_bytes(bytes([rank]) * 1000)
    rig = rig_file(*(board.path for board in boards))
    assert main(["run", *map(str, images), "--rig", str(rig), "--logs", str(tmp_path / "logs")]) == 0
    shown = capsys.readouterr().out
    for rank, board in enumerate(boards):
        assert board.images == [images[rank].read_bytes()]
        assert f"pi{rank}| I am {rank}\n" in shown
        raw = (tmp_path / "logs" / f"pi{rank}.raw").read_bytes()
        assert raw.endswith(b"I am %d\nDONE!!!\n" % rank)


def test_hil_run_says_which_board_restarted(tmp_path, capsys, plug, rig_file, image):
    good = plug(Bootloader(story(b"DONE!!!")))
    bad = plug(Bootloader(story(b"half a li", GET_PROG_INFO)))
    rig = rig_file(good.path, bad.path)
    assert main(["run", str(image), "--rig", str(rig), "--logs", str(tmp_path / "logs")]) == 1
    shown = capsys.readouterr().out
    assert "pi0| DONE!!!" in shown, "the last line counts without its end"
    assert "pi0: matched" in shown
    assert f"pi1: board 1 ({bad.path}): restarted and waits in its bootloader" in shown


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["nowhere.img"], "nowhere.img: cannot read the image: No such file"),
        (["empty.img"], "empty.img: the image is empty"),
        (["big.img"], "big.img: image of 3000000 bytes at 0x8000 ends at"),
        (["ok.img", "ok.img", "ok.img"], "3 images for 2 boards; give one for all, or one per board"),
        (["ok.img", "--board", "2"], "--board 2: rig sim has boards 0 to 1"),
        (["ok.img", "--until", "("], "--until '(': not a regular expression"),
        (["ok.img", "--for", "-1"], "--for -1: give seconds"),
    ],
)
def test_hil_run_refuses_in_one_sentence(tmp_path, monkeypatch, capsys, arguments, sentence):
    monkeypatch.chdir(tmp_path)
    for name, size in (("empty.img", 0), ("big.img", 3_000_000), ("ok.img", 100)):
        (tmp_path / name).write_bytes(b"x" * size)
    assert main(["run", "--rig", "sim", "--world", "2", *arguments]) == 1
    error = capsys.readouterr().err
    assert sentence in error
    assert error.count("\n") == 1


def test_expect_goes_on_after_the_last_match(plug, desk_of, image):
    desk = desk_of(plug(Bootloader(story(b"step 1\nstep 2\r\n", b"loss=", b"0.25\nDONE!!!\n"))).path)
    board = desk.boards[0]
    board.boot(image)
    assert board.expect(r"step (\d)")[1] == "1"
    assert board.expect(r"step (\d)")[1] == "2"
    assert board.expect(re.compile(r"loss=([\d.]+)\n"))[1] == "0.25"
    board.expect("^DONE!!!$", timeout_s=5)


def test_expect_that_fails_shows_pattern_tail_and_log(plug, desk_of, image):
    desk = desk_of(plug(Bootloader(story(b"panic: \x1b[31mno shard\n"))).path)
    board = desk.boards[0]
    board.boot(image)
    board.expect("panic")
    with pytest.raises(BoardError) as caught:
        board.expect("tokens/s", timeout_s=0.2)
    text = str(caught.value)
    assert "nothing matches 'tokens/s' within 0.2 s" in text
    assert r"the text ends: : \x1b[31mno shard\n" in text
    assert f"log: {desk.logs}/pi0.log" in text


def test_expect_ends_early_when_the_board_restarts(plug, desk_of, image):
    desk = desk_of(plug(Bootloader(story(b"oops\n", GET_PROG_INFO))).path)
    desk.boards[0].boot(image)
    with pytest.raises(BoardError, match=r"(?s)restarted and waits in its bootloader.*oops"):
        desk.boards[0].expect("DONE", timeout_s=3600)


def test_expect_before_a_boot_says_what_to_do(plug, desk_of):
    with pytest.raises(BoardError, match=r"booted with board.boot\(path\)"):
        desk_of(plug(Bootloader()).path).boards[0].expect("x")


def test_boot_of_a_board_that_is_gone_says_so_and_how_to_start_it(desk_of, image):
    double = Bootloader()
    plugged = desk_of(double.path).boards[0]
    double.close()
    with pytest.raises(BoardError, match="still plugged in.*to start it anew: short RUN to ground"):
        plugged.boot(image, timeout_s=20)
    with pytest.raises(BoardError, match="still plugged in.*to start it anew"):
        plugged.boot(image, timeout_s=20)  # a pseudo-terminal's number may be another's by now


def test_second_desk_on_the_same_ports_is_told_who_has_them(plug, desk_of):
    path = plug(Bootloader()).path
    desk_of(path)
    with pytest.raises(PortError, match=rf"port {path}: is in use by another program: process \d+, .*rig desk"):
        desk_of(path)


def test_text_is_cut_into_lines_and_searched_across_them():
    lines: list[tuple[bytes, int]] = []
    text = BoardText(lambda line, size: lines.append((line, size)))
    text.feed(b"one\r\ntw")
    text.feed(b"o\n" + b"x" * 5000 + b"\xff\xfe")
    text.finish()
    assert [(line[:4], size) for line, size in lines] == [(b"one", 5), (b"two", 4), (b"xxxx", 4096), (b"xxxx", 906)]
    match = text.search(re.compile("two\nx+"))
    assert match is not None
    assert text.tail() == b"\xff\xfe"
    assert text.search(re.compile("one")) is None


def test_board_fixture_boots_their_image_and_the_next_test_has_a_ring_again(pytester, tmp_path):
    program = tmp_path / "hello.img"
    program.write_bytes(assemble(HELLO))
    pytester.makepyfile(f"""
        import pytest

        def test_theirs(boards):
            boards[1].boot({str(program)!r})
            assert boards[1].expect("hello from a (.*)")[1].strip() == "board"

        def test_theirs_fails(boards):
            boards[0].boot({str(program)!r})
            boards[0].expect("never said", timeout_s=1)

        def test_ours(ring, boards):
            assert all(board.identify().rank == board.rank for board in boards)
    """)
    result = pytester.runpytest("--hil-world", "2")
    result.assert_outcomes(passed=2, failed=1)
    result.stdout.fnmatch_lines(
        ["*nothing matches 'never said' within 1 s*", "*the text ends:*", "*log: .hil/runs/*-pytest/pi0.log*"]
    )
