"""Specialists: a small full run, no use of validation or test images, combinations, and their tables."""

import dataclasses

import pandas as pd
import pytest
import torch
from conftest import CLASSES
from torch.nn import functional as F

from repro import config, paper
from repro.config_search import FIRST_SEARCH_SEED
from repro.data.sources import fewer
from repro.data.types import ImageSet
from repro.engine.runner import Diverged
from repro.errors import UserError
from repro.evaluation import metrics
from repro.models.conv import ConvNet
from repro.report import build, records
from repro.report.specialists import analysis, costs, covers
from repro.report.specialists.redistilled import STUDENTS
from repro.specialists import experiment, search
from repro.specialists.examples import shown
from repro.specialists.runner import SpecialistsRunner
from repro.specialists.runs import OF_THE_SEARCH, Arm, CombinedRun, EnsembleRun
from repro.specialists.settings import SpecialistsSettings


class Killed(Exception):
    """Simulated end of the process."""


def test_ablations_may_have_fewer_seeds(stripy, runner_for, tmp_path, figures_are_stubs):
    changes = [
        "specialists.classes_per_specialist=5", "ablations.subset_sizes=[4]", "max_train_examples=800", "seeds=2",
        "ablation_seeds=1",
    ]  # fmt: skip
    settings = config.load(SpecialistsSettings, config.profile_path("specialists", "smoke"), changes)
    runner = runner_for(settings.changed({}), stripy)
    experiment.run(runner.settings, runner, lambda records: None)
    complete = records.complete(list(runner.finished.values()))
    assert len(complete) == len(runner.finished)
    seeds = {arm: {r["seed"] for r in complete if r["arm"] == arm} for arm in Arm}
    assert seeds[Arm.COMBINED] == seeds[Arm.LONGER] == {0, 1}
    assert seeds[Arm.KIND] == seeds[Arm.REDISTILLED] == seeds[Arm.ENSEMBLE] == {0}
    records.save(tmp_path / "out", "specialists", "stripy", complete, shown(settings, runner))
    build.report(tmp_path / "out")
    folder = tmp_path / "out" / "results" / "specialists" / "stripy"
    table3 = pd.read_csv(folder / "table3.csv")
    assert table3["seeds"].tolist() == [2] * 8 + [2, 1] + [2] * 8
    assert pd.read_csv(folder / "redistilled.csv")["seeds"].tolist() == [2, 2, 1, 1, 1, 1, 2]
    assert set(pd.read_csv(folder / "kinds.csv")["seeds"]) == {1}


def test_the_generalist_is_counted_on_the_specialists_images(stripy, smoke, runner_for, monkeypatch):
    runner = runner_for(smoke, stripy)
    perfect = lambda run, split: F.one_hot(getattr(stripy, split).labels, CLASSES).float()  # noqa: E731
    monkeypatch.setattr(runner, "predictions", perfect)
    whole = experiment.specialist_runs(smoke, runner, experiment.generalist_run(smoke, 0))[0]
    for run in (whole, dataclasses.replace(whole, fraction=0.5)):
        measured = runner._evaluate(run, ConvNet(1, run.width, runner.num_outputs(run), 3))
        for part in ("train", "validation", "test"):
            assert measured[f"{part}_special_right_before"] == measured[f"{part}_special_cases"] > 0


def test_an_ensemble_is_the_mean_of_its_networks_probabilities(stripy, smoke, runner_for, monkeypatch):
    runner = runner_for(smoke, stripy)

    def made_up(run) -> dict[str, torch.Tensor]:
        net = ConvNet(1, run.width, CLASSES, 7 + run.stream_seed)
        return {name: value[None] for name, value in net.state_dict().items()}

    monkeypatch.setattr(runner, "load_tensors", made_up)
    run = EnsembleRun(Arm.ENSEMBLE, (experiment.generalist_run(smoke, 0), *experiment.extra_generalists(smoke, 0)))
    runner.make(run)
    of_each = [runner.net_of(net).logits(stripy.test.images)[0].softmax(-1) for net in run.nets]
    mean = torch.stack(of_each).mean(0)
    torch.testing.assert_close(runner.log_probabilities(run, stripy.test).exp(), mean)
    measured = runner.store.record(runner.key(run))["metrics"]
    assert measured["nets"] == len(run.nets) > 1
    assert measured["test_errors"] == int((mean.argmax(-1) != stripy.test.labels).sum())


def test_a_whole_run_gives_all_tables_and_figures(stripy, smoke, runner_for, tmp_path):
    runner = runner_for(smoke, stripy)
    headlines = []
    experiment.run(smoke, runner, headlines.append)
    assert len(headlines) == 2
    # The generalist trained longer starts from the generalist of its seed, the others where the search found it best.
    generalists = {r["key"]: r["seed"] for r in runner.finished.values() if r["arm"] == Arm.GENERALIST}
    longer = [r for r in runner.finished.values() if r["arm"] == Arm.LONGER]
    assert [generalists[r["settings"]["start"]] for r in longer] == [r["seed"] for r in longer] == [0, 1]
    students = [r for r in runner.finished.values() if r["arm"] in STUDENTS]
    assert len(students) == 4 * smoke.seeds
    assert len({str(r["settings"]["recipe"]) + str(r["settings"]["start"] in generalists) for r in students}) == 1
    complete = records.complete(list(runner.finished.values()))
    records.save(tmp_path / "out", "specialists", "stripy", complete, shown(smoke, runner))
    build.report(tmp_path / "out")
    claims = pd.read_csv(tmp_path / "out" / "results" / "claims.csv")
    wanted = {"baseline_acc", "with_acc", "with_conditional", "relative_gain", "soft_regulariser", "distilled_back"}
    assert {f"specialists.{name}" for name in wanted} <= set(claims["claim"])
    assert set(claims["dataset"]) == {"stripy"}
    labels = [r["labels"] for r in complete if "labels" in r]
    assert len(labels) == 1, "they are kept once"
    for split, images in (("validation", stripy.validation), ("test", stripy.test)):
        assert metrics.unpack_counts(labels[0][split]).tolist() == images.labels.tolist()
    assert claims.set_index("claim")["note"]["specialists.relative_gain"].count("over classes [") == 1
    tables = {path.name for path in (tmp_path / "out" / "results" / "specialists" / "stripy").glob("*.csv")}
    assert tables == {
        f"{name}.csv"
        for name in (
            "table2", "table3", "table4", "cover_slopes", "ablations", "kinds", "redistilled", "search",
            "equal_compute",
        )
    }  # fmt: skip
    figures = {path.name for path in (tmp_path / "out" / "figures" / "specialists" / "stripy").glob("*.png")}
    assert len(figures) == 8
    chosen = pd.read_csv(tmp_path / "out" / "results" / "specialists" / "stripy" / "search.csv")
    assert chosen["stage"].tolist() == [1, 1, 2, 2, 3, 3] and (chosen["chosen"] == "yes").sum() == 3
    rate = chosen.query("stage == 1 and chosen == 'yes'")["settings"].item()
    assert {
        f"specialists.recipe.learning_rate = {r['settings']['recipe']['learning_rate']}"
        for r in runner.finished.values()
        if r["arm"] == Arm.SPECIALIST
    } == {rate}, "the specialists have the rate that the search chose"
    assert {r["seed"] for r in runner.finished.values() if r["arm"] in OF_THE_SEARCH} == {FIRST_SEARCH_SEED}
    best = chosen.groupby("stage")["validation accuracy"].transform("max")
    assert (chosen["validation accuracy"] == best)[chosen["chosen"] == "yes"].all()

    again = runner_for(smoke, stripy)
    again.make = None  # any run that is executed again would call it
    experiment.run(smoke, again, headlines.append)
    assert {r["key"] for r in again.finished.values()} == {r["key"] for r in runner.finished.values()}


def test_the_search_skips_what_diverges_and_remembers_it(stripy, smoke, runner_for, monkeypatch):
    trained = []
    train = SpecialistsRunner.train

    def diverge_at_the_lowest_rate(runner, run, training):
        trained.append(run.arm)
        if run.arm == Arm.SEARCH_SPECIALIST and run.recipe.learning_rate == 0.001:
            raise Diverged("the loss is not finite")
        train(runner, run, training)

    monkeypatch.setattr(SpecialistsRunner, "train", diverge_at_the_lowest_rate)
    stages = {"stages": ({"specialists.recipe.learning_rate": (0.001, 0.05)},)}
    settings = smoke.model_copy(update={"search": smoke.search.model_copy(update=stages)})
    chosen = search.choose(settings, runner_for(settings, stripy))
    assert chosen.specialists.recipe.learning_rate in (0.02, 0.05) and chosen.search is None
    count = len(trained)
    again = runner_for(settings, stripy)
    again.report_only = True
    assert search.choose(settings, again) == chosen and len(trained) == count

    stages = {"stages": ({"redistill.temperature": (4.0,)},)}
    changes = {"search": smoke.search.model_copy(update=stages), "specialists": chosen.specialists.model_copy(
        update={"recipe": chosen.specialists.recipe.model_copy(update={"learning_rate": 0.001})})}  # fmt: skip
    with pytest.raises(UserError, match="every candidate of stage 1 diverged"):
        search.choose(smoke.model_copy(update=changes), runner_for(smoke.model_copy(update=changes), stripy))


def test_files_left_out_are_listed_before_the_specialists_are_finished(stripy, smoke, runner_for):
    listed = {"left_out": {"broken link": ["train/a/1.png"]}}
    for data, examples in ((stripy, None), (dataclasses.replace(stripy, **listed), listed)):
        runner = runner_for(smoke, data)
        runner.report_only = True
        assert shown(smoke, runner) == examples


@pytest.mark.parametrize("kept_groups", [0, 1, 3, 8, 20])
def test_report_only_reports_the_finished_runs(stripy, smoke, runner_for, tmp_path, kept_groups, figures_are_stubs):
    runner = runner_for(smoke, stripy)
    budget = iter(range(kept_groups))
    make = runner.make

    def make_within_budget(run):
        if next(budget, None) is None:
            raise Killed
        make(run)

    runner.make = make_within_budget
    with pytest.raises(Killed):
        experiment.run(smoke, runner, lambda records: None)
    partly = runner_for(smoke, stripy)
    partly.report_only, partly.make = True, None
    experiment.run(smoke, partly, lambda records: None)
    assert len({key for *_, key in partly.finished}) == kept_groups
    whole = records.complete(list(partly.finished.values()))
    if whole:
        records.save(tmp_path / "out", "specialists", "stripy", whole, shown(smoke, partly))
        build.report(tmp_path / "out")


def test_extra_generalists_belong_to_a_seed_and_all_networks_differ(stripy, smoke, runner_for):
    runner = runner_for(smoke, stripy)
    for seed in range(2):
        runner.execute([experiment.generalist_run(smoke, seed)])
    experiment.execute_ensembles(smoke, runner, range(2))
    networks = [r for r in runner.finished.values() if r["arm"] in (Arm.GENERALIST, Arm.EXTRA_GENERALIST)]
    assert sorted((r["arm"], r["seed"]) for r in networks) == [
        *(("extra_generalist", seed) for seed in range(2)), *(("generalist", seed) for seed in range(2))
    ]  # fmt: skip
    assert len({r["metrics"]["test_nll"] for r in networks}) == 4


def test_training_and_clustering_do_not_depend_on_validation_or_test_images(stripy, smoke, runner_for):
    other = dataclasses.replace(stripy, test=ImageSet(255 - stripy.test.images, stripy.test.labels.flip(0)))
    other = dataclasses.replace(
        other, validation=ImageSet(255 - stripy.validation.images, stripy.validation.labels.flip(0))
    )
    weights = []
    for folder, data in (("a", stripy), ("b", other)):
        runner = runner_for(smoke, data, folder)
        runner.execute([experiment.generalist_run(smoke, 0)])
        specialists = experiment.specialist_runs(smoke, runner, experiment.generalist_run(smoke, 0))
        runner.execute(specialists)
        weights.append(([run.subset for run in specialists], [runner.net_of(run).state_dict() for run in specialists]))
    assert weights[0][0] == weights[1][0]
    for a, b in zip(weights[0][1], weights[1][1], strict=True):
        assert all(torch.equal(a[name], b[name]) for name in a)


def test_images_without_an_active_specialist_keep_the_generalists_prediction(stripy, smoke, runner_for):
    runner = runner_for(smoke, stripy)
    runner.execute([experiment.generalist_run(smoke, 0)])
    specialists = experiment.specialist_runs(smoke, runner, experiment.generalist_run(smoke, 0), count=1)
    runner.execute(specialists)
    run = CombinedRun(Arm.COMBINED, specialists[0].generalist, tuple(specialists))
    before, after, active = runner.combine(run, stripy.test)
    assert torch.equal(before[active == 0], after[active == 0]) and bool((active == 0).any())
    assert bool((active > 0).any()) and not torch.equal(before[active > 0], after[active > 0])
    torch.testing.assert_close(after.sum(-1), torch.ones(len(stripy.test)))


def test_gains_are_counted():
    """Compare the gain on three images, two of them covered once and twice, with a count by hand."""
    measured = {
        "test_cases": 3, "count": 2,
        "test_wrong_before": metrics.pack(torch.tensor([True, True, False])),
        "test_wrong": metrics.pack(torch.tensor([False, True, False])),
        "test_covering": metrics.pack_counts(torch.tensor([1, 2, 0])),
        "test_conditional_before": metrics.pack_counts(torch.tensor([0, 1, 0])),
        "test_conditional": metrics.pack_counts(torch.tensor([1, 1, 0])),
    }  # fmt: skip
    change = analysis.gain([{"arm": Arm.COMBINED, "seed": 0, "settings": {}, "params": {}, "metrics": measured}])
    assert change.accuracy(0) == pytest.approx([100 / 3]) and change.accuracy(1) == pytest.approx([200 / 3])
    assert change.conditional(0) == pytest.approx([100 / 3]) and change.conditional(1) == pytest.approx([200 / 3])
    assert change.relative() == pytest.approx([100.0])
    rows = covers.covers(change)
    assert [int(row.images[0]) for row in rows[:3]] == [1, 1, 1] and int(rows[1].after[0]) == 1


def test_table_4_of_the_paper_is_consistent():
    assert sum(paper.COVER_EXAMPLES) == 677_313 and sum(paper.COVER_CHANGES) == 6_821
    gain = 100 * (paper.BY_ID["specialists.with_acc"].paper / paper.BY_ID["specialists.baseline_acc"].paper - 1)
    assert round(gain, 1) == paper.BY_ID["specialists.relative_gain"].paper


def test_fewer_images_are_drawn_from_all_classes(stripy):
    assert len(fewer(stripy, 400).train) == 400
    assert set(fewer(stripy, 400).train.labels.tolist()) == set(range(CLASSES))


def test_runs_of_a_variation_carry_its_parameters(stripy, smoke, runner_for):
    runner = runner_for(smoke, stripy)
    runner.execute([experiment.generalist_run(smoke, 0)])
    (run, *_) = experiment.size_runs(smoke, runner, 0)
    assert run.arm == Arm.SUBSET_SIZE and dict(run.params) == {"subset_size": 4}
    assert {member.arm for member in run.specialists} == {Arm.ABLATION_SPECIALIST}
    assert {len(member.subset) for member in run.specialists} == {4} and len(run.specialists) == 2


def test_the_control_is_trained_at_least_as_long_as_the_specialists():
    specialists = costs.System("s", "specialists", 2.8, 4.0, [1.0])
    shorter, as_long, longest = (costs.System(f"{n}", "longer", n, 1.0, [1.0]) for n in (1.5, 2.9, 4.0))
    assert costs.longer([specialists, longest, shorter, as_long]) is as_long
    assert costs.longer([specialists, shorter]) is shorter and costs.longer([specialists]) is None
    assert costs.controls([specialists, shorter]) == [shorter] and costs.controls([]) == []


def test_equal_compute_names_the_nearest_ensemble():
    """An ensemble is named where its cost is within a fifth of the specialists' cost."""
    specialists = costs.System("s", "specialists", 2.8, 4.0, [1.0])
    ensembles = [costs.System(f"e{size}", "ensemble", float(size), float(size), [1.0]) for size in (2, 3)]
    rows = [specialists, *ensembles]
    assert costs.nearest_ensemble(rows, "train_cost") is ensembles[1]
    assert costs.nearest_ensemble(rows, "test_cost") is None
