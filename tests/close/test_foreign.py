"""A firmware of another make on a simulated board: it prints its tensors, close mode judges them."""

import subprocess
import sys
from pathlib import Path

import pytest

from golden.weights import Config
from hil.checks.model.close import ReportedTensors, close_generation
from hil.cli import main
from hil.model.checkpoint import write_checkpoint
from hil.model.synth import random_weights, synthesize_tokenizer
from hil.toolchain import raw_image
from tests.close.test_close import CONFIG

FOLDER = Path(__file__).parent
SHAPE = Config(8, 12, 1, 2, 1, 300, 16)
TOKENS = [1, 7]
TENSORS = (
    "tok_emb",
    "rms_att",
    "wq",
    "wk",
    "wv",
    "wo",
    "rms_ffn",
    "w1",
    "w2",
    "w3",
    "rms_final",
    "freq_cos",
    "freq_sin",
)
LAYOUT = """ENTRY(_start)
SECTIONS {
  . = 0x8000;
  .text : { *(.text.start) *(.text*) *(.rodata*) *(.data*) *(.bss*) }
  /DISCARD/ : { *(.ARM.*) }
}
"""
UNITS = {"ATT_PROB": 4096.0, "SWIGLU": 4096.0}
"""Its exp is good to five terms of a series."""


def header(weights) -> str:
    c = weights.config
    sizes = {"DIM": c.dim, "HIDDEN": c.hidden_dim, "HEADS": c.n_heads, "KV_HEADS": c.n_kv_heads, "VOCAB": c.vocab_size}
    sizes |= {"HEAD": c.head_size, "KV": c.kv_dim, "POSITIONS": len(TOKENS)}
    lines = [f"#define {name} {value}" for name, value in sizes.items()]
    lines.append(f"static const unsigned tokens[] = {{{', '.join(map(str, TOKENS))}}};")
    for name in TENSORS:
        values = ", ".join(f"{float(value).hex()}f" for value in getattr(weights, name).reshape(-1))
        lines.append(f"static const float {name}[] = {{{values}}};")
    return "\n".join(lines)


@pytest.fixture(scope="module")
def weights():
    return random_weights(SHAPE, seed=5)


@pytest.fixture
def image(tmp_path, weights, request):
    """The firmware; a parameter (right, wrong) replaces one text of it."""
    source = (FOLDER / "foreign.c").read_text()
    right, wrong = getattr(request, "param", ("", ""))
    assert not right or source.count(right) == 1
    (tmp_path / "foreign.c").write_text(source.replace(right, wrong) if right else source)
    (tmp_path / "model.h").write_text(header(weights))
    script = tmp_path / "layout.ld"
    script.write_text(LAYOUT)
    elf = tmp_path / "foreign.elf"
    command = [sys.executable, "-m", "ziglang", "cc", "-target", "arm-freestanding-eabihf", "-mcpu=arm1176jzf_s", "-O2"]
    command += [
        "-ffp-contract=off",
        "-fno-math-errno",
        "-fno-builtin",
        "-fno-sanitize=all",
        "-nostdlib",
        "-T",
        str(script),
    ]
    command += [str(FOLDER / "start.S"), str(tmp_path / "foreign.c"), "-o", str(elf)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    path = tmp_path / "foreign.img"
    path.write_bytes(raw_image(elf))
    return path


def run(image, tmp_path) -> str:
    arguments = ["--rig", "sim", "--world", "1", "--logs", str(tmp_path / "logs")]
    assert main(["run", str(image), *arguments, "--for", "60"]) == 0
    return (tmp_path / "logs" / "pi0.raw").read_bytes().decode("utf-8", "replace")


def test_firmware_of_another_make_passes_with_units_for_its_exp_alone(image, tmp_path, weights, capsys):
    report = ReportedTensors()
    assert report.read(run(image, tmp_path)) >= 2 * (3 + 16)
    strict = close_generation(weights, report, TOKENS)
    assert {failure.key.op.name for failure in strict.failures} <= set(UNITS), strict.describe()
    assert strict.failures
    result = close_generation(weights, report, TOKENS, units=UNITS)
    assert result.good, result.describe()
    assert "units: ATT_PROB 4096, SWIGLU 4096" in result.describe()
    model = tmp_path / "model.bin"
    write_checkpoint(weights, model)
    capsys.readouterr()
    synthesize_tokenizer(SHAPE, tmp_path / "tokenizer.bin")
    words = ["close", str(tmp_path / "logs" / "pi0.raw"), "--model", str(model), "--tokens", "1,7"]
    units = [word for name, size in UNITS.items() for word in ("--units", f"{name}={size}")]
    assert main([*words, *units]) == 0
    assert f"{result.compared} tensors compared, 0 fail" in capsys.readouterr().out
    assert main(words) == 1


@pytest.mark.parametrize("image", [('add(x, q), report("ATT_RES"', 'add(x, a), report("ATT_RES"')], indirect=True)
def test_wrong_line_of_it_is_named(image, tmp_path, weights):
    report = ReportedTensors()
    report.read(run(image, tmp_path))
    result = close_generation(weights, report, TOKENS, units=UNITS)
    assert not result.good
    assert result.failures[0].key.op.name == "ATT_RES"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["nowhere.txt"], "nowhere.txt: cannot be read: No such file or directory"),
        (["README.md"], "README.md: no line of it reports a tensor; docs/close.md has the format"),
        (["README.md", "--tokens", "1,999999"], "--tokens: 999999 is no token of model tiny, which has 0 to "),
        (["README.md", "--units", "SOFTMAX=2"], "--units there is no op 'SOFTMAX'"),
        (["README.md", "--units", "Q=0.5"], "--units units of Q: 0.5; give 1"),
        (["README.md", "--units", "Q=x"], "--units 'Q=x': give OP=N, as Q_ROPE=1024"),
    ],
)
def test_what_cannot_be_checked_is_a_sentence(capsys, words, sentence, monkeypatch):
    monkeypatch.chdir(FOLDER.parents[1])
    assert main(["close", *words]) == 1
    assert sentence in capsys.readouterr().err


def test_units_by_op_widen_that_op_alone(weights):
    assert CONFIG.dim == 32
    with pytest.raises(ValueError, match="units of Q: nan"):
        close_generation(weights, ReportedTensors(), [], units={"Q": float("nan")})
