"""A teacher's features on disk: students are the same with and without them, and the teacher sees each batch once."""

import math
import shutil
from types import SimpleNamespace

import pytest
import torch
from samples import METHODS
from students import OPTIONS, WIDE, training, weights

from repro import config
from repro.variants import experiment, feature_cache, models
from repro.variants.feature_cache import FeatureCache
from repro.variants.models import Shape
from repro.variants.runner import VariantsRunner
from repro.variants.runs import Arm, teacher_run
from repro.variants.settings import VariantsSettings

SIZES = (5, 80, 16)  # steps, batch and features of the teacher in students
PLENTY = 1e9


@pytest.fixture
def seen(monkeypatch):
    """Return the batches that the teacher sees."""
    batches, pooled = [], models.ConvNet.pooled

    def watched(net, images):
        if net.width == WIDE.width and len(images) == SIZES[1]:
            batches.append(images)
        return pooled(net, images)

    monkeypatch.setattr(models.ConvNet, "pooled", watched)
    return batches


def train(data, path, name="kd", most_bytes=PLENTY, **changed):
    trainer = training(data, name, **changed)
    steps = trainer.steps
    trainer.cache = FeatureCache(path, steps, *SIZES[1:], most_bytes)
    for _ in trainer.run():
        pass
    return trainer


@pytest.mark.parametrize("name", [name for name in METHODS if name != "none"])
def test_students_are_the_same_to_the_bit_with_and_without_stored_features(stripy, tmp_path, name):
    plain = training(stripy, name)
    for _ in plain.run():
        pass
    for _ in range(2):  # the first stores the features, the second reads them
        stored = train(stripy, tmp_path / "a.features", name)
        assert all(torch.equal(weights(stored)[key], value) for key, value in weights(plain).items())


def test_the_teacher_sees_each_batch_once(stripy, tmp_path, seen):
    steps = train(stripy, tmp_path / "a.features").steps
    train(stripy, tmp_path / "a.features", "dkd")
    assert len(seen) == steps


def test_the_second_stage_of_fitnets_reads_what_kd_stored(stripy, tmp_path, seen):
    steps = train(stripy, tmp_path / "a.features").steps
    train(stripy, tmp_path / "a.features", "fitnets")
    fraction = OPTIONS["fitnets"]["stage1_fraction"]
    assert len(seen) == steps + math.ceil(fraction * steps)


def test_missing_features_are_computed_again(stripy, tmp_path):
    path = tmp_path / "a.features"
    whole = weights(train(stripy, path))
    content = path.read_bytes()
    path.write_bytes(content[:40] + b"\xff" * 40 + content[80:])  # not stored
    again = weights(train(stripy, path))
    assert all(torch.equal(again[key], value) for key, value in whole.items()) and path.read_bytes() == content
    path.write_bytes(content[:100])  # truncated
    train(stripy, path)
    assert path.read_bytes() == content


@pytest.mark.parametrize("full", ["limit", "disk"])
def test_without_room_features_are_not_stored(stripy, tmp_path, monkeypatch, full):
    if full == "disk":
        monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=1000))
    train(stripy, tmp_path / "a.features", most_bytes=1000 if full == "limit" else PLENTY)
    assert not list(tmp_path.iterdir())


def test_caches_of_a_folder_share_the_limit_and_are_removed_together(tmp_path):
    steps, batch, units = sizes = (2, 3, 4)
    most = 1.5 * 4 * steps * batch * units
    early, late = torch.rand(batch, units), torch.rand(batch, units)
    first = FeatureCache(tmp_path / "a.features", *sizes, most)
    assert first.at(1, lambda: early).equal(early) and first.at(1, lambda: late).equal(early)
    second = FeatureCache(tmp_path / "b.features", *sizes, most)
    assert second.at(1, lambda: early).equal(early) and second.at(1, lambda: late).equal(late)
    (tmp_path / "a.json").touch()
    feature_cache.remove(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_students_of_a_seed_and_a_teacher_share_a_file_until_all_are_trained(stripy, runner_for):
    changes = ["max_train_examples=800", "seeds=1", "search_seeds=1"]
    settings = config.load(VariantsSettings, config.profile_path("variants", "smoke_icons"), changes)
    runner = runner_for(settings, stripy, kind=VariantsRunner)
    by_name = {method.name: method for method in settings.methods}

    def path(method="KD", seed=0, **changed):
        fields = experiment.method_fields(settings, by_name[method], "{}") | changed
        cache = runner.cache(experiment.student(settings, Arm.METHOD, seed, **fields))
        return None if cache is None else cache.path

    recipe = settings.student.recipe
    assert path() == path("DKD") == path(shape=Shape(kind="conv", width=3))
    longer = recipe.model_copy(update={"epochs": 2 * recipe.epochs})
    still = recipe.model_copy(update={"max_translation": 0})
    others = [path(seed=1), path(order=7), path(view="different"), path(recipe=longer), path(recipe=still)]
    assert len({path(), *others}) == 6
    assert path("no KD") is None and path(teacher=teacher_run(settings, fraction=0.5)) is None
    stored, train = [], runner.train

    def watched(run, training):
        train(run, training)
        stored.append({path.name for path in runner.store.folder.glob("*.features")})

    runner.train = watched
    experiment.run(settings, runner, lambda _: None)
    assert stored[-1] and not list(runner.store.folder.glob("*.features"))
