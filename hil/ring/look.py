"""What boards do for their jobs at one time, and whether anything moves between two such looks.

Message: JobState. A board that computes counts its moves up; so does one whose link moves. Where no board computes and
nothing has moved from one look to the next, every board waits for another: the ring has stopped.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from hil.protocol.link_messages import LinkFault
from hil.protocol.messages import Activity, JobState
from hil.ring.link_faults import FaultReport

STILL_US = 500_000
"""No wait in mid-burst is as long as this; whoever waits so long waits for a burst to begin."""


@dataclass(slots=True)
class Look:
    """The running jobs' states by rank, and for boards that did not answer a sentence each."""

    states: dict[int, JobState] = field(default_factory=dict)
    silent: dict[int, str] = field(default_factory=dict)

    def stands_still_since(self, before: Look) -> bool:
        """Whether the same boards waited on links at both looks, and nothing has moved in between."""
        return bool(self.states) and all(
            state.activity == Activity.LINK
            and state.waited_us >= STILL_US
            and rank in before.states
            and (before.states[rank].job, before.states[rank].moves) == (state.job, state.moves)
            for rank, state in self.states.items()
        )

    def reports(self, time_s: float) -> list[FaultReport]:
        """Where the boards stand that wait for a burst to begin or go on."""
        return [
            FaultReport(
                rank,
                LinkFault(s.bank, s.role, s.phase, s.byte_index, s.burst_bytes, s.gplev0, s.waited_us),
                time_s,
                still=True,
            )
            for rank, s in self.states.items()
            if s.activity == Activity.LINK and s.waited_us >= STILL_US
        ]
