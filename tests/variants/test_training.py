"""Training of a student by a method: equal conditions, features by name, resuming, time and memory of a step."""

from dataclasses import replace
from typing import get_args

import pytest
import torch
from conftest import CLASSES
from samples import METHODS
from students import DEEP, RECIPE, WIDE, training, weights
from torch.nn import functional as F

from repro.data.types import ImageSet
from repro.errors import UserError
from repro.models import conv
from repro.variants import methods, models
from repro.variants.cost import expected_macs, spread_steps, step_bytes
from repro.variants.models import Shape
from repro.variants.training import DistillationTrainer, View


@pytest.mark.parametrize("name", METHODS)
def test_initial_weights_batches_and_augmentation_are_the_same_for_all_methods(stripy, name):
    trainer, plain = training(stripy, name), training(stripy, "none")
    assert all(torch.equal(weights(trainer)[key], value) for key, value in weights(plain).items())
    assert trainer.steps == plain.steps
    for step in (0, 3):
        assert all(torch.equal(a, b) for a, b in zip(trainer.batch(step)[:2], plain.batch(step)[:2], strict=True))


@pytest.mark.parametrize("name", METHODS)
def test_training_changes_the_student_and_not_the_teacher(stripy, name):
    teacher_net = models.make(WIDE, stripy, 1)
    before = {key: value.clone() for key, value in teacher_net.state_dict().items()}
    trainer = training(stripy, name, **({"teacher": teacher_net} if methods.find(name).has_teacher else {}))
    started = weights(trainer)
    for snapshot in trainer.run():
        assert bool(snapshot.loss.isfinite().all())
    assert not torch.equal(started["head.weight"], weights(trainer)["head.weight"])
    assert all(torch.equal(before[key], value) for key, value in teacher_net.state_dict().items())


def test_features_are_the_outputs_of_the_stages(stripy):
    trainer = training(stripy, "attention")
    trainer.net.eval()
    images = stripy.test.images[:5]
    output = trainer.student(images)
    features = output.features["stages.1"]
    assert features.shape == (5, 4, 4, 4) and list(output.features) == ["stages.1"]
    later = trainer.net.student.down[2](features)
    logits = trainer.net.student.head((later + trainer.net.student.keep[2](later)).mean((2, 3)))
    torch.testing.assert_close(output.logits, logits)


def test_mlps_are_trained_by_methods_with_features_gradients_and_dropout(stripy):
    teacher_net = models.make(Shape(kind="mlp", hidden=(20, 15)), stripy, 1)
    for name, options in (
        ("fitnets", {"pairs": [("layers.1", "layers.1")]}),
        ("attention", {"kind": "gradient", "weight": 1.0}),
    ):
        trainer = training(stripy, name, DEEP, options=options, teacher=teacher_net)
        started = weights(trainer)
        list(trainer.run())
        assert not torch.equal(started["layers.0.weight"], weights(trainer)["layers.0.weight"])
    dropped = RECIPE.model_copy(update={"hidden_dropout": 0.5, "input_dropout": 0.2, "max_norm": 0.5})
    trainer = training(stripy, "none", DEEP, recipe=dropped)
    list(trainer.run())
    for layer in trainer.net.student.layers:
        assert float(layer.weight.detach().norm(dim=1).max()) <= 0.5 + 1e-5
    assert models.num_parameters(DEEP, stripy) == sum(p.numel() for p in trainer.net.student.parameters())


def test_the_teacher_gets_the_configured_view(stripy):
    horizontal_flip = replace(stripy, horizontal_flip=True)
    for view in get_args(View):
        trainer = training(horizontal_flip, view=view)
        teacher_inputs = []
        hook = trainer.teacher_net.register_forward_pre_hook(
            lambda _, inputs, teacher_inputs=teacher_inputs: teacher_inputs.append(inputs[0].clone())
        )
        trainer.losses(2)
        hook.remove()
        images, _, fixed = trainer.batch(2)
        if view == "same":
            assert torch.equal(teacher_inputs[0], images)
        if view == "different":
            assert not torch.equal(teacher_inputs[0], images) and teacher_inputs[0].shape == images.shape
        if view in ("fixed", "still"):
            assert not teacher_inputs
            torch.testing.assert_close(
                fixed, trainer.teacher_net.logits(stripy.train.images[trainer.batch_indices(2)])[0]
            )
        assert torch.equal(images, stripy.train.images[trainer.batch_indices(2)]) == (view == "still")


def test_a_different_view_is_of_the_same_examples(stripy):
    """Images of one gray each stay as they are when they are mirrored or moved."""
    grays = (torch.arange(800) % 251).to(torch.uint8)[:, None, None, None].expand(-1, 1, 16, 16).contiguous()
    data = replace(stripy, train=ImageSet(grays, stripy.train.labels), horizontal_flip=True)
    trainer, seen = training(data, view="different"), []
    trainer.teacher_net.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].clone()))
    trainer.losses(2)
    assert torch.equal(seen[0], trainer.batch(2)[0])


def test_the_teachers_logits_are_computed_once_where_images_never_change(stripy):
    still = RECIPE.model_copy(update={"max_translation": 0})
    once, each_step = training(stripy, recipe=still), training(stripy, "feature_maps", recipe=still)
    assert once.teacher.shape == (800, CLASSES) and each_step.teacher is None
    torch.testing.assert_close(once.teacher, once.teacher_net.logits(stripy.train.images)[0])
    assert training(replace(stripy, horizontal_flip=True), recipe=still).teacher is None


def test_gradient_attention_of_convolutional_networks_learns_what_it_does_without_kernels(stripy, monkeypatch):
    """Second derivatives, which gradient attention needs, are left to PyTorch by the compiled batch normalization."""
    learned = []
    for fused in (True, False):
        with monkeypatch.context() as patch:
            if not fused:
                patch.setattr(conv, "norm_relu", lambda hidden, norm: F.relu(norm(hidden)))
            trainer = training(stripy, "attention", options={"kind": "gradient", "weight": 1.0})
            trainer.losses(0).sum().backward()
            learned.append(trainer.net.student.down[0].weight.grad)
    torch.testing.assert_close(*learned, rtol=1e-3, atol=1e-3 * float(learned[0].abs().max()))


def test_gradient_attention_changes_the_loss_noticeably(stripy):
    """Gradients by pixels of 0 to 255 would be negligible beside the soft targets'; they are scaled to 0 to 1."""
    teacher_net = models.make(Shape(kind="mlp", hidden=(20, 15)), stripy, 1)
    options = {"kind": "gradient", "weight": 1.0}
    with_it = training(stripy, "attention", DEEP, options=options, teacher=teacher_net).losses(0)
    without = training(stripy, "kd", DEEP, options={"temperature": 4.0}, teacher=teacher_net).losses(0)
    assert (with_it - without).item() > 0.05 * without.item()


class Killed(Exception):
    """Raised in place of the end of a process."""


@pytest.mark.parametrize("name", ["kd", "adversarial"])
def test_a_resumed_training_is_bit_identical(stripy, tmp_path, monkeypatch, name):
    monkeypatch.setattr(DistillationTrainer, "_checkpoint_due", lambda trainer: trainer.step % 3 == 0)

    def whole(checkpoint, stop=None):
        trainer = training(stripy, name, checkpoint=checkpoint)
        started = trainer.step

        def on_step():
            if trainer.step == stop:
                raise Killed

        for _ in trainer.run(on_step=on_step):
            pass
        return started, {key: value.clone() for key, value in trainer.net.state_dict().items()}

    with pytest.raises(Killed):
        whole(tmp_path / "a", stop=8)
    (resumed_at, resumed), (_, uninterrupted) = whole(tmp_path / "a"), whole(tmp_path / "b")
    assert resumed_at == 6 and all(torch.equal(resumed[key], uninterrupted[key]) for key in resumed)


def test_time_and_memory_cover_all_stages_of_a_method(stripy):
    trainer, steps = training(stripy, "fitnets"), []
    trainer.losses = lambda step, losses=trainer.losses: steps.append(step) or losses(step)
    assert spread_steps(trainer, 4) > 0
    assert steps == [number * trainer.whole // 8 for number in (1, 3, 5, 7)]
    late = training(stripy, "fitnets", options={"pairs": [("stages.1", "stages.1")], "stage1_fraction": 0.0})
    assert step_bytes(trainer) >= step_bytes(late)


def test_memory_includes_saved_features_and_the_teacher(stripy):
    none, soft, hinted = (step_bytes(training(stripy, name)) for name in ("none", "kd", "feature_maps"))
    assert 0 < none < soft < hinted


def test_time_and_memory_count_logits_that_are_computed_once(stripy):
    still = training(stripy, "kd", recipe=RECIPE.model_copy(update={"max_translation": 0}))
    moving = training(stripy, "kd")
    weights = sum(parameter.nbytes for parameter in moving.teacher_net.parameters())
    assert still.teacher.nbytes == 4 * len(stripy.train) * len(stripy.classes)
    assert step_bytes(moving) - step_bytes(still) == pytest.approx(weights - still.teacher.nbytes, abs=2000)
    passes = []
    still.teacher_net.register_forward_hook(lambda *_: passes.append(1))
    spread_steps(still, 4)
    assert len(passes) == 1


def test_an_error_message_names_the_missing_module_and_the_existing_ones(stripy):
    for options, message in (
        ({"pairs": [("stage.1", "stages.1")]}, "the student: stage.1 is no module of this model; its modules are down"),
        ({"pairs": [("stages.1", "head")]}, "maps with maps"),
    ):
        with pytest.raises(UserError, match=message):
            training(stripy, "feature_maps", options=options)


def test_the_eta_expects_time_to_grow_with_the_width_of_narrow_networks_and_with_the_square_of_wide_ones(stripy):
    narrow, wide, wider, widest = (
        expected_macs(Shape(kind="conv", width=width), stripy) for width in (6, 24, 256, 1024)
    )
    assert 4 < wide / narrow < 4.5, "measured on CPUs: 4.9"
    assert 14 < widest / wider < 16
    shape = Shape(kind="resnet", name="resnet20")
    assert expected_macs(shape, stripy) == models.macs(shape, stripy)
