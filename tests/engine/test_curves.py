"""Training curves for TensorBoard hold what the records hold."""

import pickle
import sys

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from repro import config
from repro.engine.curves import CurveLog, summary_writer
from repro.errors import UserError
from repro.mnist import experiment
from repro.mnist.settings import MnistSettings
from repro.specialists import experiment as specialists
from repro.specialists.runner import SpecialistsRunner
from repro.specialists.settings import SpecialistsSettings


def read(folder):
    """Return the curves of all runs below a folder: (step, value) by name, by the key of the run."""
    curves = {}
    for run in {file.parent for file in folder.rglob("events.*")}:
        events = EventAccumulator(str(run)).Reload()
        names = events.Tags()["scalars"]
        curves[run.name.rsplit("_")[-1]] = {
            name: [(event.step, event.value) for event in events.Scalars(name)] for name in names
        }
    return curves


def test_curves_of_mnist_are_those_of_the_records(toy, runner_for, tmp_path):
    settings = config.load(MnistSettings, config.profile_path("mnist", "smoke"), ["max_train_examples=1200"])
    runner = runner_for(settings, toy, curves=CurveLog(tmp_path / "curves"))
    records = runner.execute(experiment.headline_runs(settings, 0))
    curves = read(tmp_path / "curves")
    assert {record["key"] for record in records} == curves.keys() and len(curves) == 4
    for record in records:
        errors, losses = (curves[record["key"]][name] for name in ("test_errors", "training_loss"))
        assert [value for _, value in errors] == [point[1] for point in record["curve"]]
        assert [value for _, value in losses] == pytest.approx([point[2] for point in record["curve"]], rel=1e-3)
        assert errors[0][0] < errors[1][0]
    assert not runner.curves._writers, "files are closed after each training"
    assert (tmp_path / "curves" / "teacher").is_dir()


def test_curves_of_specialists_show_their_classes(stripy, runner_for, tmp_path):
    changes = ["specialists.classes_per_specialist=5", "ablations.subset_sizes=[4]", "max_train_examples=800"]
    settings = config.load(SpecialistsSettings, config.profile_path("specialists", "smoke"), changes)
    runner = runner_for(settings, stripy, kind=SpecialistsRunner, curves=CurveLog(tmp_path / "curves"))
    generalist = specialists.generalist_run(settings, 0)
    runner.execute([generalist])
    (record,) = runner.execute(specialists.specialist_runs(settings, runner, generalist)[:1])
    curve = read(tmp_path / "curves")[record["key"]]["validation_accuracy_within_special_classes"]
    assert [value for _, value in curve] == pytest.approx([point[3] for point in record["curve"]])


def test_workers_get_a_log_without_open_files(tmp_path):
    log = CurveLog(tmp_path)
    log.write("a", 1, {"x": 1.0})
    assert pickle.loads(pickle.dumps(log)) == CurveLog(tmp_path)
    log.close()


def test_missing_tensorboard_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(UserError, match="TensorBoard is not installed; pip install"):
        summary_writer()
