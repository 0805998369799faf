"""No leaks: training and model selection never depend on the test set."""

import dataclasses

import pytest
import torch

from repro import config
from repro.data.mnist import Mnist
from repro.data.types import ImageSet
from repro.engine.runner import Diverged
from repro.errors import UserError
from repro.mnist import examples, experiment
from repro.mnist.settings import MnistSettings
from repro.report.mnist import analysis
from repro.training.mlp import MLPTrainer


@pytest.fixture
def smoke() -> MnistSettings:
    settings = config.load(MnistSettings, config.profile_path("mnist", "smoke"))
    return settings.model_copy(update={"max_train_examples": 1200})


def all_runs(settings):
    return [
        run
        for seed in range(settings.seeds)
        for run in (
            *experiment.headline_runs(settings, seed),
            *experiment.temperature_runs(settings, seed),
            *experiment.missing_class_runs(settings, seed),
            *experiment.data_fraction_runs(settings, seed),
            *experiment.ablation_runs(settings, seed),
        )
    ]


def test_train_and_validation_split_the_training_cases(toy):
    marked = Mnist(ImageSet(torch.arange(1200.0)[:, None], torch.zeros(1200)), toy.test, "marked")
    parts = [set(marked.split(part).images[:, 0].tolist()) for part in ("train", "validation", "all")]
    assert not parts[0] & parts[1] and parts[0] | parts[1] == parts[2]
    assert len(parts[1]) == 200


def test_real_splits_are_disjoint_from_each_other_and_from_test(real_folder):
    from repro.data.mnist import load

    data = load(real_folder)
    assert [len(data.split(part)) for part in ("train", "validation", "all")] == [50_000, 10_000, 60_000]
    assert len(data.test) == 10_000
    bytes_of = [{image.tobytes() for image in (part.images * 255).round().byte().numpy()}
                for part in (data.split("train"), data.split("validation"), data.test)]  # fmt: skip
    assert not bytes_of[0] & bytes_of[1] and not bytes_of[2] & (bytes_of[0] | bytes_of[1])
    assert int((data.test.labels == 3).sum()) == 1010


def test_transfer_sets_hold_only_their_classes_and_no_validation_images(toy, runner_for, smoke):
    runner = runner_for(smoke, toy)
    for run in experiment.missing_class_runs(smoke, 0):
        classes = {0, 1, 2, 4, 5, 6, 7, 8, 9} if run.arm.startswith("without_3") else {7, 8}
        examples = runner.examples(run)
        assert set(toy.train.labels[examples].tolist()) == classes
        if run.split == "train":
            assert int(examples.max()) < 1000


@pytest.mark.parametrize("profile", ["paper", "gpu"])
def test_only_the_teacher_has_translations_and_dropout(profile):
    settings = config.load(MnistSettings, config.profile_path("mnist", profile))
    for run in all_runs(settings):
        noise = (run.recipe.max_translation, run.recipe.input_dropout, run.recipe.hidden_dropout)
        is_teacher = run.arm in ("teacher", "other_teacher")
        translations = 2 if is_teacher or run.arm == "translated_transfer_set" else 0
        assert noise == ((2, 0.2, 0.5) if is_teacher else (translations, 0, 0))
        if not is_teacher:
            assert run.recipe.weight_decay == 0 and run.recipe.max_norm is None


def test_the_paper_profile_is_the_papers():
    settings = config.load(MnistSettings, config.profile_path("mnist", "paper"))
    assert settings.seeds >= 5 and settings.max_train_examples == 60_000
    assert settings.teacher.hidden == (1200, 1200) and abs(settings.teacher.recipe.max_norm - 0.5 * 15**0.5) < 0.1
    assert settings.baseline.hidden == settings.distilled.hidden == (800, 800)
    assert settings.distilled.temperature == 20
    assert [width.hidden_units for width in settings.temperature_sweep.widths] == [30, 100, 300, 800]
    assert settings.temperature_sweep.temperatures == (1, 2, 2.5, 3, 4, 5, 8, 10, 15, 20, 40)
    assert [item.fraction for item in settings.data_fractions.fractions] == [0.01, 0.03, 0.1, 0.3, 1.0]


def test_the_teacher_of_a_student_has_the_same_seed():
    settings = config.load(MnistSettings, config.profile_path("mnist", "smoke"))
    for run in all_runs(settings):
        if run.teacher is not None:
            assert run.teacher.arm in ("teacher", "other_teacher") and run.teacher.seed == run.seed
            starts_as_its_teacher = run.hidden == run.teacher.hidden  # but for the scale; the notes say so
            assert starts_as_its_teacher == (run.arm == "teacher_width")


def test_fractions_hold_no_validation_image_and_depend_on_the_seed(toy, runner_for, smoke):
    runner = runner_for(smoke, toy)
    for run in experiment.data_fraction_runs(smoke, 1):
        chosen = runner.examples(run)
        assert len(set(chosen.tolist())) == len(chosen) == round(1000 * run.fraction) and int(chosen.max()) < 1000
        other = runner.examples(dataclasses.replace(run, seed=2))
        assert torch.equal(chosen, other) == (run.fraction == 1)


def test_early_stopping_reports_the_best_snapshot(toy, runner_for, smoke, monkeypatch):
    trainers, errors = [], iter((1, 9))
    monkeypatch.setattr(
        "repro.mnist.runner.MLPTrainer", lambda **how: trainers.append(MLPTrainer(**how)) or trainers[-1]
    )
    monkeypatch.setattr(MLPTrainer, "validation_errors", lambda *_: torch.tensor([next(errors)]))
    run = next(r for r in experiment.data_fraction_runs(smoke, 0) if r.teacher is None and r.fraction == 1)
    (record,) = runner_for(smoke, toy).execute([run])
    best, last = (
        int((net.logits(toy.test.images)[0].argmax(-1) != toy.test.labels).sum())
        for net in (trainers[0].best_net(), trainers[0].net)
    )
    assert best != last and record["metrics"]["stopped_errors"] == best and record["metrics"]["test_errors"] == last
    assert record["metrics"]["stopped_epoch"] == pytest.approx(0.5, abs=0.02)


def test_weights_and_honest_shifts_do_not_depend_on_the_test_set(toy, runner_for, smoke):
    """The whole experiment twice, the second time with another test set: every weight, every early stop
    and every honestly chosen shift is the same to the bit; only what was measured on test differs."""
    garbage = ImageSet(torch.rand(300, 784), (toy.test.labels + 3) % 10)
    outcomes = []
    for folder, data in (("a", toy), ("b", dataclasses.replace(toy, test=garbage))):
        runner = runner_for(smoke, data, folder)
        experiment.run(smoke, runner, lambda records: None)
        weights = [runner.weights_of(run).state_dict() for run in all_runs(smoke)]
        records = list(runner.finished.values())
        honest = [study(records).honest for study in (analysis.without_3, analysis.only_7_8)]
        stops = [record["metrics"].get("stopped_epoch") for record in runner.finished.values()]
        errors = [record["metrics"]["test_errors"] for record in runner.finished.values()]
        outcomes.append((weights, honest, stops, errors))
    (weights, *chosen, errors), (weights_b, *chosen_b, errors_b) = outcomes
    for a, b in zip(weights, weights_b, strict=True):
        assert all(torch.equal(a[name], b[name]) for name in a)
    assert chosen == chosen_b and errors != errors_b


def test_the_teacher_is_not_changed_by_distillation(toy, runner_for, smoke):
    """Neither its weights nor the soft targets that students are given."""
    runner = runner_for(smoke, toy)
    teacher, _, *students = experiment.headline_runs(smoke, 0)
    runner.execute([teacher])
    before = runner.weights_of(teacher).state_dict() | runner.teacher_logits(teacher)
    runner.execute(students)
    fresh = runner.weights_of(teacher)
    after = fresh.state_dict() | {"train": fresh.logits(toy.train.images)[0], "test": fresh.logits(toy.test.images)[0]}
    assert before.keys() >= after.keys() and all(torch.equal(before[name], after[name]) for name in after)


def test_a_diverging_run_is_one_clear_line(toy, runner_for, smoke):
    blank = dataclasses.replace(toy, train=ImageSet(toy.train.images * float("nan"), toy.train.labels))
    with pytest.raises(UserError, match="baseline, seed 0: training diverged"):
        runner_for(smoke, blank).execute([experiment.headline_runs(smoke, 0)[1]])


@pytest.mark.parametrize("wrong", [float("nan"), float("inf")])
def test_a_result_that_is_not_finite_is_not_stored(toy, runner_for, smoke, monkeypatch, wrong):
    runner, run = runner_for(smoke, toy), experiment.headline_runs(smoke, 0)[1]
    with pytest.raises(Diverged, match=r"^baseline, seed 0: training diverged \(a result is not finite\)"):
        runner.require_finite(run, {"test_errors": 9, "inner": [{"test_nll": wrong}]})
    measured = runner._measure
    monkeypatch.setattr(runner, "_measure", lambda *parts: [each | {"test_nll": wrong} for each in measured(*parts)])
    with pytest.raises(Diverged):
        runner.execute([run])
    assert not runner.is_finished(run)


def test_without_its_first_teacher_a_report_shows_no_digits(toy, runner_for, smoke):
    runner = runner_for(smoke, toy)
    runner.execute([experiment.headline_runs(smoke, 0)[1]])
    assert examples.shown_digits(smoke, runner) is None
    runner.execute([experiment.teacher_run(smoke, 0)])
    assert len(examples.shown_digits(smoke, runner)["cases"]) == 6


def test_a_finished_run_is_not_trained_again(toy, runner_for, smoke):
    runner = runner_for(smoke, toy)
    runs = experiment.headline_runs(smoke, 0)
    first = [runner.execute([run]) for run in runs]
    again = runner_for(smoke, toy)
    assert again.plan(runs) == []
    assert [again.execute([run]) for run in runs] == first


def test_the_key_of_a_run_depends_on_everything_that_determines_it(toy, runner_for, smoke):
    runner = runner_for(smoke, toy)
    run = experiment.headline_runs(smoke, 0)[2]
    changes = {
        "seed": 1, "temperature": 3.0, "hard_label_weight": 0.9, "hidden": (31, 32), "split": "train", "fraction": 0.5,
        "transfer_classes": (1, 2), "recipe": run.recipe.model_copy(update={"epochs": 9.0}),
        "teacher": dataclasses.replace(run.teacher, seed=5),
    }  # fmt: skip
    keys = {runner.key(dataclasses.replace(run, **{name: value})) for name, value in changes.items()}
    assert len(keys | {runner.key(run)}) == len(changes) + 1
    other = runner_for(smoke, dataclasses.replace(toy, digest="other"))
    assert other.key(run) != runner.key(run)
