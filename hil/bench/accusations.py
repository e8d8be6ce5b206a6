"""`hil bench accusations`: faults are set while a job runs; is the one who is to blame named, and nobody else?

Every scenario runs a generation or a step of training on a simulated ring, strikes in its middle, and compares the
sentence with the truth, which is known. Definitions:
- sentence: the job failed with an error. A job may also end well: then its result must be that of a ring without
  faults, else it counts as false green.
- named: the conclusion (`so:`) names the wires that are faulty (of a bridge both), or the link or board that is.
- wrong: the conclusion accuses a wire, link or board that is sound.
- usable again: after the repair, and after booting where a board had gone, the next generation is right.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import random
import re
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from golden.optimizer import Sgd
from hil.commands.options import add_shared, at_least_one, count, on_rig
from hil.errors import HilError
from hil.rig.faults import Bridge, Open, Stuck
from hil.rig.specs import RigConfig
from hil.ring.ring import Ring
from hil.ring.training import Plan, RingTraining
from hil.session import Session
from hil.settings import Settings

POSITIONS, TRAINED_POSITIONS = 32, 16
LINKS = 2
"""Single-wire faults are set on so many links, bridges on the first."""
NOISE = "glitch:{wire}={rate:.3g}"
GONE = ("halt", "reset", "off")
LINE = ("uart-hangup:{board}@{at:.4f}s", "uart-corrupt:{board}=0.02", "uart-drop:{board}=0.02")
SHOWN = 20
PLACE = re.compile(r"board \d+ GPIO\d+ \(pin \d+\)")
WIRE = re.compile(r"(?:link )?(\d+)->(\d+) (D\d|CLK|ACK)\b")
LINK = re.compile(r"link (\d+)->(\d+)")
BOARD = re.compile(r"board (\d+)(?= \(|:| does not answer| did nothing)|for board (\d+), which did nothing")


@dataclass(frozen=True, slots=True)
class Scenario:
    """Faults, when they are set (share of the job's time), and which job. Strikes carry their time themselves."""

    fault: str
    share: float
    training: bool

    @property
    def kind(self) -> str:
        """`open`, `halt` and so on."""
        return self.fault.partition(":")[0]

    @property
    def of_board(self) -> str | None:
        """The board that is to blame, or None where it is a wire or a link."""
        found = re.match(r"(?:halt|reset|off|uart-\w+):(\d+)", self.fault)
        return found[1] if found else None


@dataclass(frozen=True, slots=True)
class Judged:
    """A scenario and what came of it. sentence: empty where the job ended well."""

    fault: str
    training: bool
    sentence: str
    named: bool
    wrong: bool
    false_green: bool
    seconds: float
    usable_again: bool


def accused(sentence: str) -> tuple[set[str], set[str], set[str]]:
    """Wires (`1-2.D3`), links (`1-2`, those without a wire) and boards that a sentence's conclusions accuse."""
    lines = sentence.splitlines()
    so = [line.partition("so:")[2] for line in lines if line.lstrip().startswith("so:")]
    so += [line for line in lines if re.match(r"board \d+(?: \(|:)", line)]
    text = PLACE.sub("", "\n".join(so))
    wires = {f"{a}-{b}.{name}" for a, b, name in WIRE.findall(text)}
    links = {f"{a}-{b}" for a, b in LINK.findall(WIRE.sub("", text))}
    boards = {one or other for one, other in BOARD.findall(text)}
    return wires, links, boards


def blame(scenario: Scenario, sentence: str) -> tuple[bool, bool]:
    """Whether a sentence names who is to blame, and whether it accuses somebody else."""
    wires, links, boards = accused(sentence)
    if scenario.of_board is not None:
        return scenario.of_board in boards, bool(wires or boards - {scenario.of_board})
    guilty = set(re.findall(r"\d+-\d+\.\w+", scenario.fault))
    at = set(re.findall(r"\d+-\d+", scenario.fault))
    if not guilty:  # a whole link
        named = bool(at & links) or len({w for w in wires if w.partition(".")[0] in at}) == 10
        return named, bool(boards or links - at or {w for w in wires if w.partition(".")[0] not in at})
    named = guilty <= wires
    return named, bool(boards or wires - guilty or links - at)


def scenarios(config: RigConfig, seed: int, randoms: int) -> list[Scenario]:
    """All single-wire faults of two links, all bridges of one, and random ones by the seed."""
    rng = random.Random(seed)
    links = config.links[:LINKS]
    singles = [str(f) for kind in (Open, Stuck) for f in kind.singles(config) if f.at.link in links]
    singles += [f"{kind}:{link.source}-{link.target}" for kind in ("missing", "reversed", "noground") for link in links]
    bridges = [str(f) for f in Bridge.singles(config) if f.a.link == f.b.link == links[0]]
    chosen = [Scenario(fault, rng.uniform(0.1, 0.8), bool(rng.getrandbits(1))) for fault in (*singles, *bridges)]
    return chosen + [_drawn(config, rng) for _ in range(randoms)]


def _drawn(config: RigConfig, rng: random.Random) -> Scenario:
    """A random scenario."""
    training, share = bool(rng.getrandbits(1)), rng.uniform(0.1, 0.8)
    board, at = rng.randrange(config.world_size), rng.uniform(0.005, 0.05)
    kind = rng.choice(("wire", "wire", "noise", "gone", "gone", "line"))
    if kind == "wire":
        return Scenario(str(rng.choice([*Open.singles(config), *Stuck.singles(config)])), share, training)
    if kind == "noise":
        wire = str(rng.choice(list(Open.singles(config)))).partition(":")[2]
        return Scenario(NOISE.format(wire=wire, rate=10 ** rng.uniform(-3, -1)), share, training)
    if kind == "gone":
        return Scenario(f"{rng.choice(GONE)}:{board}@{at:.4f}s", 0.0, training)
    return Scenario(rng.choice(LINE).format(board=board, at=at), 0.0, training)


class _Bench:
    """A booted ring, and what its jobs give without faults."""

    def __init__(self, session: Session, config: RigConfig) -> None:
        self.session, self.config = session, config
        self.ring: Ring = self._open()
        self.clean = {training: self.timed(training) for training in (False, True)}

    def _open(self) -> Ring:
        ring = self.session.open_ring(self.config)
        self.session.boot(ring)
        return ring

    def timed(self, training: bool) -> tuple[object, float]:
        """A job's result and its seconds."""
        start_s = self.ring.desk.loop.now_s()
        result = self.train() if training else self.generate()
        return result, self.ring.desk.loop.now_s() - start_s

    def generate(self) -> object:
        """Tokens of a short story."""
        prompt = self.session.model.encode_prompt("", POSITIONS)
        return self.ring.generate(prompt, POSITIONS, taps=False).tokens

    def train(self) -> object:
        """Loss and norm of one step that changes nothing."""
        model = self.session.model
        plan = Plan(Sgd(learning_rate=0.1), TRAINED_POSITIONS)
        training = RingTraining(self.ring, model.weights.config, plan)
        batch = [[(3 + 7 * i) % model.weights.config.vocab_size for i in range(TRAINED_POSITIONS + 1)]]
        step = training.step(batch, taps=False, hold=True)
        self.ring.trained = False  # held: the parameters are those of the cards
        return step.loss, step.norm

    def judge(self, scenario: Scenario) -> Judged:
        """Run a job, strike, judge, repair."""
        desk = self.ring.desk
        expected, seconds = self.clean[scenario.training]
        start_s = desk.loop.now_s()
        strike_s = start_s + scenario.share * seconds
        running = True

        def strike() -> None:
            if running:
                desk.set_faults([scenario.fault])

        desk.loop.call_at(strike_s, strike)
        sentence, false_green = "", False
        try:
            false_green = self.timed(scenario.training)[0] != expected
        except HilError as error:
            sentence = str(error)
        running = False
        took_s = desk.loop.now_s() - strike_s
        named, wrong = blame(scenario, sentence) if sentence else (False, False)
        usable = self.repair()
        return Judged(
            scenario.fault, scenario.training, sentence, named, wrong, false_green, took_s if sentence else 0.0, usable
        )

    def repair(self) -> bool:
        """Take the faults away; boot where a board has gone; whether the ring gives what it should then."""
        self.ring.desk.set_faults(())
        try:
            if any(board.dead is not None for board in self.ring.boards):
                self.session.boot(self.ring)
            return self.generate() == self.clean[False][0]
        except HilError as error:
            print(f"not usable again: {error}")
            self.ring.desk.close()
            self.ring = self._open()
            return False


@dataclass(frozen=True, slots=True)
class _Share:
    """The part of one process."""

    settings: Settings
    name: str
    scenarios: tuple[Scenario, ...]


def judge_all(share: _Share) -> list[Judged]:
    """Judge scenarios one after the other on a ring of their own; cards and logs are thrown away."""
    with tempfile.TemporaryDirectory() as folder:
        session = Session(replace(share.settings, logs=Path(folder) / "logs", work=Path(folder) / "work"))
        bench = _Bench(session, replace(session.config, name=share.name))
        try:
            return [bench.judge(scenario) for scenario in share.scenarios]
        finally:
            bench.ring.desk.close()


def add_verb(parser: argparse.ArgumentParser) -> None:
    """Declare `hil bench accusations`."""
    parser.add_argument("--randoms", type=count, default=300, metavar="N",
                        help="random scenarios (default: %(default)s)")  # fmt: skip
    parser.add_argument("--some", type=count, default=0, metavar="N", help="only N of all, drawn by the seed")
    parser.add_argument("--jobs", type=at_least_one, default=2, metavar="N", help="processes (default: %(default)s)")
    add_shared(parser, "json")
    on_rig(parser, bench_accusations)


def bench_accusations(session: Session, options: argparse.Namespace) -> int:
    """Run it; 1 if a figure is not as promised."""
    started = time.perf_counter()
    session.image("kernel"), session.image("ring")
    chosen = scenarios(session.config, session.settings.seed, options.randoms)
    if options.some:
        chosen = random.Random(session.settings.seed).sample(chosen, min(options.some, len(chosen)))
    shares = [
        _Share(session.settings, f"accusations{job}", tuple(chosen[job :: options.jobs])) for job in range(options.jobs)
    ]
    if options.jobs == 1:
        results = [judge_all(share) for share in shares]
    else:
        with multiprocessing.get_context("spawn").Pool(options.jobs) as pool:
            results = pool.map(judge_all, shares)
    judged = [one for some in results for one in some]
    figures = figures_of(judged)
    figures |= {"seed": session.settings.seed, "wall_s": round(time.perf_counter() - started, 1)}
    for name, value in figures.items():
        print(f"{name:16} {value}")
    troubles = [one for one in judged if is_trouble(one)]
    for one in troubles[:SHOWN]:
        print(json.dumps(asdict(one)))
    if options.json:
        print(json.dumps(figures))
    return 0 if as_promised(figures) else 1


def is_trouble(one: Judged) -> bool:
    """Whether somebody should read it."""
    return bool(one.sentence and (one.wrong or not one.named)) or one.false_green or not one.usable_again


def figures_of(judged: Sequence[Judged]) -> dict[str, float]:
    """The figures; `wrong` and `named` are shares of the sentences."""
    told = [one for one in judged if one.sentence]
    most = max(1, len(told))
    return {
        "scenarios": len(judged),
        "sentences": len(told),
        "wrong": round(sum(one.wrong for one in told) / most, 4),
        "named": round(sum(one.named for one in told) / most, 4),
        "false_green": sum(one.false_green for one in judged),
        "seconds_max": round(max((one.seconds for one in judged), default=0.0), 2),
        "usable_again": sum(one.usable_again for one in judged),
    }


def as_promised(figures: dict[str, float]) -> bool:
    """Whether all figures hold."""
    return (
        figures["wrong"] <= 0.01
        and figures["named"] >= 0.95
        and not figures["false_green"]
        and figures["seconds_max"] <= 15
        and figures["usable_again"] == figures["scenarios"]
    )
