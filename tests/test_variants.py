"""Variants: equal terms, features by name, no leaks, resume, and a tiny full run from data to table."""

import json
from functools import partial

import pandas as pd
import pytest
import torch
from conftest import CLASSES, stripes

from repro import config
from repro.core import compute
from repro.core.recipe import Recipe
from repro.data.images import ImageSet
from repro.errors import UserError
from repro.report import build, records, variants_claims
from repro.variants import experiment, methods, nets
from repro.variants.nets import Shape
from repro.variants.runner import VariantsRunner, step_bytes
from repro.variants.settings import VariantsSettings
from repro.variants.training import VariantTraining

CPU = compute.choose("cpu", "fp32")
WIDE, NARROW = (Shape(kind="convolutional", width=width) for width in (4, 2))
DEEP = Shape(kind="fully connected", hidden=(12, 9))
RECIPE = Recipe(epochs=1, batch=80, optimiser="sgd", learning_rate=0.05, jitter=2)
OPTIONS = {
    "hints": {"pairs": [("stages.1", "stages.1")], "first": 0.5},
    "feature_maps": {"pairs": [("stages.0", "stages.0"), ("stages.2", "stages.2")]},
    "attention": {"pairs": [("stages.1", "stages.1")]},
    "self_distillation": {"exits": ["stages.0"]},
}


def training(data, name="soft_targets", shape=NARROW, seed=3, options=None, **changed):
    method = methods.find(name)
    own = method.Options(**(OPTIONS.get(name, {}) if options is None else options))
    if method.has_teacher and "teacher" not in changed:
        changed["teacher"] = nets.make(WIDE, data, 1)
    recipe = changed.pop("recipe", RECIPE)
    return VariantTraining(nets.make(shape, data, seed), method, own, data, recipe, CPU, seed, **changed)


def weights(one):
    return {name: value.clone() for name, value in one.net.student.state_dict().items()}


@pytest.mark.parametrize("name", methods.names())
def test_all_methods_have_the_same_student_order_and_views(stripy, name):
    one, plain = training(stripy, name), training(stripy, "none")
    assert all(torch.equal(weights(one)[key], value) for key, value in weights(plain).items())
    assert one.steps == plain.steps
    for step in (0, 3):
        assert all(torch.equal(a, b) for a, b in zip(one.batch(step)[:2], plain.batch(step)[:2], strict=True))


@pytest.mark.parametrize("name", methods.names())
def test_the_student_learns_and_the_teacher_stays_as_it_was(stripy, name):
    taught = nets.make(WIDE, stripy, 1)
    before = {key: value.clone() for key, value in taught.state_dict().items()}
    one = training(stripy, name, **({"teacher": taught} if methods.find(name).has_teacher else {}))
    started = weights(one)
    for snapshot in one.run():
        assert bool(snapshot.loss.isfinite().all())
    assert not torch.equal(started["head.weight"], weights(one)["head.weight"])
    assert all(torch.equal(before[key], value) for key, value in taught.state_dict().items())


def test_what_a_hook_sees_is_what_the_stage_puts_out(stripy):
    one = training(stripy, "attention")
    one.net.eval()
    images = stripy.test.images[:5]
    seen = one.student(images)
    features = seen.features["stages.1"]
    assert features.shape == (5, 4, 4, 4) and list(seen.features) == ["stages.1"]
    later = one.net.student.down[2](features)
    logits = one.net.student.head((later + one.net.student.keep[2](later)).mean((2, 3)))
    torch.testing.assert_close(seen.logits, logits)


def test_fully_connected_nets_go_through_the_same_methods(stripy):
    taught = nets.make(Shape(kind="fully connected", hidden=(20, 15)), stripy, 1)
    for name, options in (
        ("hints", {"pairs": [("layers.1", "layers.1")]}),
        ("attention", {"kind": "gradient", "weight": 1.0}),
    ):
        one = training(stripy, name, DEEP, options=options, teacher=taught)
        started = weights(one)
        list(one.run())
        assert not torch.equal(started["layers.0.weight"], weights(one)["layers.0.weight"])
    dropped = RECIPE.model_copy(update={"drop_hidden": 0.5, "drop_input": 0.2, "max_norm": 0.5})
    one = training(stripy, "none", DEEP, recipe=dropped)
    list(one.run())
    for layer in one.net.student.layers:
        assert float(layer.weight.detach().norm(dim=1).max()) <= 0.5 + 1e-5
    assert nets.count(DEEP, stripy) == sum(p.numel() for p in one.net.student.parameters())


def test_views_of_the_teacher(stripy):
    for view in ("same", "different", "fixed"):
        one = training(stripy, view=view)
        seen = []
        hook = one.teacher_net.register_forward_pre_hook(lambda _, inputs, seen=seen: seen.append(inputs[0].clone()))
        one.losses(2)
        hook.remove()
        mine, _, fixed = one.batch(2)
        if view == "same":
            assert torch.equal(seen[0], mine)
        if view == "different":
            assert not torch.equal(seen[0], mine) and seen[0].shape == mine.shape
        if view == "fixed":
            assert not seen
            torch.testing.assert_close(fixed, one.teacher_net.logits(stripy.train.images[one.picked(2)])[0])


class Killed(Exception):
    """Stands for a process that ends here."""


@pytest.mark.parametrize("name", ["soft_targets", "adversarial"])
def test_a_killed_training_ends_bit_identical(stripy, tmp_path, monkeypatch, name):
    monkeypatch.setattr(VariantTraining, "_checkpoint_due", lambda one: one.step % 3 == 0)

    def whole(checkpoint, stop=None):
        one = training(stripy, name, checkpoint=checkpoint)
        started = one.step

        def on_step():
            if one.step == stop:
                raise Killed

        for _ in one.run(on_step=on_step):
            pass
        return started, {key: value.clone() for key, value in one.net.state_dict().items()}

    with pytest.raises(Killed):
        whole(tmp_path / "a", stop=8)
    (resumed_at, resumed), (_, uninterrupted) = whole(tmp_path / "a"), whole(tmp_path / "b")
    assert resumed_at == 6 and all(torch.equal(resumed[key], uninterrupted[key]) for key in resumed)


def test_memory_counts_what_a_method_keeps(stripy):
    none, soft, hinted = (step_bytes(training(stripy, name)) for name in ("none", "soft_targets", "feature_maps"))
    assert 0 < none < soft < hinted


@pytest.fixture
def smoke() -> VariantsSettings:
    changes = ["temperatures.hard_weights=[0.5]", "cost_steps=1", "train_cases=800"]
    return config.load(VariantsSettings, config.profile_path("variants", "smoke_icons"), changes)


@pytest.fixture
def runner_for(runner_for):
    return partial(runner_for, kind=VariantsRunner)


def test_from_data_to_table(smoke, runner_for, stripy, tmp_path):
    runner, headlines = runner_for(smoke, stripy), []
    experiment.run(smoke, runner, headlines.append)
    found = list(runner.finished.values())
    assert len(headlines) == 1 and records.complete(found) == found
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
    assert table.set_index("method").loc[sorted(named), "time_over_kd"].gt(0).all()
    names = {"methods", "cost", "fidelity", "gap", "temperature", "view"}
    assert {path.stem for path in (tmp_path / "figures/variants/stripy").glob("*.png")} == names
    again = runner_for(smoke, stripy)
    again.train = None  # nothing is left to train
    experiment.run(smoke, again, lambda _: None)
    assert {r["key"] for r in again.finished.values()} == {r["key"] for r in found}


def test_the_test_images_change_nothing_but_what_is_said_of_them(smoke, runner_for, stripy):
    small = smoke.model_copy(update={"methods": smoke.methods[:3]})
    chosen = []
    for folder, labels in (("a", stripy.test.labels), ("b", (stripy.test.labels + 1) % CLASSES)):
        data = type(stripy)(**vars(stripy) | {"test": ImageSet(stripes(300, 9).images, labels)})
        runner = runner_for(small, data, folder)
        runner.carry_out([experiment.teacher(small)])
        chosen.append([experiment.choose(small, runner, plan) for plan in small.methods])
    assert chosen[0] == chosen[1] and json.loads(chosen[0][2])["temperature"] in (2.0, 4.0, 8.0)


def test_a_row_is_compared_with_plain_distillation_seed_by_seed():
    def record(role, method, seed, errors):
        metrics = {"test_errors": errors, "test_cases": 100}
        return {"role": role, "seed": seed, "settings": {"method": method}, "metrics": metrics}

    found = [record("soft targets", "soft_targets", seed, 20 + 10 * seed) for seed in (0, 1)]
    found += [record("hints", "hints", seed, 18 + 10 * seed) for seed in (0, 1)]
    found += [record("born again, generation 1", "soft_targets", 0, 1), record("candidate: x", "hints", 9, 1)]
    assert variants_claims.plain(found) == "soft targets"
    ahead = variants_claims.ahead(found, "hints")
    assert ahead.value == pytest.approx(2) and ahead.low == pytest.approx(2)
    assert variants_claims.rows(found) == ["soft targets", "hints", "born again, generation 1"]
    assert variants_claims.ahead(found, "born again, generation 1") is None


@pytest.mark.parametrize("profile", ["mnist", "icons", "cifar100", "quick_mnist", "quick_icons", "smoke_mnist"])
def test_every_profile_has_every_method_on_equal_terms(profile):
    own = config.load(VariantsSettings, config.profile_path("variants", profile))
    assert {plan.method for plan in own.methods} == set(methods.names())
    assert len({len(plan.candidates) for plan in own.methods if plan.method != "none"}) == 1
    if profile in ("mnist", "icons", "cifar100"):
        assert own.seeds >= (5 if profile == "mnist" else 3) and own.chains.generations == 3
        assert sorted(len(way) for way in own.chains.assistants) == [1, 2]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ('methods=[{name="x", method="hint"}]', "must be one of adversarial"),
        ('methods=[{name="x", method="soft_targets", candidates=[{temprature=2}]}]', "temprature"),
        ('methods=[{name="x", method="none"}]', "soft_targets should be among them"),
        ('methods=[{name="x", method="soft_targets"}, {name="x", method="none"}]', "same name"),
        ('student.shape={kind="convolutional"}', "width for a convolutional"),
        ("seeds=0", "seeds"),
    ],
)
def test_bad_settings_are_named(change, said):
    with pytest.raises(UserError, match=said):
        config.load(VariantsSettings, config.profile_path("variants", "smoke_icons"), [change])


def test_a_module_that_is_not_there_is_named_with_those_that_are(stripy):
    for options, said in (
        ({"pairs": [("stage.1", "stages.1")]}, "the student: stage.1 is no module of this net; there are down"),
        ({"pairs": [("stages.1", "head")]}, "maps with maps"),
    ):
        with pytest.raises(UserError, match=said):
            training(stripy, "feature_maps", options=options)
