"""A teacher's features on disk: students are the same with and without them, and the teacher sees each batch once."""

import errno
import math
import os
import shutil
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from samples import METHODS
from students import OPTIONS, RECIPE, WIDE, training, weights

from repro import config
from repro.variants import experiment, feature_cache, methods, models
from repro.variants.cost import expected_macs
from repro.variants.feature_cache import FeatureCache
from repro.variants.models import Shape
from repro.variants.runner import VariantsRunner
from repro.variants.runs import Arm, student, teacher_run
from repro.variants.settings import VariantsSettings

PLENTY = 1e9
# Those that need no more than the teacher's logits, at least in some steps.
READERS = [name for name in METHODS if methods.find(name).has_teacher and name not in ("attention", "feature_maps")]


@pytest.fixture
def seen(monkeypatch):
    """Return the batches that the teacher sees."""
    batches, pooled = [], models.ConvNet.pooled

    def watched(net, images):
        if net.width == WIDE.width and len(images) == RECIPE.batch_size:
            batches.append(images)
        return pooled(net, images)

    monkeypatch.setattr(models.ConvNet, "pooled", watched)
    return batches


def train(data, folder, name="kd", most_bytes=PLENTY, **changed):
    trainer = training(data, name, **changed)
    trainer.cache = FeatureCache(folder, "teacher", 0, (trainer.steps, RECIPE.batch_size, 4 * WIDE.width), most_bytes)
    for _ in trainer.run():
        pass
    return trainer


def same(a, b):
    return all(torch.equal(weights(a)[name], value) for name, value in weights(b).items())


@pytest.mark.parametrize("view", ["same", "different"])
@pytest.mark.parametrize("name", READERS)
def test_students_are_the_same_to_the_bit_with_and_without_stored_features(stripy, tmp_path, name, view):
    plain = training(stripy, name, view=view)
    for _ in plain.run():
        pass
    for _ in range(2):  # the first stores the features, the second reads them
        stored = train(stripy, tmp_path, name, view=view)
        assert same(stored, plain) and stored.cache.path.exists()


def test_the_teacher_sees_each_batch_once(stripy, tmp_path, seen):
    steps = train(stripy, tmp_path).steps
    train(stripy, tmp_path, "dkd")
    assert len(seen) == steps


def test_the_second_stage_of_fitnets_reads_what_kd_stored(stripy, tmp_path, seen):
    steps = train(stripy, tmp_path).steps
    train(stripy, tmp_path, "fitnets")
    assert len(seen) == steps + math.ceil(OPTIONS["fitnets"]["stage1_fraction"] * steps)


def test_missing_features_are_computed_again(stripy, tmp_path):
    whole = train(stripy, tmp_path)
    path = whole.cache.path
    content = path.read_bytes()
    path.write_bytes(content[:40] + b"\xff" * 40 + content[80:])  # not stored
    assert same(train(stripy, tmp_path), whole) and path.read_bytes() == content
    path.write_bytes(content[:100])  # truncated
    assert same(train(stripy, tmp_path), whole) and path.read_bytes() == content


@pytest.mark.parametrize("fault", ["limit", "disk", "write", "map"])
def test_without_room_features_are_not_stored(stripy, tmp_path, monkeypatch, seen, fault):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    def unmapped(*_, **__):
        raise RuntimeError("unable to mmap")

    if fault == "disk":
        monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=1000))
    if fault == "write":
        monkeypatch.setattr(os, "fsync", full)
    if fault == "map":
        monkeypatch.setattr(torch, "from_file", unmapped)
    trainer = train(stripy, tmp_path, most_bytes=1000 if fault == "limit" else PLENTY)
    assert len(seen) == trainer.steps and trainer.cache.path.exists() == (fault == "map")
    assert not list(tmp_path.glob("*.unfinished"))


def test_caches_of_a_teacher_share_the_limit_and_are_removed_together(tmp_path):
    sizes, most = (2, 3, 4), 1.5 * 4 * math.prod((2, 3, 4))
    early, late = torch.rand(3, 4), torch.rand(3, 4)

    def stored(group, order):
        cache = FeatureCache(tmp_path, group, order, sizes, most)
        return cache.at(1, lambda: early).equal(early) and cache.at(1, lambda: late).equal(early)

    assert stored("a", 1) and not stored("a", 2) and stored("b", 1)
    feature_cache.remove(tmp_path, "a")
    assert [path.name.partition("-")[0] for path in tmp_path.iterdir()] == ["b"]


def test_a_file_that_another_process_made_meanwhile_is_not_replaced(tmp_path, monkeypatch):
    sizes, values = (2, 3, 4), torch.rand(3, 4)
    other = FeatureCache(tmp_path, "a", 0, sizes, PLENTY)
    sync = os.fsync

    def overtaken(number):
        sync(number)
        monkeypatch.setattr(os, "fsync", sync)
        other.at(0, lambda: values)

    monkeypatch.setattr(os, "fsync", overtaken)
    cache = FeatureCache(tmp_path, "a", 0, sizes, PLENTY)
    assert cache.at(0, lambda: values + 1).equal(values)


@pytest.fixture(scope="module")
def smoke():
    changes = ["max_train_examples=800", "seeds=1", "search_seeds=1"]
    return config.load(VariantsSettings, config.profile_path("variants", "smoke_icons"), changes)


def test_students_share_a_cache_where_teacher_and_images_are_the_same(stripy, smoke, runner_for):
    runner = runner_for(smoke, stripy, kind=VariantsRunner)
    by_name = {method.name: method for method in smoke.methods}
    net = models.make(smoke.teacher.shape, stripy, 0)

    def path(method="KD", seed=0, net=net, by=runner, **changed):
        run = student(smoke, Arm.METHOD, seed, **(experiment.method_fields(smoke, by_name[method], "{}") | changed))
        cache = by.feature_cache(run, net)
        return None if cache is None else cache.path

    assert path() == path("DKD") == path(shape=Shape(kind="conv", width=3))
    other_weights = models.make(smoke.teacher.shape, stripy, 1)
    bf16 = runner_for(smoke, stripy, kind=VariantsRunner)
    bf16.compute = replace(bf16.compute, precision="bf16")
    assert len({path(), path(seed=1), path(order=7), path(net=other_weights), path(by=bf16)}) == 5
    longer = smoke.student.recipe.model_copy(update={"epochs": 99.0})
    earlier = teacher_run(smoke, fraction=0.5)
    for changed in ({"view": "different"}, {"recipe": longer}, {"teacher": earlier}, {"method": "no KD", "net": None}):
        assert path(**changed) is None, changed
    cheap, costly = (runner.flops(student(smoke, Arm.METHOD, 0, teacher=of)) for of in (teacher_run(smoke), earlier))
    assert cheap < costly
    runner.compute = replace(runner.compute, device=torch.device("cuda"))
    assert path() is None
    elsewhere = runner_for(smoke, stripy, kind=VariantsRunner, keeps_caches=False)
    assert path(by=elsewhere) is None


def test_students_use_the_cache_and_timings_do_not(stripy, smoke, runner_for, tmp_path):
    runner = runner_for(smoke, stripy, kind=VariantsRunner)
    (net,) = experiment.students(smoke, smoke.baseline, "{}")
    runner.execute([teacher_run(smoke), net])
    assert list(runner.store.folder.glob("*.features"))
    assert runner.training(net, None).cache is None and runner.training(net, tmp_path / "checkpoint").cache is not None
    runner.remove_caches()
    assert not list(runner.store.folder.glob("*.features"))


def test_the_progress_display_counts_the_teacher_where_its_features_are_computed(
    stripy, smoke, runner_for, monkeypatch
):
    runner = runner_for(smoke, stripy, kind=VariantsRunner)
    first, second = (student(smoke, Arm.METHOD, 0, **experiment.method_fields(smoke, method, "{}"))
                     for method in (smoke.baseline, next(m for m in smoke.methods if m.name == "DKD")))  # fmt: skip
    runner.execute([teacher_run(smoke)])
    expected: list[float] = []
    done: list[float] = []
    monkeypatch.setattr(runner.progress, "expect", expected.append)
    monkeypatch.setattr(runner.progress, "advance", done.append)
    teacher = 2 * expected_macs(smoke.teacher.shape, stripy) * first.recipe.batch_size
    for run, forward_passes in ((first, first.recipe.steps(len(stripy.train))), (second, 0)):
        expected.clear()
        done.clear()
        runner.execute([run])
        assert sum(done) == pytest.approx(runner.flops(run) + forward_passes * teacher)
        assert sum(expected) == pytest.approx(forward_passes * teacher)
