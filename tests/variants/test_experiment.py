"""The experiment on the variants: no leaks, rows and their comparison, a tiny run from data to tables."""

import json
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
import torch
from conftest import CLASSES, make_runner, striped, stripes
from samples import METHODS

from repro import config
from repro.data.types import ImageSet
from repro.engine.runner import Diverged
from repro.errors import UserError
from repro.registry import load_components
from repro.report import build, records
from repro.report.variants import analysis, figures, tables
from repro.variants import experiment, methods
from repro.variants.check import check
from repro.variants.methods.base import ModelOutput
from repro.variants.models import Shape
from repro.variants.runner import VariantsRunner
from repro.variants.runs import Arm, TimingRun, label, teacher_run
from repro.variants.settings import VariantsSettings


def test_features_that_are_neither_maps_nor_units_are_refused_before_training(smoke, stripy, monkeypatch):
    tokens = ModelOutput(torch.zeros(2, 20), {"encoder.0": torch.zeros(2, 5, 8)})
    extractor = SimpleNamespace(sample=lambda images: tokens)
    monkeypatch.setattr("repro.variants.check.assemble", lambda *parts: (extractor, None, None))
    with pytest.raises(UserError, match=r"^methods\..*: grid: the output of encoder.0 has 3 dimensions; name modules"):
        check(smoke, stripy)


def test_timings_use_one_thread_as_training_does(smoke, runner_for, stripy, monkeypatch):
    runner, threads = runner_for(smoke, stripy), []
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    monkeypatch.setattr(torch, "set_num_threads", threads.append)
    monkeypatch.setattr(VariantsRunner, "timed", lambda self, run: {"threads": list(threads)})
    net = experiment.students(smoke, smoke.methods[0], "{}")[0]
    run = TimingRun(Arm.TIMING, (net,), net, params=(("row", "any"),))
    runner.make(run)
    assert runner.store.record(runner.key(run))["metrics"]["threads"] == [1] and threads == [1, 2]


@pytest.fixture(scope="module")
def smoke() -> VariantsSettings:
    changes = ["temperature_sweep.hard_label_weights=[0.5]", "timing_steps=1", "max_train_examples=800"]
    return config.load(VariantsSettings, config.profile_path("variants", "smoke_icons"), changes)


@pytest.fixture
def runner_for(runner_for):
    return partial(runner_for, kind=VariantsRunner)


@pytest.fixture(scope="module")
def whole(smoke, tmp_path_factory) -> VariantsRunner:
    """Return a runner that has run the whole experiment."""
    headlines: list[list[records.Record]] = []
    runner = make_runner(tmp_path_factory.mktemp("whole") / "runs", smoke, striped(), VariantsRunner)
    experiment.run(smoke, runner, headlines.append)
    assert len(headlines) == 1
    return runner


def text(record):
    return label(record["arm"], record["params"])


def test_files_left_out_are_examples_of_the_report(stripy, smoke, runner_for):
    examples = load_components("variants").examples
    listed = {"remarked": {"animated": ["test/a/1.gif"]}}
    assert examples(smoke, runner_for(smoke, stripy)) is None
    assert examples(smoke, runner_for(smoke, replace(stripy, **listed))) == listed


def test_a_whole_run_gives_all_tables_and_figures(smoke, whole, tmp_path):
    finished = list(whole.finished.values())
    assert records.complete(finished) == finished
    records.save(tmp_path, "variants", "stripy", finished)
    build.report(tmp_path)
    table = pd.read_csv(tmp_path / "results/variants/stripy/methods.csv")
    assert list(table.columns) == [
        "method", "metric", "ours", "ci_low", "ci_high", "seeds", "diff_from_kd", "diff_ci_low", "diff_ci_high",
        "time_over_kd", "memory_over_kd", "source",
    ]  # fmt: skip
    named = {plan.name for plan in smoke.methods}
    in_sequence = {"born again, generation 1", "born again, generation 2", "born-again ensemble (2)"}
    assert set(table["method"]) == named | in_sequence | {"teacher assistants (1)"} and set(table["seeds"]) == {
        smoke.seeds
    }
    kd = table.set_index("method").loc["KD"]
    assert kd["diff_from_kd"] == 0 and table["source"].notna().all()
    assert table["time_over_kd"].gt(0).all() and table["memory_over_kd"].gt(0).all()
    assert pd.read_csv(tmp_path / "results/variants/all/testbeds.csv")["method"].tolist() == table["method"].tolist()
    search = [record["metrics"] for record in finished if record["arm"] == Arm.SEARCH]
    assert search and not any("test" in name for metrics in search for name in metrics)
    alike = [
        record for record in finished if record["settings"].get("method") == "none" and record["arm"] != Arm.TEACHER
    ]
    assert len({record["key"] for record in alike}) < len(alike)  # one training serves two arms
    assert sum(record["arm"] == Arm.TIMING for record in finished) == len(table)
    names = {"methods", "cost", "fidelity", "gap", "temperature", "view"}
    assert {path.stem for path in (tmp_path / "figures/variants/stripy").glob("*.png")} == names
    shown = [*analysis.VIEWS.values(), *analysis.VIEWS_WITHOUT_TEACHER.values()]
    views = pd.read_csv(tmp_path / "results/variants/stripy/views.csv")
    assert list(views["view of the teacher"]) == shown
    assert list(views["delta vs no teacher"] == "–") == [False] * len(analysis.VIEWS) + [True, True]
    axis = figures.view(finished).axes[0]
    assert [label.get_text() for label in axis.get_yticklabels()] == shown and len(axis.containers) == len(shown)


def test_finished_runs_are_not_repeated_and_incomplete_rows_are_left_out(smoke, whole, runner_for, stripy, tmp_path):
    complete = list(whole.finished.values())
    shutil.copytree(whole.store.folder, tmp_path / "runs")
    again = runner_for(smoke, stripy)
    again.train = None  # nothing is left to train
    experiment.run(smoke, again, lambda _: None)
    assert {r["key"] for r in again.finished.values()} == {r["key"] for r in complete}
    lost = next(record for record in complete if text(record) == "adversarial")
    (tmp_path / "runs" / f"{lost['key']}.json").unlink()
    partly = runner_for(smoke, stripy)
    partly.report_only, partly.train = True, None
    experiment.run(smoke, partly, lambda _: None)
    finished = records.complete(list(partly.finished.values()))
    assert set(map(text, complete)) - set(map(text, finished)) == {"adversarial"}
    before, after = (set(tables.methods(rows)["method"]) for rows in (complete, finished))
    assert before - after == {"adversarial"}
    searched = next(record for record in complete if record["arm"] == Arm.SEARCH and record["params"]["name"] == "DKD")
    (tmp_path / "runs" / f"{searched['key']}.json").unlink()
    early = runner_for(smoke, stripy)
    early.report_only, early.train = True, None
    experiment.run(smoke, early, lambda _: None)
    finished = records.complete(list(early.finished.values()))
    assert {record["arm"] for record in finished} == {Arm.TEACHER, Arm.SEARCH, Arm.METHOD}
    assert before - set(tables.methods(finished)["method"]) >= {"adversarial", "DKD"}


def test_a_search_skips_entries_that_diverge(smoke, runner_for, stripy, monkeypatch):
    runner, method = runner_for(smoke, stripy), next(m for m in smoke.methods if m.method == "label_smoothing")
    train = runner.train

    def diverge(run, training):
        if json.loads(run.options)["smoothing"] != method.grid[-1]["smoothing"]:
            raise Diverged("the loss is not finite")
        train(run, training)

    runner.train = diverge
    assert json.loads(experiment.choose(smoke, runner, method, None)) == method.grid[-1]
    with pytest.raises(UserError, match="not finite"):
        runner.execute(experiment.students(smoke, method, experiment.to_json(method.grid[0])))
    runner.train = lambda run, training: diverge(replace(run, options='{"smoothing": 9}'), training)
    other = method.model_copy(update={"grid": ({"smoothing": 0.3}, {"smoothing": 0.4})})
    with pytest.raises(UserError, match="every entry of its grid diverged"):
        experiment.choose(smoke, runner, other, None)


def test_options_that_a_method_shares_with_kd_are_those_chosen_for_kd(smoke):
    soft = experiment.to_json({"temperature": 7.0, "hard_label_weight": 0.2})
    by_name = {method.method: list(map(json.loads, experiment.grid(method, soft))) for method in smoke.methods}
    for method in ("fitnets", "feature_maps", "attention", "adversarial"):
        assert {(options["temperature"], options["hard_label_weight"]) for options in by_name[method]} == {(7.0, 0.2)}
    assert {options["temperature"] for options in by_name["dkd"]} == {7.0}
    assert all("temperature" not in options for options in by_name["logit_std"])
    assert {options["temperature"] for options in by_name["kd"]} != {7.0}


def test_training_and_search_do_not_depend_on_the_test_images(smoke, runner_for, stripy):
    small = smoke.model_copy(update={"methods": smoke.methods[:3]})
    chosen, weights = [], []
    for folder, labels in (("a", stripy.test.labels), ("b", (stripy.test.labels + 1) % CLASSES)):
        data = type(stripy)(**vars(stripy) | {"test": ImageSet(stripes(300, 9).images, labels)})
        runner = runner_for(small, data, folder)
        runner.execute([teacher_run(small)])
        chosen.append([experiment.choose(small, runner, plan, None) for plan in small.methods])
        students = [net for plan in small.methods for net in experiment.search_runs(small, plan, None)]
        weights.append([runner.load_tensors(net) for net in students])
    for first, second in zip(*weights, strict=True):
        torch.testing.assert_close(first, second, rtol=0, atol=0)
    assert chosen[0] == chosen[1] and json.loads(chosen[0][2])["temperature"] in (2.0, 4.0, 8.0)


def test_born_again_and_teacher_assistant_sequences_have_the_right_teachers(smoke):
    soft = experiment.to_json({"temperature": 3.0, "hard_label_weight": 0.2})
    first, *born = experiment.born_again(smoke, 1)
    assert first == experiment.students(smoke, smoke.methods[0], "{}")[1] and first.method == "none"
    assert [run.teacher for run in born] == [first, *born[:-1]]
    assert {json.dumps(json.loads(run.options)) for run in born} == {'{"hard_label_weight": 0.5, "temperature": 1.0}'}
    assert {run.order for run in born} == {first.seed} and len({run.seed for run in born}) == len(born)
    assert experiment.born_again_ensembles(smoke)[1].nets == tuple(born)
    shapes = tuple(Shape(kind="conv", width=width) for width in (6, 5))
    *assistants, student = experiment.teacher_assistants(smoke, shapes, soft, 1)
    assert [run.shape for run in assistants] == list(shapes) and student.shape == smoke.student.shape
    assert [run.teacher for run in (*assistants, student)] == [teacher_run(smoke), *assistants]
    assert {run.options for run in (*assistants, student)} == {soft} and student.seed == first.seed


def test_rows_of_equally_many_assistants_are_labeled_by_their_shapes(smoke):
    rows = tuple((Shape(kind="conv", width=width),) for width in (6, 5))
    both = smoke.model_copy(update={"sequential": smoke.sequential.model_copy(update={"assistants": rows})})
    students = [experiment.teacher_assistants(both, row, "{}", 0)[-1] for row in rows]
    labels = {label(student.arm, dict(student.params)) for student in students}
    assert labels == {"teacher assistants (1): conv:6", "teacher assistants (1): conv:5"}
    timings = experiment.timings(both, experiment.students(both, both.baseline, "{}"), "{}")
    assert {dict(run.params)["row"] for run in timings} >= labels


@pytest.mark.parametrize(
    "profile", ["mnist", "icons", "icons_long", "cifar100", "quick_mnist", "quick_icons", "smoke_mnist"]
)
def test_every_profile_has_every_method(profile):
    settings = config.load(VariantsSettings, config.profile_path("variants", profile))
    assert {method.method for method in settings.methods} == set(METHODS) <= set(methods.names())
    if profile in ("mnist", "icons", "icons_long", "cifar100"):
        assert settings.seeds >= (5 if profile == "mnist" else 3) and settings.sequential.born_again_generations == 3
        assert sorted(map(len, settings.sequential.assistants)) == [1, 2]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ('methods=[{name="x", method="hint"}]', "must be one of adversarial"),
        ('methods=[{name="x", method="kd", grid=[{temprature=2}]}]', "temprature"),
        ('methods=[{name="x", method="none"}]', "kd must be among them"),
        (
            'methods=[{name="x", method="kd"}, {name="y", method="dkd", grid=[{}, {}]}]',
            "all grids must be of one size",
        ),
        ('methods=[{name="x", method="kd"}, {name="x", method="none"}]', "same name"),
        ('student.shape={kind="conv"}', "width for kind conv"),
        ('methods=[{name="teacher of mine", method="kd"}]', "no name must begin with"),
        ("student.recipe.max_norm=2", "recipe.max_norm must be left out for models of kind conv"),
        ("seeds=0", "seeds"),
        ("student.shape=conv:x", 'must be a shape such as "conv:4"'),
        ("student.shape=conv:0", "student.shape"),
        ("student.shape=cnv:4", 'must be a shape such as "conv:4"'),
        ('student.shape={kind="convolutional", width=4}', "is now called 'conv'"),
        ("chains.generations=3", "chains: is now called sequential"),
        ("capacity_gap.shortened=[0.5]", "is now called capacity_gap.early_stopped_fractions"),
        ('methods=[{name="x", method="kd", candidates=[{}]}]', "is now called methods.x.grid"),
        ('methods=[{name="x", method="dkd", grid=[{other_weight=1.0}]}]', "other_weight is now called nckd_weight"),
    ],
)
def test_bad_settings_are_refused_by_name(change, message):
    with pytest.raises(UserError, match=message):
        config.load(VariantsSettings, config.profile_path("variants", "smoke_icons"), [change])


def test_the_method_of_the_documentation_is_searched_and_trained(smoke, runner_for, stripy, monkeypatch, tmp_path):
    document = (Path(__file__).parents[2] / "docs" / "extending.md").read_text(encoding="utf-8")
    (tmp_path / "mine.py").write_text(document.split("methods/mine.py`:\n\n```python\n")[1].split("```")[0])
    monkeypatch.setattr(methods, "__path__", [*methods.__path__, str(tmp_path)])
    profile_text = document.split("checked against the models:\n\n```toml\n")[1].split("```")[0]
    profile = tmp_path / "mine.toml"
    profile.write_text(profile_text)
    plan = config.load(VariantsSettings, profile, experiment="variants").methods[-1]
    runner = runner_for(smoke.model_copy(update={"methods": (smoke.methods[2], plan)}), stripy)
    check(runner.settings, runner.data)
    monkeypatch.setattr("repro.variants.runner.store.code_version", lambda modules: "-")
    runner.execute([teacher_run(smoke)])
    chosen = experiment.choose(smoke, runner, plan, None)
    runner.execute(experiment.students(smoke, plan, chosen))
    chosen_text = tables.chosen(list(runner.finished.values()), "mine")
    tried = {0.1: "weight 0.1 (lowest tried)", 1.0: "weight 1.0", 10.0: "weight 10.0 (highest tried)"}
    assert chosen_text == tried[json.loads(chosen)["weight"]]


def test_a_missing_module_is_named_before_anything_is_trained(smoke, runner_for, stripy):
    wrong = smoke.methods[-1].model_copy(update={"name": "x", "method": "fitnets", "grid": ({"pairs": [("a", "b")]},)})
    runner = runner_for(smoke.model_copy(update={"methods": (*smoke.methods, wrong)}), stripy)
    runner.train = None
    with pytest.raises(UserError, match="a is no module of this model"):
        experiment.run(runner.settings, runner, lambda _: None)
