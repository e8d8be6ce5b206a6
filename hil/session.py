"""A session: from what the user asked for to a ring that is open.

Used by the command line and the plugin alike. Owns: building images and shards, opening desks.
"""

from __future__ import annotations

import platform
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from hil.board.board import Board
from hil.checks.ask_wires import ask_wires
from hil.desk.desk import Desk, open_desk
from hil.model.bundle import Model, load_model
from hil.model.plan import TrainingSize, arm_bytes, check_fits, plan_boards
from hil.rig.config import load_rig
from hil.rig.needs import Need
from hil.rig.specs import RigConfig
from hil.ring.boot import BootTimes
from hil.ring.ring import Ring
from hil.runs import Run
from hil.settings import Compiler, Settings
from hil.toolchain import Image, build_image

LOOPBACK_RANKS = 4
"""Ranks that a simulated board with loopback jumpers plays."""


class Session:
    """Settings resolved: the rig's description, the model, the images. Nothing is open yet.

    Args:
        verb: what the run's folder is named for.
    Raises: RigError or ModelError from the constructor when rig or model are wrong.
    """

    def __init__(self, settings: Settings, *, verb: str = "run") -> None:
        self.settings = settings
        self._verb = verb
        self._run: Run | None = None
        self.config: RigConfig = load_rig(settings.rig, world_size=settings.world_size)
        self.model: Model = load_model(settings.model, settings.tokenizer, any_tables=settings.tables == "any")
        self._images: dict[tuple[str, str], Image] = {}

    @property
    def logs(self) -> Path:
        """The folder of logs that the user named, or of this run; made when it is first asked for. Raises RunError."""
        if self.settings.logs is not None:
            return self.settings.logs
        if self._run is None:
            self._run = Run(self._verb, keep=self.settings.keep)
        return self._run.folder

    def image(self, name: Literal["kernel", "ring"], compiler: Compiler | None = None) -> Image:
        """A firmware image, built when it is first asked for."""
        chosen = compiler or self.settings.compiler
        if (name, chosen) not in self._images:
            self._images[name, chosen] = build_image(name, compiler=chosen, baud=self.config.baud_at_boot)
        return self._images[name, chosen]

    def check_memory(self, training: TrainingSize | None = None, config: RigConfig | None = None) -> None:
        """Refuse a generation, or a training of this size, that would not fit the boards of the rig (or another one).

        Raises: ModelError with the board that is over by most, and by how much.
        """
        config = config or self.config
        world_size, one_board = config.world_size, config.is_loopback
        if config.is_loopback and config.sim is not None:
            world_size = LOOPBACK_RANKS
        arm = [arm_bytes(spec.memory_mb, config.gpu_mem) for spec in config.boards]
        plans = plan_boards(self.model.weights.config, world_size, arm, training=training, one_board=one_board)
        check_fits(plans, "the generation" if training is None else "the training")

    def open_ring(
        self,
        config: RigConfig | None = None,
        *,
        logs: Path | None = None,
        shards: bool = True,
        work: Path | None = None,
    ) -> Ring:
        """Open the rig (or another one) with its boards not booted yet. Close with `ring.desk.close()`.

        Args:
            config: instead of the session's rig.
            logs: folder of the logs instead of the session's.
            shards: whether simulated boards get the model's shards on their cards; a board with loopback jumpers
                gets all of them.
            work: folder of simulated boards' cards instead of the session's.
        Raises: RigError, PortError.
        """
        config = config or self.config
        simulated = config.sim is not None
        files = self.card_shards(config) if shards and simulated else []
        desk: Desk = open_desk(
            config,
            logs or self.logs,
            seed=self.settings.seed,
            kernel=self.image("kernel") if simulated else None,
            shards=files or None,
            work=work or self.settings.work,
            faults=self.settings.faults if config.name == self.config.name else (),
        )
        ring = Ring(desk)
        ring.ask_wires = ask_wires
        return ring

    def card_shards(self, config: RigConfig) -> list[Path | None]:
        """The model's shards for the cards of simulated boards; a board with loopback jumpers gets all in one."""
        if config.is_loopback:
            return [self.model.joined_shards(LOOPBACK_RANKS)]
        return list(self.model.shards(config.world_size))

    def boot(
        self,
        ring: Ring,
        *,
        on_board: Callable[[Board, float], None] | None = None,
        on_progress: Callable[[str], None] | None = None,
    ) -> BootTimes:
        """Boot the session's ring image on every board of an open ring."""
        return ring.boot(self.image("ring"), on_board=on_board, on_progress=on_progress or _tell)

    def loopback_config(self) -> RigConfig:
        """The rig for loopback checks: the session's own if it is one, the simulated one for `sim`.

        Raises RigError for a rig whose board 0 has no loopback jumpers.
        """
        if self.settings.rig == "sim":
            return load_rig("sim-loopback")
        Need.LOOPBACK.require(self.config)
        return self.config

    def probe_config(self) -> RigConfig:
        """The rig for checks with a probe: the session's own if it has one, the simulated one for `sim`.

        Raises RigError for a rig without a probe.
        """
        if self.settings.rig == "sim":
            return load_rig("sim-probe")
        Need.PROBE.require(self.config)
        return self.config

    def describe(self) -> list[str]:
        """Header lines for a report: rig, seed, firmware."""
        image = self.image("ring")
        kind = "simulated" if self.config.sim is not None else "real ports"
        return [
            f"rig {self.config.name} ({kind}, {_count(self.config.world_size, 'board')}), "
            f"seed {self.settings.seed:#x}, model {self.model.name}",
            f"firmware {image.sha256[:12]} (build {image.build_id.hex()[:12]}, git {image.git_revision}, "
            f"{image.compiler}), host {platform.machine()} {platform.system()}",
        ]


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
