"""``repro verify``: records that are equal, altered, of other settings or too expensive, on a toy in place of MNIST."""

import csv
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import digits, make_runner

from repro import __main__, config
from repro.mnist import experiment
from repro.mnist import runner as mnist_runner
from repro.mnist.settings import MnistSettings
from repro.registry import load_components
from repro.report import records
from repro.variants.runner import VariantsRunner
from repro.verify import Place
from repro.verify.comparison import Verdict, compare
from repro.verify.plan import requested_keys
from repro.verify.runs import rebuild

OVERRIDES = ["seeds=3", "max_train_examples=600", "teacher.hidden=[16]"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> tuple[Path, Path]:
    """Return the folder of committed records and the runs that a first command has retrained."""
    here = tmp_path_factory.mktemp("trained")
    settings = config.load(MnistSettings, config.profile_path("mnist", "smoke"), OVERRIDES)
    runner = make_runner(here / "runs", settings, digits().first(600))
    runner.provenance |= {"profile": "smoke", "overrides": OVERRIDES}
    runs = [run for seed in range(settings.seeds) for run in experiment.headline_runs(settings, seed)]
    runner.execute([run for run in runs if run.teacher is None])
    runner.execute([run for run in runs if run.teacher is not None])
    records.save(here, "mnist", "mnist", list(runner.finished.values()))
    return here, here / "again"


@pytest.fixture
def verify(trained, tmp_path, monkeypatch, capfd):
    """Return a function that verifies records, changed by a function, and returns exit code and all output."""
    committed, again = trained
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(mnist_runner, "load", lambda folder: digits())
    monkeypatch.setenv("COLUMNS", "200")

    def run(*words: str, change=lambda record: None, command: str = "mnist") -> tuple[int, str]:
        lines = records.path(committed, "mnist", "mnist").read_text().splitlines()
        changed = [json.loads(line) for line in lines]
        for record in changed:
            change(record)
        path = records.path(tmp_path, "mnist", "mnist")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(f"{json.dumps(record)}\n" for record in changed))
        common = ("--runs", str(again), "--device", "cpu", "--precision", "fp32")
        monkeypatch.setattr(sys, "argv", ["repro", "verify", command, *common, *words])
        with pytest.raises(SystemExit) as end:
            __main__.main()
        output = capfd.readouterr()
        return end.value.code, output.out + output.err

    return run


def on_arm(arm: str, **changes):
    """Return a function that changes metrics of the first seed's record of an arm, the cheapest one then."""

    def change(record: dict) -> None:
        if record["arm"] == arm and record["seed"] == 0:
            for name, by in changes.items():
                record["metrics"][name] += by
            record["wall_seconds"] = 0.0

    return change


def test_unchanged_records_are_equal_to_the_last_digit(verify, tmp_path):
    code, text = verify("--out", str(tmp_path / "all.csv"))
    assert code == 0 and "equal\n" in text and "spread" not in text, text
    rows = list(csv.DictReader((tmp_path / "all.csv").open()))
    assert {row["arm"] for row in rows} == {"teacher", "baseline", "distilled", "distilled_soft_only"}
    assert all(row["committed"] == row["now"] and row["verdict"] == "equal" for row in rows)


def test_a_record_altered_by_far_is_named(verify):
    code, text = verify(change=on_arm("teacher", test_nll=1000.0))
    assert code == 1 and "1 not reproduced" in text
    assert [line.split()[:3] for line in text.splitlines() if "not reproduced " in line] == [
        ["teacher", "0", "test_nll"]
    ]


def test_a_record_altered_little_is_within_the_spread(verify):
    code, text = verify(change=on_arm("teacher", test_nll=1e-6))
    assert code == 0 and "1 within the spread" in text


def test_changed_settings_are_left_out(verify):
    code, text = verify(
        change=lambda record: record["settings"].update(hidden=[7]) if record["arm"] == "baseline" else None
    )
    assert code == 0 and "left out: 3 of 12 records of mnist/paper: settings changed since" in text
    assert "teacher" in text and "baseline " not in text


def test_other_data_are_named_and_compared(verify):
    code, text = verify(change=lambda record: record.update(data_digest="other"))
    assert code == 0 and "the data, or the code that prepares them, have changed since" in text


def test_changed_settings_of_all_records_leave_nothing_to_compare(verify):
    code, text = verify(change=lambda record: record["settings"].update(hidden=[7]))
    assert code == 2 and "the settings of all records have changed since" in text


def test_students_of_a_changed_teacher_are_left_out(verify):
    code, text = verify(
        change=lambda record: record["settings"].update(hidden=[7]) if record["arm"] == "teacher" else None
    )
    assert code == 0 and "9 of 12" in text and text.rstrip().endswith("the records: baseline")


def as_search(record: dict) -> None:
    """Put students on an arm that the experiment does not name before training."""
    if record["arm"].startswith("distilled"):
        record["params"], record["arm"] = {"name": record["arm"]}, "search"


def test_a_batch_is_trained_as_a_whole(verify):
    code, text = verify(change=as_search)
    assert code == 0 and "search (2)" in text and "spread" not in text


def test_runs_made_from_changed_ones_are_left_out_on_any_arm(verify):
    def change(record: dict) -> None:
        as_search(record)
        if record["arm"] == "teacher":
            record["settings"]["hidden"] = [7]

    code, text = verify(change=change)
    assert code == 0 and "9 of 12" in text and text.rstrip().endswith("the records: baseline")


def test_too_few_minutes_name_the_cheapest_record(verify, tmp_path):
    def slow(record: dict) -> None:
        record["wall_seconds"] = 600.0 if record["arm"] == "baseline" else 6000.0

    code, text = verify("--minutes", "2", "--runs", str(tmp_path / "new"), change=slow)
    assert code == 2 and "baseline with seed" in text and "takes 10.0 minutes" in text


@pytest.mark.parametrize(
    ("command", "words"), [("mnits", "must be one of mnist, "), ("variants", "holds no records of variants")]
)
def test_unknown_experiments_and_missing_records(verify, command, words):
    code, text = verify(command=command)
    assert code == 2 and words in text and len(text.splitlines()) == 1


def test_a_csv_file_that_cannot_be_written_is_refused_before_training(verify, tmp_path):
    (tmp_path / "file").touch()
    code, text = verify("--out", str(tmp_path))
    assert code == 2 and "is a folder; name a CSV file" in text
    code, text = verify("--out", str(tmp_path / "file" / "all.csv"))
    assert code == 2 and "cannot be written to" in text and len(text.splitlines()) == 1


def record(seed: int, value, machine: str = "here", **metrics) -> dict:
    return {"seed": seed, "metrics": {"errors": value} | metrics, "machine": {"processor": machine}}


def verdict(committed: dict, now: dict, others: list[dict]) -> Verdict:
    return max(compare(committed, now, others, 1), key=lambda metric: metric.rank).verdict


@pytest.mark.parametrize(
    ("committed", "now", "others", "expected"),
    [
        (100, 100, [], Verdict.EQUAL),
        (100, 101, [], Verdict.CLOSE),
        (100, 103, [], Verdict.NOT),
        (100, 110, [90, 105, 99], Verdict.WITHIN),
        (100, 200, [90, 105, 99], Verdict.NOT),  # training has changed
        (200, 100, [90, 105, 99], Verdict.NOT),  # the record is wrong, and widens the interval that it is in
        (0, 1, [0, 0], Verdict.NOT),
    ],
)
def test_verdicts_on_a_number(committed, now, others, expected):
    seeds = [record(1 + seed, value) for seed, value in enumerate(others)]
    assert verdict(record(0, committed), record(0, now), seeds) == expected


def test_runs_that_differ_by_chance_alone_are_rarely_called_not_reproduced():
    rng, failures = np.random.default_rng(0), 0
    for _ in range(200):
        rows = rng.normal(size=(6, 8)).tolist()
        now, committed, *seeds = ({"seed": 0, "machine": {}, "metrics": {"m": row}} for row in rows)
        failures += verdict(committed, now, seeds) == Verdict.NOT
    assert 0 < failures <= 20, "5% of 200 are 10"


def test_without_a_known_spread_another_machine_is_no_failure():
    assert verdict(record(0, 100), record(0, 103, "elsewhere"), []) == Verdict.UNKNOWN
    assert verdict(record(0, 100), record(0, 103) | {"data_digest": "other"}, []) == Verdict.UNKNOWN


def test_lists_are_judged_by_their_sum():
    def listed(value: int) -> dict:
        return record(0, 1, rows=[value] * 20)

    seeds = [listed(value) | {"seed": value} for value in (9, 11, 10)]
    assert verdict(listed(10), listed(11), seeds) == Verdict.WITHIN
    assert verdict(listed(10), listed(50), seeds) == verdict(listed(50), listed(10), seeds) == Verdict.NOT
    assert verdict(listed(10), listed(10), seeds) == Verdict.EQUAL
    assert verdict(record(0, [1, {"wer": 2}]), record(0, [1, {"wer": 2}], step_seconds=3.0), []) == Verdict.EQUAL


def test_packed_bits_may_differ_where_the_training_does():
    def packed(text: str, errors: int = 1, machine: str = "here") -> dict:
        return record(0, errors, machine, wrong=text)

    assert verdict(packed("AAB"), packed("AAC"), []) == Verdict.NOT, "the same training on the same machine"
    assert verdict(packed("AAB"), packed("AAC", machine="elsewhere"), []) == Verdict.LISTS_DIFFER
    assert verdict(packed("AAB", 1000), packed("AAC", 1001), []) == Verdict.CLOSE


@pytest.mark.parametrize("value", [None, "100", [100], 10**400, {"a": 100}])
def test_metrics_that_are_missing_or_of_another_kind_are_not_reproduced(value):
    assert verdict(record(0, value), record(0, 100), []) == Verdict.NOT
    assert verdict(record(0, 100, more=1), record(0, 100), []) == Verdict.NOT
    assert verdict(record(0, 100, agreement=0.9), record(0, 100), []) == Verdict.EQUAL, "no teacher is trained for it"


def test_training_curves_are_compared():
    committed, now = (record(0, 100) | {"curve": [[1, loss], [2, 0.1]]} for loss in (0.9, 0.2))
    assert verdict(committed, committed, []) == Verdict.EQUAL and verdict(committed, now, []) == Verdict.NOT


@pytest.mark.parametrize("experiment", config.COMMITTED)
def test_runs_of_committed_records_can_be_made_from_them(experiment):
    root = Path(__file__).parents[1]
    datasets = records.datasets(root, experiment)
    assert datasets
    for dataset in datasets:
        committed = records.load(root, experiment, dataset)
        # Decodings are not made from their settings, nor is what a search compared without weights.
        whole = experiment in ("mnist", "variants") or dataset in ("icons", "cifar100", "letters")
        assert len(rebuild(experiment, committed)) > (len(committed) - 1 if whole else 0.8 * len(committed)), dataset


@pytest.mark.parametrize(
    ("command", "profile", "is_listed"),
    [("mnist", "smoke", True), ("mnist-choice", "choice", True), ("variants", "smoke_icons", False)],
)
def test_an_experiment_that_ends_early_is_not_listed(command, profile, is_listed, toy, stripy, tmp_path):
    """Else unchanged runs of these arms would count as changed: searches, and teachers of other sizes."""
    components = load_components(command)
    settings = config.load(components.settings, config.profile_path(command.partition("-")[0], profile))
    kind = VariantsRunner if command == "variants" else mnist_runner.MnistRunner
    runner = make_runner(tmp_path / "runs", settings, stripy if command == "variants" else toy, kind)
    assert bool(requested_keys(components, settings, runner)) == is_listed


def test_user_data_are_not_fetched(tmp_path):
    place = Place("specialists", "cifar100", [])
    assert str(tmp_path / "CIFAR100") in place.missing(tmp_path)
    (tmp_path / "cifar100" / "train").mkdir(parents=True)
    assert not place.missing(tmp_path)
