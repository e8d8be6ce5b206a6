"""The `hil` command: one verb per job. Thin: options in, a check called, text out.

Exit codes: 0 well, 1 a check failed or something is wrong with the rig, 2 wrong usage.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from hil.commands import checks, nightly, report
from hil.commands.desk import add_verbs
from hil.commands.verify import add_verify
from hil.errors import HilError
from hil.session import Session
from hil.settings import SEED_DEFAULT, Compiler, Settings

VERBOSE_HELP = "show the lines of all boards, not of the last rank alone"


def _number(text: str) -> int:
    return int(text, 0)


def _at_least_one(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text}: give 1 or more")
    return number


def _count(text: str) -> int | None:
    """A whole number from 0; None for `all`."""
    if text == "all":
        return None
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f"{text}: a count is 0 or more")
    return number


def _add_rig_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rig", default="sim", help="rig file, `sim`, `sim-loopback` or `sim-probe` (default: sim)")
    parser.add_argument("--world", type=int, default=4, metavar="N", help="boards of the simulated ring (default: 4)")
    parser.add_argument("--seed", type=_number, default=SEED_DEFAULT, help=f"default: {SEED_DEFAULT:#x}")
    parser.add_argument("--model", default="tiny", help="`tiny` or a llama2.c checkpoint (default: tiny)")
    parser.add_argument("--tokenizer", metavar="FILE", help="tokenizer.bin of the checkpoint (default: beside it)")
    parser.add_argument("--logs", type=Path, default=Path("logs"), help="folder for pi{n}.log (default: logs)")
    parser.add_argument("--compiler", choices=get_args(Compiler), default="zig", help="compiler of the firmware")
    parser.add_argument(
        "--fault", action="append", default=[], metavar="FAULT",
        help="fault of the simulated rig, like open:1-2.D3 (repeatable; docs/rigs.md)",
    )  # fmt: skip


def _settings(options: argparse.Namespace) -> Settings:
    return Settings(
        rig=options.rig,
        seed=options.seed,
        world_size=options.world,
        model=options.model,
        tokenizer=options.tokenizer,
        logs=options.logs,
        compiler=options.compiler,
        faults=tuple(options.fault),
    )


def _generate(options: argparse.Namespace) -> int:
    from hil.commands.generate import Request, generate

    request = Request(
        prompt=options.prompt,
        positions=options.positions,
        temperature=options.temperature,
        topp=options.topp,
        rng_seed=options.rng_seed,
        verify=not options.no_verify,
        verbose=options.verbose,
    )
    return generate(Session(_settings(options)), request)


def _train(options: argparse.Namespace) -> int:
    from hil.commands.train import Request, optimizer, train
    from hil.ring.training import Plan

    slots = options.slots if options.slots is not None else min(options.microbatches, 64)
    rule = optimizer(options.optimizer, options.rate, options.momentum, options.decay)
    plan = Plan(rule, options.positions, options.microbatches, slots, options.clip)
    return train(
        Session(_settings(options)),
        Request(plan, options.steps, options.text, not options.no_verify, options.save, options.verbose),
    )


def _add_train(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    train = verbs.add_parser("train", help="train the ring on a text, compare every gradient with the golden")
    _add_rig_options(train)
    train.add_argument("--steps", type=_at_least_one, default=3, metavar="N", help="default: 3")
    train.add_argument("--positions", type=int, default=16, metavar="T", help="of a microbatch (default: 16)")
    train.add_argument("--microbatches", type=int, default=1, metavar="M", help="of a step (default: 1)")
    train.add_argument("--slots", type=int, metavar="S", help="microbatches under way at a time (default: all)")
    train.add_argument("--optimizer", choices=("adamw", "sgd"), default="adamw", help="default: adamw")
    train.add_argument("--rate", type=float, default=3e-4, help="learning rate (default: 0.0003)")
    train.add_argument("--momentum", type=float, default=0.0, help="of sgd (default: 0)")
    train.add_argument("--decay", type=float, default=0.0, help="weight decay, decoupled (default: 0)")
    train.add_argument("--clip", type=float, default=0.0, help="largest norm of all gradients (default: 0, no limit)")
    train.add_argument("--text", type=Path, metavar="FILE", help="default: the first line of the shipped corpus")
    train.add_argument("--save", type=Path, metavar="FILE", help="write the trained weights as a llama2.c checkpoint")
    train.add_argument("--no-verify", action="store_true", help="do not record and compare")
    train.add_argument("-v", "--verbose", action="store_true", help=VERBOSE_HELP)
    train.set_defaults(run=_train)


def _firmware(options: argparse.Namespace) -> int:
    from hil.commands.sd import build_all

    return build_all(get_args(Compiler) if options.compiler == "all" else (options.compiler,))


def _wiring(options: argparse.Namespace) -> int:
    from hil.commands.wiring import wiring

    return wiring(Session(_settings(options)), as_json=options.json, svg=options.svg)


def _bench_faults(options: argparse.Namespace) -> int:
    from hil.bench.faults import FaultBench, bench_faults

    bench = FaultBench(singles=options.singles, doubles=options.doubles, clean=options.clean, jobs=max(1, options.jobs))
    return bench_faults(Session(_settings(options)), bench, as_json=options.json)


def _bench(options: argparse.Namespace) -> int:
    if options.what == "divergence":
        from hil.bench.divergence_bench import bench_divergence

        return bench_divergence(Session(_settings(options)), each=options.each, as_json=options.json)
    if options.what == "faults":
        return _bench_faults(options)
    if options.what == "serial":
        from hil.bench.serial import bench_serial

        return bench_serial(Session(_settings(options)), as_json=options.json)
    if options.what == "link":
        from hil.bench.link import bench_link

        return bench_link(Session(_settings(options)), as_json=options.json)
    if options.what == "golden":
        from hil.bench.golden import bench_golden

        return bench_golden(Session(_settings(options)), as_json=options.json)
    from hil.bench.sim import bench_sim

    return bench_sim(Session(_settings(options)), as_json=options.json)


def _sim(options: argparse.Namespace) -> int:
    from hil.commands.sim import serve_ptys

    return serve_ptys(Session(_settings(options)), folder=options.pty, real_time=not options.fast)


def build_parser() -> argparse.ArgumentParser:
    """The parser of the `hil` command."""
    parser = argparse.ArgumentParser(prog="hil", description="Hardware-in-the-loop tests for a ring of Pi Zeros.")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")

    generate = verbs.add_parser(
        "generate", help="boot the ring, tell a story, compare every activation with the golden"
    )
    _add_rig_options(generate)
    generate.add_argument("--prompt", default="", help="text to go on from (default: none)")
    generate.add_argument("--positions", type=int, default=64, help="forward steps, prompt included (default: 64)")
    generate.add_argument("--temperature", type=float, default=0.0, help="0 is greedy (default)")
    generate.add_argument("--topp", type=float, default=0.9, help="top-p when temperature > 0 (default: 0.9)")
    generate.add_argument("--rng-seed", type=_number, default=1, help="seed of the sampler (default: 1)")
    generate.add_argument("--no-verify", action="store_true", help="do not record and compare activations")
    generate.add_argument("-v", "--verbose", action="store_true", help=VERBOSE_HELP)
    generate.set_defaults(run=_generate)

    _add_train(verbs)
    add_verify(verbs, _add_rig_options, _settings)

    firmware = verbs.add_parser("firmware", help="build kernel.img and ring.img")
    firmware.add_argument("--compiler", choices=(*get_args(Compiler), "all"), default="all")
    firmware.set_defaults(run=_firmware)

    bench = verbs.add_parser("bench", help="measure; the last line of --json is one JSON object")
    bench.add_argument(
        "what", choices=("sim", "link", "serial", "faults", "golden", "divergence"),
        help="sim: speed of the ring; link: cost of a byte on a link; "
        "serial: round trips and bytes on serial ports; faults: wiring faults found; "
        "golden: time of NumPy against that of the simulated boards; "
        "divergence: faults in ops, memory and hops found and named",
    )  # fmt: skip
    bench.add_argument("--json", action="store_true", help="print the figures as JSON on the last line")
    bench.add_argument("--singles", type=_count, metavar="N", help="faults: single ones (default: all)")
    bench.add_argument("--doubles", type=_count, default=1000, metavar="N", help="faults: double ones (default: 1000)")
    bench.add_argument("--clean", type=_count, default=200, metavar="N", help="faults: clean scans (default: 200)")
    bench.add_argument("--jobs", type=int, default=2, metavar="N", help="faults: processes (default: 2)")
    bench.add_argument("--each", type=_at_least_one, metavar="N", help="divergence: faults of a kind (default: all)")
    _add_rig_options(bench)
    bench.set_defaults(run=_bench)

    wiring = verbs.add_parser("wiring", help="scan every wire; say what is wrong, where, and what to do")
    _add_rig_options(wiring)
    wiring.add_argument("--json", action="store_true", help="print the report as JSON on the last line")
    wiring.add_argument("--svg", type=Path, metavar="FILE", help="write a picture of the ring with faulty wires in red")
    wiring.set_defaults(run=_wiring)

    sim = verbs.add_parser("sim", help="run the simulated ring behind pseudo-terminals, for any serial program")
    _add_rig_options(sim)
    sim.add_argument("--pty", type=Path, required=True, metavar="DIR", help="folder for the links pi0, pi1, ...")
    sim.add_argument("--fast", action="store_true", help="as fast as possible instead of real time")
    sim.set_defaults(run=_sim)
    add_verbs(verbs, _add_rig_options, _settings)
    nightly.add_verb(verbs, _add_rig_options, _settings)
    report.add_verb(verbs)
    checks.add_verb(verbs)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code. A HilError is shown as its sentence, without a traceback."""
    options = build_parser().parse_args(arguments)
    try:
        return int(options.run(options))
    except HilError as error:
        print(f"hil {options.verb}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"hil {options.verb}: interrupted", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
