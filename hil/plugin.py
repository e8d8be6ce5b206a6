"""The pytest plugin: options, fixtures, report hooks. Thin: the work is in hil/session.py and hil/checks.

Options are prefixed `--hil-`; fixtures are listed in docs/plugin.md. pytest loads this module in every
project of the environment, so what is heavy is imported when a fixture is first used.
"""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Generator, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pytest

from hil.errors import HilError, RigError
from hil.settings import OPTIONS, Option, Settings, read_values, replay_words

if TYPE_CHECKING:
    from hil.board.board import Board
    from hil.checks.model.close import CloseCheck, ReportedTensors
    from hil.model.bundle import Model
    from hil.rig.specs import RigConfig
    from hil.ring.probe import Probe
    from hil.ring.ring import Ring
    from hil.session import Session

SETTINGS: pytest.StashKey[Settings] = pytest.StashKey()
SESSION: pytest.StashKey[Session] = pytest.StashKey()
FAILED: pytest.StashKey[bool] = pytest.StashKey()
TRACE_CHANGES = 200_000
"""How much of a failed test's trace is written: the end of it."""
TRACED = ("link", "wiring", "probe")
"""Markers of tests whose wires are recorded on a simulated rig."""
RINGS: pytest.StashKey[list[Ring]] = pytest.StashKey()
SUMMARY: pytest.StashKey[list[str]] = pytest.StashKey()
"""What the processes of pytest-xdist had to say."""
PROBLEM: pytest.StashKey[str] = pytest.StashKey()
"""What one of them found wrong with the rig."""
LINES, WRONG = "hil_summary", "hil_wrong"
"""The same on their way from one process to the other."""
FIXTURES = frozenset(("hil", "rig", "golden", "ring", "loopback_ring", "board", "boards", "probe", "close_check"))
"""Ours that need the rig or the model: tests that ask for one are hardware tests."""
MARKERS = (
    "ring: needs a whole ring, simulated or real",
    "probe: needs one board and an FT232H on one of its banks",
    "loopback: needs one board, high bank jumpered to its low bank",
    "wiring: checks wires",
    "link: checks the link between two boards",
    "layers: compares every activation with the golden",
    "gradients: compares every gradient with the golden",
    "generate: whole text generations",
    "train: whole trainings",
    "hardware: makes sense on real boards only",
    "slow: left out by default; select with -m slow",
)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the `--hil-...` options and the `hil_...` keys of the ini file."""
    group = parser.getgroup("hil", "hardware-in-the-loop ring")
    for option in OPTIONS.values():
        action = "append" if option.many else "store"
        group.addoption(f"--hil-{option.name}", action=action, metavar=option.metavar, help=option.usage())
        kind: Literal["linelist", "string"] = "linelist" if option.many else "string"
        parser.addini(f"hil_{option.name}", f"as --hil-{option.name}", type=kind, default=None)
    parser.addini(
        "hil_close_units", "OP=N lines: how coarse another firmware's ops are (docs/close.md)", type="linelist"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Read the settings, give each process of pytest-xdist its own, register markers. Raises pytest.UsageError."""
    config.stash[SETTINGS] = _own_share(config, _settings(config, vars(config.option)))
    for line in MARKERS:
        config.addinivalue_line("markers", line)
    config.stash[RINGS] = []
    config.stash[SUMMARY] = []


def _own_share(config: pytest.Config, settings: Settings) -> Settings:
    """Of several rigs the one of this process of pytest-xdist; and a folder of its own in the logs that were named."""
    rigs = settings.rig.split(",")
    worker = _worker(config)
    if len(rigs) > 1:
        processes = config.getoption("numprocesses", None) or 1
        if worker is None and processes != len(rigs):
            raise pytest.UsageError(
                f"--hil-rig {settings.rig}: names {len(rigs)} rigs, and each needs a process of its own; "
                f"run with -n {len(rigs)} (pytest-xdist)"
            )
        settings = replace(settings, rig=rigs[int(worker.removeprefix("gw")) % len(rigs)] if worker else settings.rig)
    if worker is not None and settings.logs is not None:
        settings = replace(settings, logs=settings.logs / worker)
    return settings


def _worker(config: pytest.Config) -> str | None:
    """The name of this process of pytest-xdist, such as `gw0`; None in the only one, or the one that leads."""
    given = getattr(config, "workerinput", None)
    return None if given is None else str(given["workerid"])


def _settings(config: pytest.Config, given: Mapping[str, Any]) -> Settings:
    """What a command line says, with environment and ini file."""
    ini = {f"hil_{option.name}": _ini(config, option) for option in OPTIONS.values()}
    try:
        return Settings(**read_values(given, dashes="--hil-", ini=ini))
    except HilError as error:
        raise pytest.UsageError(str(error)) from None


def _ini(config: pytest.Config, option: Option) -> Any:
    """The ini file's value. A file that is there beside the ini file is meant even if pytest runs in another folder."""
    value = config.getini(f"hil_{option.name}")
    if option.file and value and config.inipath is not None and not Path(value).exists():
        beside = config.inipath.parent / value
        return str(beside) if beside.exists() else value
    return value


def hil_session(config: pytest.Config) -> Session:
    """The session that the settings describe; made when first needed. Raises pytest.UsageError."""
    if SESSION not in config.stash:
        from hil.session import Session

        worker = _worker(config)
        try:
            config.stash[SESSION] = Session(config.stash[SETTINGS], verb=f"pytest-{worker}" if worker else "pytest")
        except HilError as error:
            raise pytest.UsageError(str(error)) from None
    return config.stash[SESSION]


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Where hardware tests will run, look at the rig and the model before the first: one sentence if they are wrong."""
    if not any(FIXTURES & set(getattr(item, "fixturenames", ())) for item in items):
        return
    try:
        hil_session(config)
    except pytest.UsageError as error:
        if _worker(config) is None:
            raise
        config.workeroutput[WRONG] = str(error)  # type: ignore[attr-defined]
        items.clear()  # the process that asks says it, once for all


def pytest_report_collectionfinish(config: pytest.Config) -> list[str]:
    """Rig and seed, where hardware tests will run. The firmware comes with the first boot: building takes seconds."""
    if SESSION not in config.stash:
        return []
    settings = config.stash[SETTINGS]
    return [f"hil: rig {settings.rig}, seed {settings.seed:#x}, model {settings.model}"]


def _summary(config: pytest.Config) -> list[str]:
    """What ran: rig, seed, firmware; and where the logs are. Empty where no ring was opened."""
    if SESSION not in config.stash or not config.stash[RINGS]:
        return []
    folders = dict.fromkeys(str(ring.desk.logs) for ring in config.stash[RINGS])
    return [*config.stash[SESSION].describe(), *(f"logs: {folder}" for folder in folders)]


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take what a process of pytest-xdist has to say when it is done."""
    output = getattr(node, "workeroutput", None) or {}
    lines = node.config.stash[SUMMARY]
    lines += [line for line in output.get(LINES, ()) if line not in lines]
    if WRONG in output:
        node.config.stash[PROBLEM] = output[WRONG]


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """A process of pytest-xdist hands its summary over; a wrong rig that one found is wrong usage for all."""
    config = session.config
    if _worker(config) is not None:
        config.workeroutput[LINES] = _summary(config)  # type: ignore[attr-defined]
    elif PROBLEM in config.stash:
        session.exitstatus = pytest.ExitCode.USAGE_ERROR


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """What ran, of all processes."""
    if PROBLEM in config.stash:
        terminalreporter.line(f"ERROR: {config.stash[PROBLEM]}", red=True)
    lines = config.stash[SUMMARY] or _summary(config)
    if lines:
        terminalreporter.section("hil", sep="-")
        for line in lines:
            terminalreporter.line(line)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[Any]) -> Generator[None, Any, Any]:
    """Add board logs and the replay command to a failed hardware test."""
    report = yield
    used = {"ring", "loopback_ring", "board", "boards", "probe"} & set(getattr(item, "fixturenames", ()))
    if report.failed and used and RINGS in item.config.stash:
        from hil import attach

        item.stash[FAILED] = True
        for ring in item.config.stash[RINGS]:
            trace = ring.desk.flush_trace(TRACE_CHANGES)
            if trace is not None:
                report.sections.append(("wires", f"{trace} (VCD: open with GTKWave)"))
                attach.file(trace, "wires, VCD")
                # A scan drives one wire at a time: it has no handshake to show.
                scans = item.get_closest_marker("wiring") is not None
                unread = None if scans else attach.handshake(trace, str(report.longrepr))
                report.sections += [("handshake", unread)] if unread else []
            for board in ring.boards:
                report.sections.append((f"board {board.rank}: end of {board.log.path}", board.log.tail()))
                attach.file(board.log.path, f"board {board.rank} log")
        report.sections.append(("again", _again(item)))
        attach.text("again", _again(item))
    return report


def _again(item: pytest.Item) -> str:
    """The command that runs this test again in the same way."""
    config = item.config
    file, colons, name = item.nodeid.partition("::")
    # With --pyargs the node ID names a file that is not below the root.
    address = item.nodeid if (config.rootpath / file).is_file() else f"{item.path}{colons}{name}"
    return shlex.join(
        ["pytest", address, *replay_words(config.stash[SETTINGS], _settings(config, {}), dashes="--hil-")]
    )


@pytest.fixture(scope="session")
def hil(pytestconfig: pytest.Config) -> Session:
    """The session: settings, rig description, model, images."""
    return hil_session(pytestconfig)


@pytest.fixture(scope="session")
def rig(hil: Session) -> RigConfig:
    """The rig's description: boards, ports, links."""
    return hil.config


@pytest.fixture(scope="session")
def golden(hil: Session) -> Model:
    """The model with its weights and tokenizer, for golden runs."""
    return hil.model


@contextlib.contextmanager
def _booted(
    hil: Session, config: RigConfig, logs: Path, pytestconfig: pytest.Config, *, shards: bool
) -> Iterator[Ring]:
    from hil import attach

    try:
        hil.check_memory(config=config)
        ring = hil.open_ring(config, logs=logs, shards=shards)
    except HilError as error:
        pytest.fail(str(error), pytrace=False)
    pytestconfig.stash[RINGS].append(ring)
    try:
        with attach.step(f"boot {config.world_size} boards of rig {config.name}"):
            times = hil.boot(ring)
            attach.text("boot times", "\n".join(f"board {r}: {s:.3f} s" for r, s in enumerate(times.seconds)))
        yield ring
    finally:
        ring.desk.close()


@pytest.fixture(scope="session")
def _ring_session(hil: Session, rig: RigConfig, pytestconfig: pytest.Config) -> Iterator[Ring]:
    with _booted(hil, rig, hil.logs, pytestconfig, shards=True) as ring:
        yield ring


@pytest.fixture(scope="session")
def _loopback_session(hil: Session, pytestconfig: pytest.Config) -> Iterator[Ring]:
    try:
        config = hil.loopback_config()
    except RigError as error:
        pytest.skip(str(error))
    logs = hil.logs if config is hil.config else hil.logs / "loopback"
    with _booted(hil, config, logs, pytestconfig, shards=True) as ring:
        yield ring


def _guard(ring: Ring, request: pytest.FixtureRequest) -> Iterator[Ring]:
    """Hand out a ring that works and has the model's weights; fail the test that lets outputs meet on a wire."""
    lost = ring.trained or any(board.dead is not None or not board.booted for board in ring.boards)
    if lost and ring.image is not None:
        ring.boot(ring.image)
    before = len(ring.desk.contentions())
    _describe(ring, request)
    _begin_trace(ring, request)
    yield ring
    met = ring.desk.contentions()[before:]
    if met or request.node.stash.get(FAILED, False):
        ring.desk.flush_trace(TRACE_CHANGES)
        ring.desk.end_trace()
    else:
        ring.desk.discard_trace()
    if met:
        pytest.fail("outputs met on a wire:\n" + "\n".join(f"  {contention}" for contention in met), pytrace=False)


def _describe(ring: Ring, request: pytest.FixtureRequest) -> None:
    """Write into the reports what the test runs on."""
    from hil import attach

    settings = request.config.stash[SETTINGS]
    serials = [f"{board.identity.board_serial:016x}" if board.identity else "unknown" for board in ring.boards]
    facts = {
        "rig": ring.desk.config.name,
        "seed": f"{settings.seed:#x}",
        "model": settings.model,
        "board_serials": " ".join(serials),
        "retries": str(getattr(request.node, "execution_count", 1) - 1),  # set by pytest-rerunfailures
    }
    if ring.image is not None:
        facts |= {"image_sha256": ring.image.sha256, "firmware_git": ring.image.git_revision}
    attach.describe(request.node, facts)


def _begin_trace(ring: Ring, request: pytest.FixtureRequest) -> None:
    """Record the wires of a simulated rig for tests of wires and links; the file of a test that passes is removed."""
    if ring.desk.simulation is None or not any(request.node.get_closest_marker(name) for name in TRACED):
        return
    name = "".join(letter if letter.isalnum() else "_" for letter in request.node.name)
    ring.desk.trace(ring.desk.logs / f"{name}.vcd")


@pytest.fixture
def ring(_ring_session: Ring, request: pytest.FixtureRequest) -> Iterator[Ring]:
    """The rig's boards, booted, as a ring. Skips on a rig that is no ring."""
    from hil.rig.needs import Need

    if lack := Need.RING.lack(_ring_session.desk.config):
        pytest.skip(lack)
    yield from _guard(_ring_session, request)


@pytest.fixture
def boards(ring: Ring) -> list[Board]:
    """The ring's boards by rank."""
    return list(ring.boards)


@pytest.fixture
def loopback_ring(_loopback_session: Ring, request: pytest.FixtureRequest) -> Iterator[Ring]:
    """One booted board with loopback jumpers, as a ring of one."""
    yield from _guard(_loopback_session, request)


@pytest.fixture(scope="session")
def _probe_session(hil: Session, pytestconfig: pytest.Config, request: pytest.FixtureRequest) -> Iterator[Probe]:
    from hil.ring.probe import open_probe

    try:
        config = hil.probe_config()
    except RigError as error:
        pytest.skip(str(error))
    if config is hil.config:
        with open_probe(request.getfixturevalue("_ring_session")) as probe:
            yield probe
        return
    logs = hil.logs / "probe"
    with _booted(hil, config, logs, pytestconfig, shards=False) as ring, open_probe(ring) as probe:
        yield probe


@pytest.fixture
def probe(_probe_session: Probe, request: pytest.FixtureRequest) -> Iterator[Probe]:
    """An FT232H on one bank of a booted board; `probe.board` and `probe.ring` are that board, alone or among others."""
    adapter = _probe_session.ring.desk.virtual_probe
    complaints = len(adapter.complaints) if adapter is not None else 0
    for _ in _guard(_probe_session.ring, request):
        yield _probe_session
        _probe_session.reset()
    if adapter is not None and adapter.complaints[complaints:]:
        pytest.fail("\n".join(adapter.complaints[complaints:]), pytrace=False)


@pytest.fixture
def board(loopback_ring: Ring) -> Board:
    """The one board of the loopback rig."""
    return loopback_ring.boards[0]


@pytest.fixture
def reported_tensors() -> ReportedTensors:
    """An empty report: what a firmware of any make says that its ops gave. Fill it, then hand it to close_check."""
    from hil.checks.model.close import ReportedTensors

    return ReportedTensors()


@pytest.fixture
def close_check(golden: Model, pytestconfig: pytest.Config) -> CloseCheck:
    """Checks reported tensors within bounds that follow from each op's sums; fails the test where one is beyond.

    The ini key `hil_close_units`, lines such as `Q_ROPE=1024`, says how coarse the firmware's ops are.
    """
    from hil.checks.model.close import CloseCheck, read_units

    try:
        units = read_units(pytestconfig.getini("hil_close_units"))
    except ValueError as error:
        raise pytest.UsageError(f"hil_close_units: {error}") from None
    return CloseCheck(golden.weights, lambda text: pytest.fail(text, pytrace=False), units)
