"""Options of a run: said in four places, described in one."""

import ast
from pathlib import Path

import pytest

import hil
from hil.cli import build_parser, main
from hil.commands.options import settings_of
from hil.settings import OPTIONS, SEED_DEFAULT, Settings, SettingsError, options_table, read_values, replay_words

ROOT = Path(__file__).resolve().parents[2]

SAID = {
    "rig": ("desk.toml", "desk.toml"),
    "seed": ("0x77", 0x77),
    "world_size": ("2", 2),
    "model": ("other.bin", "other.bin"),
    "tokenizer": ("other_tokenizer.bin", "other_tokenizer.bin"),
    "tables": ("any", "any"),
    "logs": ("elsewhere", Path("elsewhere")),
    "keep": ("3", 3),
    "compiler": ("gcc", "gcc"),
    "faults": ("open:1-2.D3", ("open:1-2.D3",)),
}
"""A text and a value for every field that a user can set."""


def test_every_option_is_tried_here():
    assert list(SAID) == list(OPTIONS)


@pytest.mark.parametrize("name", SAID)
def test_every_option_can_be_said_in_every_place(name, monkeypatch):
    text, value = SAID[name]
    option = OPTIONS[name].name
    options = build_parser().parse_args(["generate", f"--{option}", text])
    assert settings_of(options) == Settings(**{name: value})
    assert read_values({}, environment={}, ini={f"hil_{option}": text}) == {name: value}
    monkeypatch.setenv(f"HIL_{option.upper()}", text)
    assert settings_of(build_parser().parse_args(["generate"])) == Settings(**{name: value})


def test_command_line_goes_before_environment_before_ini_before_default():
    given, environment, ini = {"hil_world": "2"}, {"HIL_WORLD": "3"}, {"hil_world": "5"}
    assert read_values(given, environment=environment, ini=ini) == {"world_size": 2}
    assert read_values({}, environment=environment, ini=ini) == {"world_size": 3}
    assert read_values({}, environment={"HIL_WORLD": ""}, ini=ini) == {"world_size": 5}
    assert read_values({}, environment={}) == {}


def test_repeated_option_replaces_the_list_of_the_environment():
    environment = {"HIL_FAULT": "open:0-1.D3  halt:2@1s"}
    assert read_values({}, environment=environment) == {"faults": ("open:0-1.D3", "halt:2@1s")}
    assert read_values({"hil_fault": ["open:1-2.D3"]}, environment=environment) == {"faults": ("open:1-2.D3",)}


@pytest.mark.parametrize(
    ("option", "text", "cure"),
    [
        ("seed", "abc", "give a whole number, such as 5 or 0x5eed"),
        ("seed", "", "give a whole number, such as 5 or 0x5eed"),
        ("world", "0", "a ring has 1 to 16 boards; give one of these numbers"),
        ("world", "17", "a ring has 1 to 16 boards; give one of these numbers"),
        ("world", "two", "a ring has 1 to 16 boards; give one of these numbers"),
        ("compiler", "tcc", "give zig or gcc"),
        ("tables", "some", "give checked or any"),
    ],
)
def test_wrong_value_is_one_sentence_that_says_where_it_came_from(option, text, cure):
    key = f"hil_{option}"
    places = {f"--{option} {text}: {cure}": {"given": {key: text}}, f"{key} = {text}: {cure}": {"ini": {key: text}}}
    if text:
        places[f"{key.upper()}={text}: {cure}"] = {"environment": {key.upper(): text}}
    for sentence, place in places.items():
        with pytest.raises(SettingsError) as caught:
            read_values(**{"given": {}, "environment": {}} | place)
        assert str(caught.value) == sentence


def test_rig_of_the_environment_is_the_rig_of_the_command_line(capsys, monkeypatch):
    monkeypatch.setenv("HIL_RIG", "nowhere.toml")
    assert main(["generate"]) == 1
    assert "rig nowhere.toml: no such file" in capsys.readouterr().err
    assert main(["console", "0"]) == 1
    assert "rig nowhere.toml: no such file" in capsys.readouterr().err
    assert main(["generate", "--rig", "elsewhere.toml"]) == 1
    assert "rig elsewhere.toml: no such file" in capsys.readouterr().err


def test_check_of_a_night_takes_its_seed_from_the_environment_and_needs_one(capsys, monkeypatch):
    assert main(["nightly", "--check", "boot"]) == 1
    assert "--check: give --seed too" in capsys.readouterr().err
    monkeypatch.setenv("HIL_SEED", "5")
    assert main(["nightly", "--check", "nothing"]) == 1
    assert "check 'nothing': rig sim has boot" in capsys.readouterr().err


def test_words_of_a_replay_give_the_same_settings():
    settings = Settings(**{name: value for name, (_, value) in SAID.items()})
    words = replay_words(settings)
    assert words[:2] == ["--rig=desk.toml", "--seed=0x77"]
    again = settings_of(build_parser().parse_args(["generate", *words, "--logs=elsewhere", "--keep=3"]))
    assert again == settings


def test_replay_leaves_defaults_out_but_not_where_the_environment_would_say_otherwise():
    always = ["--hil-rig=sim", f"--hil-seed={SEED_DEFAULT:#x}"]
    assert replay_words(Settings(), dashes="--hil-") == always
    usual = Settings(**read_values({}, environment={"HIL_WORLD": "2"}))
    assert replay_words(Settings(), usual, dashes="--hil-") == [*always, "--hil-world=4"]
    assert replay_words(usual, usual, dashes="--hil-") == [*always, "--hil-world=2"], "it may run elsewhere"


def test_table_in_the_docs_is_current():
    text = (ROOT / "docs" / "plugin.md").read_text()
    assert options_table() in text, (
        "docs/plugin.md: replace the table of options by what `python -m hil.settings` prints"
    )
    assert options_table().count("\n") == len(OPTIONS) + 2


def declared_by_hand(text):
    """Options of a run whose names stand in calls that declare an option."""
    names = {f"{dashes}{option.name}" for option in OPTIONS.values() for dashes in ("--", "--hil-")}
    calls = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call)]
    adding = [call for call in calls if getattr(call.func, "attr", "") in ("add_argument", "addoption")]
    values = {value.value for call in adding for value in call.args if isinstance(value, ast.Constant)}
    return names & values


def test_options_of_a_run_are_declared_nowhere_else():
    folder = Path(hil.__file__).parent
    found = {
        str(path.relative_to(folder)): declared_by_hand(path.read_text())
        for path in folder.rglob("*.py")
        if declared_by_hand(path.read_text())
    }
    assert found == {
        "commands/plan.py": {"--model"},  # a shape has no weights to run with
        "commands/report.py": {"--rig"},  # the name of a rig in the history
        "commands/sd.py": {"--model", "--compiler"},  # a card may have none; `hil firmware` takes all compilers
        "commands/shard.py": {"--tokenizer"},  # a file to write
    }
    assert declared_by_hand('parser.add_argument("-r", "--rig", default="sim")') == {"--rig"}, "the negative twin"
