"""One seeded fault of every kind is found and named; the whole bench is `hil bench divergence`. And it can fail."""

import json
from dataclasses import replace

import pytest

from golden.taps import Op
from hil.bench.divergence import judge, mutations
from hil.bench.divergence.faults import FaultKind, Truth, all_faults, some_faults
from hil.bench.divergence.mutations import MUTATIONS, Mutation, MutationError, mutated_image
from hil.bench.divergence_bench import figures_of, judge_all
from hil.cli import main
from hil.session import Session
from hil.settings import Settings


@pytest.fixture(scope="module")
def judged(tmp_path_factory):
    folder = tmp_path_factory.mktemp("divergence")
    session = Session(Settings(logs=folder / "logs", work=folder / "work"))
    return judge_all(session, folder, 1)


@pytest.mark.parametrize("kind", FaultKind, ids=lambda kind: kind.name)
def test_fault_of_each_kind_is_detected_and_named(judged, kind):
    (one,) = [one for one in judged if one.fault.kind is kind]
    assert one.detected
    assert one.named, f"{one.fault.name}: is {judge.truth_in_words(one.truth)}, found {one.found}"
    assert one.exact


def test_figures_count_what_was_not_named(judged):
    assert figures_of(judged)["named"] == 1
    spoiled = [replace(judged[0], named=False, detected=False), *judged[1:]]
    figures = figures_of(spoiled)
    assert figures["named"] == round(1 - 1 / len(judged), 6)
    assert figures[judged[0].fault.kind.value]["detected"] == 0


def test_there_are_two_hundred_faults_and_more_over_all_kinds(judged):
    from hil.model.bundle import load_model

    weights = load_model("tiny").weights
    faults = all_faults(weights, 1)
    assert len(faults) >= 200
    assert {fault.kind for fault in faults} == set(FaultKind)
    assert all_faults(weights, 1) == faults
    assert all_faults(weights, 2) != faults
    assert len(some_faults(faults, 2)) == 2 * len(FaultKind)
    assert {fault.training for fault in faults} == {True, False}


def test_line_that_moved_is_noticed(tmp_path, monkeypatch):
    gone = Mutation("gone", "model/forward.c", "this line is not there", "FAULT")
    monkeypatch.setattr(mutations, "MUTATIONS", (*MUTATIONS, gone))
    with pytest.raises(MutationError, match=r"'gone': its line stands 0 times in model/forward.c, not once; bring"):
        mutated_image(tmp_path)


def test_command_fails_where_the_truth_is_another(capsys, monkeypatch, tmp_path):
    """The same faults with wrong truths: the bench says so."""
    right = some_faults

    def wrong(faults, each):
        (fault, *_) = right([one for one in faults if one.kind is FaultKind.CONSTANT], each)
        return [replace(fault, truth=Truth(Op.EMBED, 0, 0, "link"))]

    monkeypatch.setattr("hil.bench.divergence_bench.some_faults", wrong)
    assert main(["bench", "divergence", "--each", "1", "--json"]) == 1
    shown = capsys.readouterr().out.splitlines()
    assert any("not named: changed constant" in line for line in shown)
    figures = json.loads(shown[-1])
    assert (figures["detected"], figures["named"]) == (1, 0)
