"""Boot protocol, host side, word by word as docs/protocol.md describes it."""

import struct
import zlib

import pytest

from hil.protocol.boot import IMAGE_BYTES_MAX, BootError, BootSession, BootState, Print, Send, Skipped, check_image

IMAGE = bytes(range(256)) * 3


def words(*values: int) -> bytes:
    return struct.pack(f"<{len(values)}I", *values)


GET_PROG_INFO = words(0x11112222)
CRC = zlib.crc32(IMAGE)
OFFER = words(0x33334444, 0x8000, len(IMAGE), CRC)
GET_CODE = words(0x55556666, CRC)
SUCCESS = words(0x9999AAAA)
ERROR = words(0xBBBBCCCC)


def offered() -> BootSession:
    session = BootSession(IMAGE)
    assert list(session.feed(GET_PROG_INFO)) == [Send(OFFER)]
    return session


def sending() -> BootSession:
    session = offered()
    assert list(session.feed(GET_CODE)) == [Send(words(0x77778888) + IMAGE)]
    return session


def test_upload_word_by_word():
    session = sending()
    assert list(session.feed(SUCCESS + b"after")) == []
    assert session.state is BootState.DONE
    assert session.leftover == b"after"


def test_upload_byte_by_byte_is_the_same():
    session, sent = BootSession(IMAGE), b""
    for byte in GET_PROG_INFO + GET_CODE + SUCCESS:
        sent += b"".join(a.data for a in session.feed(bytes([byte])) if isinstance(a, Send))
    assert sent == OFFER + words(0x77778888) + IMAGE
    assert session.state is BootState.DONE


def test_firmware_text_before_the_bootloader_is_skipped_and_kept():
    session = BootSession(IMAGE)
    text = b"\x00\xffRaspberry Pi Bootcode\r\n"
    actions = list(session.feed(text + GET_PROG_INFO))
    assert b"".join(a.data for a in actions if isinstance(a, Skipped)) == text
    assert actions[-1] == Send(OFFER)


def test_print_string_may_come_anywhere():
    session = offered()
    printed, _ = session.feed(words(0xDDDDEEEE, 5) + b"hello" + GET_CODE)
    assert printed == Print(b"hello")
    assert session.state is BootState.SENDING


def test_print_string_of_absurd_length_is_skipped_not_waited_for():
    session = BootSession(IMAGE)
    actions = list(session.feed(words(0xDDDDEEEE, 0x7FFFFFFF) + GET_PROG_INFO))
    assert actions[-1] == Send(OFFER)


def test_one_repeated_question_crosses_the_offer_a_second_is_answered():
    session = offered()
    assert list(session.feed(GET_PROG_INFO)) == []
    assert list(session.feed(GET_PROG_INFO)) == [Send(OFFER)]


def test_wrong_crc_echo_names_the_line():
    with pytest.raises(BootError, match="the serial line damages bytes"):
        list(offered().feed(words(0x55556666, CRC ^ 1)))


def test_refused_offer_repeats_what_the_board_says():
    said = b"image too large"
    with pytest.raises(
        BootError, match=r"refuses an image of 768 bytes at 0x8000 \(the board says: \"image too large\"\)"
    ):
        list(offered().feed(words(0xDDDDEEEE, len(said)) + said + ERROR))


def test_damaged_upload_is_an_error():
    with pytest.raises(BootError, match="arrived damaged"):
        list(sending().feed(ERROR))


def test_board_that_starts_again_mid_upload_is_an_error():
    with pytest.raises(BootError, match="started again in the middle of the upload"):
        list(sending().feed(GET_PROG_INFO))


@pytest.mark.parametrize("image", [b"", b"x" * (IMAGE_BYTES_MAX + 1)])
def test_image_that_cannot_fit_is_refused(image):
    with pytest.raises(BootError, match=r"empty|overlap|bootloader sits at 0x200000"):
        check_image(image)


def test_largest_image_is_accepted():
    check_image(b"x" * IMAGE_BYTES_MAX)
