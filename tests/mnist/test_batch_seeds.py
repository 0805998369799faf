"""Networks of several seeds and teachers trained together."""

import pytest
import torch
from conftest import make_runner

from repro import config
from repro.mnist import experiment
from repro.mnist.runs import Arm
from repro.mnist.settings import ChoiceSettings, MnistSettings
from repro.training.mlp import MLPTrainer

RECIPE = {"epochs": 1, "batch_size": 50, "learning_rate": 0.003}
MODEL = {"hidden": [16], "temperature": 2.0, "hard_label_weight": 0.5}
FIRST = {"name": "first", "kind": "teacher", "model": MODEL | {"recipe": RECIPE}}
SECOND = {"name": "second", "kind": "teacher", "model": MODEL | {"recipe": RECIPE | {"epochs": 2}}}
STUDENT = {"name": "student", "kind": "distilled", "model": MODEL | {"recipe": RECIPE}}


def search(*candidates: dict) -> ChoiceSettings:
    return ChoiceSettings(seeds=2, batch_seeds=True, num_evals=1, max_train_examples=1200, candidates=candidates)


def test_networks_of_all_seeds_together_are_those_trained_apart(toy, tmp_path):
    settings = config.load(MnistSettings, config.profile_path("mnist", "smoke"))
    apart = settings.model_copy(update={"max_train_examples": 1200})
    together = apart.model_copy(update={"batch_seeds": True, "max_batched_params": 100_000_000})
    records = []
    for name, variant in (("apart", apart), ("together", together)):
        runner = make_runner(tmp_path / name, variant, toy)
        experiment.run(variant, runner, lambda records: None)
        records.append(runner.finished)
    assert records[0].keys() == records[1].keys()
    assert {record["trained_together"] for record in records[1].values()} >= {2, 4, 10}
    for key, record in records[0].items():
        names = {"train_cases", "test_errors", "train_errors", "validation_errors"} & record["metrics"].keys()
        for name in names | ({"agreement"} if record["settings"]["teacher"] else set()):
            most = 1e-3 if name == "agreement" else 3
            assert records[1][key]["metrics"][name] == pytest.approx(record["metrics"][name], rel=0, abs=most)


def test_candidates_learn_from_the_teacher_they_name():
    runs = experiment.search_runs(search(FIRST, SECOND, STUDENT, STUDENT | {"name": "named", "teacher": "second"}))
    assert [run.teacher.recipe.epochs for run in runs if run.teacher] == [1, 1, 2, 2]


@pytest.mark.parametrize("candidate", [STUDENT | {"teacher": "third"}, SECOND | {"teacher": "first"}])
def test_a_candidate_that_names_no_teacher_is_refused(candidate):
    with pytest.raises(ValueError, match="teacher must name"):
        search(FIRST, candidate)


@pytest.fixture
def sgd_diverges(monkeypatch):
    """The training of every network by SGD diverges, at T = 3 alone if that is among its temperatures."""
    update = MLPTrainer._update

    def diverge(trainer: MLPTrainer, loss: torch.Tensor) -> None:
        wrong = bool((trainer.temperature == 3).any()) or trainer.recipe.optimizer == "sgd"
        update(trainer, loss * (torch.nan if wrong else 1))

    monkeypatch.setattr(MLPTrainer, "_update", diverge)


SGD = RECIPE | {"optimizer": "sgd"}
DIVERGING = {"name": "diverging", "kind": "teacher", "model": MODEL | {"recipe": SGD}}


@pytest.mark.parametrize(
    ("others", "names", "skipped"),
    [
        ([DIVERGING | {"kind": "baseline"}], {"first", "student"}, ["diverging"]),
        ([DIVERGING, STUDENT | {"name": "of it", "teacher": "diverging"}], {"first", "student"}, ["diverging"]),
        (
            [STUDENT | {"name": "warm", "model": STUDENT["model"] | {"temperature": 3.0}}],
            {"first", "student"},
            ["warm"],
        ),
    ],
)
def test_candidates_that_diverge_are_named_and_skipped_with_their_students_alone(
    toy, tmp_path, monkeypatch, sgd_diverges, others, names, skipped
):
    settings = search(FIRST, *others, STUDENT)
    runner, lines = make_runner(tmp_path / "runs", settings, toy), []
    monkeypatch.setattr(runner.progress, "say", lambda text: lines.append(str(text)))
    experiment.choose(settings, runner, lambda records: None)
    assert {record["params"]["name"] for record in runner.finished.values()} == names
    assert [record["arm"] for record in runner.finished.values()] == [Arm.SEARCH] * 2 * len(names)
    assert [line.split(": skipped; ")[0] for line in lines] == skipped and "training diverged" in lines[0]
