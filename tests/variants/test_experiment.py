"""Variants: no leaks, how rows are made and compared, and a tiny full run from data to table."""

import json
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path

import pandas as pd
import pytest
import torch
from conftest import CLASSES, make_runner, striped, stripes
from samples import METHODS

from repro import config
from repro.data.types import ImageSet
from repro.errors import UserError
from repro.evaluation.stats import p_of_zero
from repro.report import build, records
from repro.report.variants import analysis, figures, tables
from repro.variants import experiment, methods
from repro.variants.models import Shape
from repro.variants.runner import Diverged, VariantsRunner
from repro.variants.runs import Cost, teacher
from repro.variants.settings import VariantsSettings


def test_costs_are_timed_on_one_thread_as_nets_are_trained(smoke, runner_for, stripy, monkeypatch):
    runner, threads = runner_for(smoke, stripy), []
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    monkeypatch.setattr(torch, "set_num_threads", threads.append)
    monkeypatch.setattr(VariantsRunner, "timed", lambda self, run: {"threads": list(threads)})
    net = experiment.students(smoke, smoke.methods[0], "{}")[0]
    run = Cost("cost: any", (net,), net)
    runner.make(run)
    assert runner.store.record(runner.key(run))["metrics"]["threads"] == [1] and threads == [1, 2]


@pytest.fixture(scope="module")
def smoke() -> VariantsSettings:
    changes = ["temperatures.hard_weights=[0.5]", "cost_steps=1", "train_cases=800"]
    return config.load(VariantsSettings, config.profile_path("variants", "smoke_icons"), changes)


@pytest.fixture
def runner_for(runner_for):
    return partial(runner_for, kind=VariantsRunner)


@pytest.fixture(scope="module")
def whole(smoke, tmp_path_factory) -> VariantsRunner:
    """A runner that has carried out all of it."""
    headlines: list[list[records.Record]] = []
    runner = make_runner(tmp_path_factory.mktemp("whole") / "runs", smoke, striped(), VariantsRunner)
    experiment.run(smoke, runner, headlines.append)
    assert len(headlines) == 1
    return runner


def test_from_data_to_table(smoke, whole, tmp_path):
    found = list(whole.finished.values())
    assert records.complete(found) == found
    records.save(tmp_path, "variants", "stripy", found)
    build.report(tmp_path)
    table = pd.read_csv(tmp_path / "results/variants/stripy/methods.csv")
    assert list(table.columns) == [
        "method", "metric", "ours", "ci_low", "ci_high", "seeds", "diff_from_kd", "diff_ci_low", "diff_ci_high",
        "time_over_kd", "memory_over_kd", "source",
    ]  # fmt: skip
    named = {plan.name for plan in smoke.methods}
    chained = {"born again, generation 1", "born again, generation 2", "born again, mean of 2", "by way of 1 assistant"}
    assert set(table["method"]) == named | chained and set(table["seeds"]) == {smoke.seeds}
    own = table.set_index("method").loc["soft targets"]
    assert own["diff_from_kd"] == 0 and table["source"].notna().all()
    assert table["time_over_kd"].gt(0).all() and table["memory_over_kd"].gt(0).all()
    assert pd.read_csv(tmp_path / "results/variants/all/benches.csv")["method"].tolist() == table["method"].tolist()
    tried = [one["metrics"] for one in found if one["arm"].startswith("candidate: ")]
    assert tried and not any("test" in name for one in tried for name in one)
    alike = [one for one in found if one["arm"] in ("no distillation", "gap, no teacher")]
    assert len({one["key"] for one in alike}) < len(alike)  # the same net under two names is trained once
    names = {"methods", "cost", "fidelity", "gap", "temperature", "view"}
    assert {path.stem for path in (tmp_path / "figures/variants/stripy").glob("*.png")} == names
    shown = [*tables.VIEWS.values(), *tables.ALONE.values()]
    views = pd.read_csv(tmp_path / "results/variants/stripy/views.csv")
    assert list(views["the teacher is shown"]) == shown
    assert list(views["minus no teacher"] == "–") == [False] * len(tables.VIEWS) + [True, True]
    axis = figures.view(found).axes[0]
    assert [label.get_text() for label in axis.get_yticklabels()] == shown and len(axis.containers) == len(shown)


def test_what_is_finished_is_not_trained_again_and_is_all_that_is_told(smoke, whole, runner_for, stripy, tmp_path):
    found = list(whole.finished.values())
    shutil.copytree(whole.store.folder, tmp_path / "runs")
    again = runner_for(smoke, stripy)
    again.train = None  # nothing is left to train
    experiment.run(smoke, again, lambda _: None)
    assert {r["key"] for r in again.finished.values()} == {r["key"] for r in found}
    lost = next(one for one in found if one["arm"] == "adversarial")
    (tmp_path / "runs" / f"{lost['key']}.json").unlink()
    partly = runner_for(smoke, stripy)
    partly.report_only, partly.train = True, None
    experiment.run(smoke, partly, lambda _: None)
    finished = records.complete(list(partly.finished.values()))
    assert {one["arm"] for one in found} - {one["arm"] for one in finished} == {"adversarial"}
    told = {len(found): set(tables.methods(found)["method"]) for found in (found, finished)}
    assert told[len(found)] - told[len(finished)] == {"adversarial"}


def test_a_candidate_that_diverges_is_not_chosen_and_ends_nothing(smoke, runner_for, stripy, monkeypatch):
    runner, plan = runner_for(smoke, stripy), next(one for one in smoke.methods if one.method == "label_smoothing")
    train = runner.train

    def diverge(run, training):
        if json.loads(run.options)["smoothing"] != plan.candidates[-1]["smoothing"]:
            raise Diverged("the loss is not finite")
        train(run, training)

    runner.train = diverge
    assert json.loads(experiment.choose(smoke, runner, plan, None)) == plan.candidates[-1]
    with pytest.raises(UserError, match="not finite"):
        runner.execute(experiment.students(smoke, plan, experiment.plain(plan.candidates[0])))
    runner.train = lambda run, training: diverge(replace(run, options='{"smoothing": 9}'), training)
    other = plan.model_copy(update={"candidates": ({"smoothing": 0.3}, {"smoothing": 0.4})})
    with pytest.raises(UserError, match="every candidate diverged"):
        experiment.choose(smoke, runner, other, None)


def test_what_a_method_shares_with_plain_distillation_is_what_was_chosen_there(smoke):
    soft = experiment.plain({"temperature": 7.0, "hard_label_weight": 0.2})
    by_name = {plan.method: [json.loads(one) for one in experiment.tried(plan, soft)] for plan in smoke.methods}
    for method in ("fitnets", "feature_maps", "attention", "adversarial"):
        assert {(one["temperature"], one["hard_label_weight"]) for one in by_name[method]} == {(7.0, 0.2)}
    assert {one["temperature"] for one in by_name["dkd"]} == {7.0}
    assert all("temperature" not in one for one in by_name["logit_std"])
    assert {one["temperature"] for one in by_name["kd"]} != {7.0}


def test_the_test_images_change_nothing_but_what_is_said_of_them(smoke, runner_for, stripy):
    small = smoke.model_copy(update={"methods": smoke.methods[:3]})
    chosen, kept = [], []
    for folder, labels in (("a", stripy.test.labels), ("b", (stripy.test.labels + 1) % CLASSES)):
        data = type(stripy)(**vars(stripy) | {"test": ImageSet(stripes(300, 9).images, labels)})
        runner = runner_for(small, data, folder)
        runner.execute([teacher(small)])
        chosen.append([experiment.choose(small, runner, plan, None) for plan in small.methods])
        students = [net for plan in small.methods for net in experiment.candidates(small, plan, None)]
        kept.append([runner.load_tensors(net) for net in students])
    for one, other in zip(*kept, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)
    assert chosen[0] == chosen[1] and json.loads(chosen[0][2])["temperature"] in (2.0, 4.0, 8.0)


def test_a_row_is_compared_with_plain_distillation_seed_by_seed():
    def record(arm, method, seed, errors):
        metrics = {"test_errors": errors, "test_cases": 100}
        settings = {"method": method}
        return {"arm": arm, "seed": seed, "settings": settings, "metrics": metrics, "baseline": "soft targets"}

    found = [record("soft targets", "kd", seed, 20 + 10 * seed) for seed in (0, 1)]
    found += [record("hints", "fitnets", seed, 18 + 10 * seed) for seed in (0, 1)]
    found += [record("born again, generation 1", "kd", 0, 1), record("candidate: x", "fitnets", 9, 1)]
    assert analysis.plain(found) == "soft targets"
    ahead = analysis.ahead(found, "hints")
    assert ahead.value == pytest.approx(2) and ahead.low == pytest.approx(2)
    assert analysis.rows(found) == ["soft targets", "hints", "born again, generation 1"]
    assert analysis.ahead(found, "born again, generation 1") is None


def test_a_row_is_told_apart_where_it_would_be_among_all_of_them():
    def record(arm, seed, right):
        metrics = {"test_errors": 1000 - right, "test_cases": 1000}
        settings = {"method": "none" if arm == "untaught" else "other"}
        return {"arm": arm, "seed": seed, "settings": settings, "metrics": metrics, "baseline": "soft targets"}

    right = {"soft targets": (900, 900, 900), "better": (920, 921, 922), "worse": (880, 879, 878),
             "once alone": (910, 912, 918), "same": (899, 900, 901)}  # fmt: skip
    found = [record(arm, seed, n) for arm, each in right.items() for seed, n in enumerate(each)]
    apart = analysis.ahead(found, "once alone")
    assert apart.low > 0 and 0.025 < p_of_zero(apart) < 0.05  # and there are two left, by Holm's reckoning
    not_apart = dict.fromkeys(("once alone", "same"), analysis.NOT_APART)
    assert analysis.verdicts(found) == {"better": "better", "worse": "worse"} | not_apart
    asked_first = [record("untaught", seed, n) for seed, n in enumerate(right["once alone"])]
    said = analysis.verdicts(found + asked_first)  # whether distillation helps at all is asked by itself
    assert said == {"better": "better", "worse": "worse", "untaught": "better"} | not_apart
    assert list(tables.benches({"one": found})["one"].str.contains("†")) == [False, True, False, False, True]


def test_chains_are_what_they_say(smoke):
    soft = experiment.plain({"temperature": 3.0, "hard_label_weight": 0.2})
    first, *born = experiment.generations(smoke, 1)
    assert first == experiment.students(smoke, smoke.methods[0], "{}")[1] and first.method == "none"
    assert [one.teacher for one in born] == [first, *born[:-1]]
    assert {json.dumps(json.loads(one.options)) for one in born} == {'{"hard_label_weight": 0.5, "temperature": 1.0}'}
    assert {one.order for one in born} == {first.seed} and len({one.seed for one in born}) == len(born)
    assert experiment.ensembles(smoke)[1].nets == tuple(born)
    shapes = tuple(Shape(kind="convolutional", width=width) for width in (6, 5))
    *assistants, student = experiment.by_way_of(smoke, shapes, soft, 1)
    assert [one.shape for one in assistants] == list(shapes) and student.shape == smoke.student.shape
    assert [one.teacher for one in (*assistants, student)] == [teacher(smoke), *assistants]
    assert {one.options for one in (*assistants, student)} == {soft} and student.seed == first.seed


def test_rows_of_as_many_assistants_are_named_by_their_shapes(smoke):
    rows = tuple((Shape(kind="convolutional", width=width),) for width in (6, 5))
    both = smoke.model_copy(update={"chains": smoke.chains.model_copy(update={"assistants": rows})})
    roles = {experiment.by_way_of(both, row, "{}", 0)[-1].arm for row in rows}
    assert roles == {"by way of 1 assistant (width 6)", "by way of 1 assistant (width 5)"}
    assert {one.arm for one in experiment.costs(both, experiment.students(both, both.baseline, "{}"), "{}")} >= {
        f"cost: {arm}" for arm in roles
    }


@pytest.mark.parametrize("profile", ["mnist", "icons", "cifar100", "quick_mnist", "quick_icons", "smoke_mnist"])
def test_every_profile_has_every_method_on_equal_terms(profile):
    own = config.load(VariantsSettings, config.profile_path("variants", profile))
    assert {plan.method for plan in own.methods} == set(METHODS) <= set(methods.names())
    if profile in ("mnist", "icons", "cifar100"):
        assert own.seeds >= (5 if profile == "mnist" else 3) and own.chains.generations == 3
        assert sorted(len(way) for way in own.chains.assistants) == [1, 2]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ('methods=[{name="x", method="hint"}]', "must be one of adversarial"),
        ('methods=[{name="x", method="kd", candidates=[{temprature=2}]}]', "temprature"),
        ('methods=[{name="x", method="none"}]', "soft_targets should be among them"),
        (
            'methods=[{name="x", method="kd"}, {name="y", method="dkd", candidates=[{}, {}]}]',
            "as many candidates",
        ),
        ('methods=[{name="x", method="kd"}, {name="x", method="none"}]', "same name"),
        ('student.shape={kind="convolutional"}', "width for a convolutional"),
        ('methods=[{name="temperature-free", method="kd"}]', "no row may begin with"),
        ("student.recipe.max_norm=2", "recipe.max_norm should be left out for convolutional"),
        ("seeds=0", "seeds"),
    ],
)
def test_bad_settings_are_named(change, said):
    with pytest.raises(UserError, match=said):
        config.load(VariantsSettings, config.profile_path("variants", "smoke_icons"), [change])


def test_the_method_of_the_readme_goes_through_and_its_choice_is_told(smoke, runner_for, stripy, monkeypatch, tmp_path):
    text = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    (tmp_path / "mine.py").write_text(text.split("methods/mine.py`:\n\n```python\n")[1].split("```")[0])
    monkeypatch.setattr(methods, "__path__", [*methods.__path__, str(tmp_path)])
    row = text.split("checked against the nets:\n\n```toml\n")[1].split("```")[0]
    profile = tmp_path / "mine.toml"
    profile.write_text(config.profile_path("variants", "icons").read_text() + row)
    plan = config.load(VariantsSettings, profile).methods[-1]
    runner = runner_for(smoke.model_copy(update={"methods": (smoke.methods[2], plan)}), stripy)
    runner.check()
    monkeypatch.setattr("repro.variants.runner.store.code_version", lambda modules: "-")
    runner.execute([teacher(smoke)])
    chosen = experiment.choose(smoke, runner, plan, None)
    runner.execute(experiment.students(smoke, plan, chosen))
    said = tables.chosen(list(runner.finished.values()), "mine")
    tried = {0.1: "weight 0.1 (lowest tried)", 1.0: "weight 1.0", 10.0: "weight 10.0 (highest tried)"}
    assert said == tried[json.loads(chosen)["weight"]]


def test_a_module_that_is_not_there_is_named_before_anything_is_trained(smoke, runner_for, stripy):
    wrong = smoke.methods[-1].model_copy(
        update={"name": "x", "method": "fitnets", "candidates": ({"pairs": [("a", "b")]},)}
    )
    runner = runner_for(smoke.model_copy(update={"methods": (*smoke.methods, wrong)}), stripy)
    runner.train = None
    with pytest.raises(UserError, match="a is no module of this net"):
        experiment.run(runner.settings, runner, lambda _: None)
