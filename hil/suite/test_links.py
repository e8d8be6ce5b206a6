"""Does every link carry frames, both ways, without resending?"""

import dataclasses

import pytest

from hil.protocol.messages import Bank
from hil.ring import Ring
from hil.session import Session

pytestmark = [pytest.mark.ring, pytest.mark.link]


@pytest.mark.parametrize("reverse", [False, True], ids=["downstream", "upstream"])
@pytest.mark.parametrize("length_bytes", [1, 255, 4096])
def test_every_link_carries_frames(ring: Ring, hil: Session, reverse: bool, length_bytes: int) -> None:
    frames = 4
    for link in ring.desk.config.links:
        before = ring.link_counters(link.source, Bank.DOWNSTREAM)
        sent, received = ring.link_frames(
            link, frames=frames, length_bytes=length_bytes, seed=hil.settings.seed, reverse=reverse
        )
        assert sent.progress == received.progress == frames, f"link {link}"
        assert received.detail == 0, f"link {link}: {received.detail} of {frames} frames have wrong content"
        after = ring.link_counters(link.source, Bank.DOWNSTREAM)
        moved = after.bytes_received - before.bytes_received if reverse else after.bytes_sent - before.bytes_sent
        assert moved == frames * length_bytes, f"link {link}"


def test_links_had_nothing_to_mend(ring: Ring) -> None:
    for link in ring.desk.config.links:
        for rank, bank in ((link.source, Bank.DOWNSTREAM), (link.target, Bank.UPSTREAM)):
            counters = dataclasses.asdict(ring.link_counters(rank, bank))
            troubles = {
                name: counters[name]
                for name in ("resends", "bad_headers", "bad_payloads", "timeouts")
                if counters[name]
            }
            assert not troubles, f"link {link}, board {rank}: {troubles}"
