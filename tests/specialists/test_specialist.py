"""A single specialist: sizes, initial weights, batches, losses, resume."""

import dataclasses
import math

import pytest
import torch
from conftest import CLASSES, stripes

from repro.kd.losses import hard_target_loss
from repro.models.conv import ConvNet
from repro.models.flops import count_conv_multiply_adds, count_conv_parameters
from repro.specialists import experiment, specialist
from repro.specialists.runs import Arm
from repro.training import compute
from repro.training.images import ImageTrainer, ImageTransferSet, shifted_views
from repro.training.random_streams import BatchSampler
from repro.training.recipe import Recipe
from repro.training.trainer import TrainerContext

CPU = compute.choose("cpu", "fp32")


def test_parameters_and_multiply_adds_are_counted():
    net = ConvNet(3, 6, 11, 0)
    assert count_conv_parameters(3, 6, 11) == sum(parameter.numel() for parameter in net.parameters())
    by_hand = 9 * (12 * 6 + 6 * 6) * 16**2 + 9 * (6 * 12 + 12 * 12) * 8**2 + 9 * (12 * 24 + 24 * 24) * 4**2 + 24 * 11
    assert count_conv_multiply_adds(3, 6, 11, 32) == by_hand


def test_shifted_views_repeat_the_edge():
    image = torch.arange(16, dtype=torch.uint8).view(1, 1, 4, 4)
    views = shifted_views(image, 1)
    assert torch.equal(views[0, :, 1, 1], image[0])
    assert views[0, 0, 0, 1].tolist() == [[0, 1, 2, 3], [0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]


class Killed(Exception):
    """Simulated end of the process."""


def test_interrupted_training_ends_bit_identical(stripy, tmp_path, monkeypatch):
    monkeypatch.setattr(ImageTrainer, "_checkpoint_due", lambda training: training.step % 3 == 0)
    recipe = Recipe(epochs=1, batch_size=80, optimizer="sgd", learning_rate=0.05, max_translation=1)

    def train(checkpoint, stop=None):
        training = ImageTrainer(
            net=ConvNet(1, 4, CLASSES, 0),
            samplers=[BatchSampler(0, torch.arange(800), 80)],
            transfer=ImageTransferSet(stripy.train.images, stripy.train.labels, horizontal_flip=True),
            objective=lambda logits, labels, _: hard_target_loss(logits, labels),
            num_examples=800,
            context=TrainerContext(recipe=recipe, compute=CPU, checkpoint=checkpoint),
        )
        for _ in training.run(2, on_step=lambda: maybe_kill(training.step == stop)):
            pass
        return training.net.state_dict()

    def maybe_kill(now):
        if now:
            raise Killed

    with pytest.raises(Killed):
        train(tmp_path / "a", stop=7)
    resumed, uninterrupted = train(tmp_path / "a"), train(tmp_path / "b")
    assert all(torch.equal(resumed[name], uninterrupted[name]) for name in resumed)


def test_dustbin_specialist_starts_with_the_generalists_logits():
    generalist = ConvNet(1, 4, CLASSES, 3).eval()
    subset = torch.tensor([1, 4, 7])
    net = specialist.from_generalist(generalist, subset, "dustbin").eval()
    images = stripes(30, 5).images
    ours, theirs = net.logits(images)[0], generalist.logits(images)[0]
    torch.testing.assert_close(ours[:, :3], theirs[:, subset])
    others = [c for c in range(CLASSES) if c not in (1, 4, 7)]
    torch.testing.assert_close(ours[:, 3], theirs[:, others].mean(-1) + math.log(17))
    assert bool((ours[:, 3] <= theirs[:, others].logsumexp(-1) + 1e-5).all())
    assert specialist.dustbin_labels(torch.tensor([4, 0, 1, 7]), subset, CLASSES).tolist() == [1, 3, 0, 2]


def test_the_dustbin_may_start_at_the_mean_or_at_zero():
    generalist, subset = ConvNet(1, 4, CLASSES, 3), torch.tensor([1, 4, 7])
    heads = {
        init: specialist.from_generalist(generalist, subset, "dustbin", init).head
        for init in ("log count", "mean", "zeros")
    }
    assert not heads["zeros"].weight[3].any() and not heads["zeros"].bias[3].any()
    assert torch.equal(heads["mean"].weight, heads["log count"].weight)
    torch.testing.assert_close(heads["log count"].bias[3] - heads["mean"].bias[3], torch.tensor(math.log(17)))


def test_specialists_on_a_fraction_see_that_fraction_alone(stripy, smoke, runner_for):
    runner = runner_for(smoke, stripy)
    generalist = experiment.generalist_run(smoke, 0)
    runner.execute([generalist])
    whole = experiment.specialist_runs(smoke, runner, generalist)[0]
    half = dataclasses.replace(whole, fraction=0.5)
    seen = set(runner.examples(half).tolist())
    assert len(seen) == 400 and len(runner.examples(whole)) == 800
    training = runner.training(half)
    assert {int(i) for step in range(5) for i in training.batch_indices(step)} <= seen
    runner.execute([half])
    (record,) = [r for r in runner.finished.values() if r["arm"] == Arm.SPECIALIST]
    special = int(torch.isin(stripy.train.labels[sorted(seen)], torch.tensor(half.subset)).sum())
    assert record["metrics"]["train_special_cases"] == special
    assert [len(point) for point in record["curve"]] == [4, 4]
    assert record["curve"][-1][2] == pytest.approx(100 * record["metrics"]["train_special_right"] / special, abs=0.01)


def test_soft_regularizer_equals_plain_float64_and_ignores_special_logits():
    draw = torch.Generator().manual_seed(0)
    student, generalist = (3 * torch.randn(6, 9, generator=draw, dtype=torch.float64) for _ in range(2))
    labels, special = torch.arange(6), torch.zeros(9, dtype=torch.bool)
    special[:3] = True
    expected = 0.0
    for row in range(6):
        q = [math.exp(float(z) / 2) for z in student[row, 3:]]
        p = [math.exp(float(v) / 2) for v in generalist[row, 3:]]
        soft = sum(a / sum(p) * math.log((a / sum(p)) / (b / sum(q))) for a, b in zip(p, q, strict=True))
        hard = math.log(sum(math.exp(float(z)) for z in student[row])) - float(student[row, labels[row]])
        expected += (0.75 * 4 * soft + 0.25 * hard) / 6
    loss = specialist.soft_regularized_loss(student[None], generalist, labels, special, 2.0, 0.25)
    torch.testing.assert_close(loss, torch.tensor([expected], dtype=torch.float64))
    moved = generalist.clone()
    moved[:, :3] += 5
    torch.testing.assert_close(specialist.soft_regularized_loss(student[None], moved, labels, special, 2.0, 0.25), loss)


def test_half_of_a_specialists_batch_is_special(stripy, smoke, runner_for):
    runner = runner_for(smoke, stripy)
    runner.execute([experiment.generalist_run(smoke, 0)])
    run = experiment.specialist_runs(smoke, runner, experiment.generalist_run(smoke, 0))[0]
    training = runner.training(run)
    for step in range(3):
        _, labels, _ = training.batch(step)
        assert int((labels < 5).sum()) == 16 and int((labels == 5).sum()) == 16
    special = torch.isin(stripy.train.labels, torch.tensor(run.subset)).sum()
    assert runner.epoch_size(run) == 2 * special
