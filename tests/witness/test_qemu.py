"""The independent witness: the same images on QEMU's raspi0, through its serial port.

QEMU shares no code of ours: other CPU glue, other PL011, other mailbox. If the digests are equal there too,
they are not an artefact of our simulator. QEMU has no GPIO inputs, so it is one board with the whole model.
"""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from golden.generate import GenerationRequest
from hil.checks.model.taps import compare_taps, golden_run
from hil.desk.desk import Desk
from hil.rig.specs import BoardSpec, RigConfig
from hil.ring.ring import Ring
from hil.session import Session
from hil.settings import Settings
from hil.toolchain import build_image

QEMU = "qemu-system-arm"
POSITIONS = 4


@pytest.fixture(scope="module")
def session() -> Session:
    return Session(Settings())


@pytest.fixture(params=["zig", "gcc"])
def qemu_ring(request, session, tmp_path):
    if shutil.which(QEMU) is None:
        if os.environ.get("CI"):
            pytest.fail(f"{QEMU} is not installed, and CI must have it: apt-get install qemu-system-arm")
        pytest.skip(f"{QEMU} is not installed: apt-get install qemu-system-arm")
    if request.param == "gcc" and shutil.which("arm-none-eabi-gcc") is None:
        pytest.skip("arm-none-eabi-gcc is not installed: apt-get install gcc-arm-none-eabi")
    kernel = build_image("kernel", compiler=request.param)
    shard = session.model.shards(1)[0]
    process = subprocess.Popen(
        [QEMU, "-M", "raspi0", "-display", "none", "-monitor", "none", "-serial", "pty",
         "-device", f"loader,file={kernel.path},addr=0x8000,cpu-num=0,force-raw=on",
         "-device", f"loader,file={shard},addr=0x2000000,force-raw=on"],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    try:
        yield _open(process, tmp_path, build_image("ring", compiler=request.param))
    finally:
        process.kill()
        process.wait()


def _open(process: subprocess.Popen[str], logs: Path, image) -> Ring:
    assert process.stdout is not None
    port = None
    for line in process.stdout:
        found = re.search(r"redirected to (/dev/\S+)", line)
        if found:
            port = found.group(1)
            break
    assert port is not None, "QEMU ended without naming its serial port"
    desk = Desk(RigConfig("qemu", (BoardSpec(0, port),), (), watchdog_s=0), logs, seed=1)
    ring = Ring(desk)
    ring.boot(image, timeout_s=120)
    return ring


def test_image_on_qemu_says_who_it_is_and_every_digest_is_the_goldens(qemu_ring, session):
    (identity,) = qemu_ring.identities()
    assert (identity.rank, identity.world_size) == (0, 1)
    assert identity.build_id == qemu_ring.image.build_id
    tokens = session.model.encode_prompt("", POSITIONS)
    result = qemu_ring.generate(tokens, POSITIONS)
    expected = golden_run(session.model.weights, GenerationRequest(tokens, POSITIONS), 1)
    comparison = compare_taps(qemu_ring, expected.by_rank)
    assert comparison.first is None, comparison.first.describe()
    assert comparison.good
    assert result.tokens == expected.tokens
    qemu_ring.desk.close()
