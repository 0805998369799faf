"""Batched training against training alone, exact resume, alignment of images and targets, best snapshot."""

import dataclasses

import pytest
import torch
from samples import NOISY, SIZES, transfer_set

from repro.engine import files
from repro.training import compute
from repro.training.mlp import MemberSpec, MLPTrainer, TransferSet
from repro.training.recipe import Recipe
from repro.training.trainer import AVERAGING_STEPS, TrainerContext

CPU = compute.choose("cpu", "fp32")


def trainer(members, data, recipe, sizes=SIZES, **context) -> MLPTrainer:
    context = TrainerContext(recipe=recipe, compute=CPU, **context)
    return MLPTrainer(sizes=sizes, members=members, transfer=data, context=context)


def finish(training: MLPTrainer) -> list[torch.Tensor]:
    for _ in training.run():
        pass
    return [parameter.detach().clone() for parameter in training.net.parameters()]


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_a_member_of_a_population_is_the_net_trained_alone(toy, optimizer):
    recipe = NOISY.model_copy(update={"optimizer": optimizer})
    half = torch.arange(600)
    members = [MemberSpec(3, 20.0, 0.1, half), MemberSpec(4, 4.0, 0.5, half + 600), MemberSpec(4, 1.0, 1.0, half + 600)]
    data = transfer_set(toy)
    together = finish(trainer(members, data, recipe))
    for m, member in enumerate(members):
        alone = finish(trainer([member], data, recipe))
        for a, b in zip(alone, together, strict=True):
            torch.testing.assert_close(a[0], b[m], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_members_of_several_seeds_learn_each_from_its_teacher(toy, optimizer):
    changes = {"optimizer": optimizer, "initial_weight_sd": 0.05, "weight_averaging_fraction": 0.5}
    recipe, data = NOISY.model_copy(update=changes), transfer_set(toy)
    teachers = torch.stack([data.teacher, data.teacher.flip(-1)])
    members = [MemberSpec(3, 20.0, 0.1), MemberSpec(3, 2.0, 0.1, teacher=1), MemberSpec(4, 2.0, 0.1, teacher=1)]
    training = trainer(members, dataclasses.replace(data, teacher=teachers), recipe)
    assert len(training.samplers) == 2
    assert float(training.net.weights[0].detach().std()) == pytest.approx(0.05, rel=0.05)
    together = finish(training)
    for m, member in enumerate(members):
        transfer = dataclasses.replace(data, teacher=teachers[member.teacher])
        alone = finish(trainer([dataclasses.replace(member, teacher=0)], transfer, recipe))
        for a, b in zip(alone, together, strict=True):
            torch.testing.assert_close(a[0], b[m], rtol=1e-4, atol=1e-5)


def test_weight_averaging_ends_with_the_mean_of_the_last_weights(toy):
    recipe = Recipe(epochs=4, batch_size=25, learning_rate=0.003, weight_averaging_fraction=0.5)
    data, weights = transfer_set(toy, soft=False), {}
    training = trainer([MemberSpec(0)], data, recipe)
    for _ in training.run(1, lambda: weights.setdefault(training.step, training.net.weights[0].detach().clone())):
        pass
    plain = finish(trainer([MemberSpec(0)], data, recipe.model_copy(update={"weight_averaging_fraction": 0.0})))[0]
    steps = range(training.steps // 2, training.steps, AVERAGING_STEPS)
    expected = torch.stack([*(weights[step] for step in steps), plain]).mean(0)
    torch.testing.assert_close(training.net.weights[0].detach(), expected, rtol=1e-4, atol=1e-6)


class Killed(Exception):
    """Stands for a process that ends here."""


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
@pytest.mark.parametrize("at", [1, 7, 12, 23])
def test_killed_and_resumed_ends_bit_identical(toy, tmp_path, monkeypatch, optimizer, at):
    changes = {"optimizer": optimizer, "initial_momentum": 0.5, "weight_averaging_fraction": 0.9}
    recipe = NOISY.model_copy(update=changes)
    members, data = [MemberSpec(0, 20.0, 0.1), MemberSpec(0, 2.0, 0.1)], transfer_set(toy)

    def whole(checkpoint, stop=None):
        training = trainer(members, data, recipe, checkpoint=checkpoint, validation=toy.split("validation"))
        for snapshot in training.run(4, on_step=lambda: maybe_kill(training.step == stop)):
            training.history.append([snapshot.step, snapshot.loss.tolist()])
        best = training.best_net().state_dict()
        return training.net.state_dict(), best, training.history

    def maybe_kill(now):
        if now:
            raise Killed

    monkeypatch.setattr(MLPTrainer, "_checkpoint_due", lambda training: training.step % 3 == 0)
    expected = whole(None)
    checkpoint = tmp_path / "checkpoint"
    with pytest.raises(Killed):
        whole(checkpoint, at)
    assert checkpoint.exists() == (at > 3)
    resumed = whole(checkpoint)
    for a, b in zip(expected[:2], resumed[:2], strict=True):
        assert all(torch.equal(a[name], b[name]) for name in a)
    assert expected[2] == resumed[2]


def test_a_damaged_checkpoint_is_named_and_quarantined(toy, tmp_path, capsys):
    checkpoint = tmp_path / "checkpoint"
    training = trainer([MemberSpec(0)], transfer_set(toy, soft=False), NOISY, checkpoint=checkpoint)
    training.save()
    content = bytearray(checkpoint.read_bytes())
    content[len(content) // 2] ^= 1
    checkpoint.write_bytes(content)
    again = trainer([MemberSpec(0)], transfer_set(toy, soft=False), NOISY, checkpoint=checkpoint)
    assert again.step == 0 and "damaged" in capsys.readouterr().err
    assert not checkpoint.exists() and (tmp_path / "checkpoint.damaged").exists()
    finish(again)


def test_images_labels_and_soft_targets_stay_aligned_under_shuffling(toy):
    """Each case carries its number in every array; batches must agree on it."""
    number = torch.arange(1200)
    data = TransferSet(number[:, None].float().expand(-1, 784), number, number[:, None].float().expand(-1, 10))
    members = [MemberSpec(0, 2.0, 0.5), MemberSpec(1, 2.0, 0.5)]
    training = trainer(members, data, Recipe(epochs=1, batch_size=64, learning_rate=0.1))
    for step in (0, 5, 18):
        images, labels, teacher = training.batch(step)
        assert torch.equal(images[..., 0], labels.float()) and torch.equal(teacher[..., 0], labels.float())
        assert not torch.equal(labels[0], labels[1])


def test_soft_targets_alone_teach_without_labels(toy):
    """Labels that are all wrong do not matter when their weight is zero."""
    teacher = 8.0 * torch.nn.functional.one_hot(toy.train.labels, 10)
    wrong = (toy.train.labels + 1) % 10
    recipe = Recipe(epochs=12, batch_size=50, learning_rate=0.003)
    transfer = TransferSet(toy.train.images, wrong, teacher)
    training = trainer([MemberSpec(0, 4.0, 0.0)], transfer, recipe, sizes=(784, 32, 32, 10))
    finish(training)
    right = training.net.logits(toy.test.images)[0].argmax(-1) == toy.test.labels
    assert float(right.float().mean()) > 0.9


def test_the_best_net_has_the_fewest_validation_errors_of_all_snapshots(toy):
    recipe, validation = Recipe(epochs=10, batch_size=50, learning_rate=0.01), toy.split("validation")
    members = [MemberSpec(0), MemberSpec(1)]
    training = trainer(members, transfer_set(toy, soft=False), recipe, sizes=(784, 32, 32, 10), validation=validation)
    seen = torch.stack([training.errors_seen for _ in training.run(10)])
    assert training.step == training.steps and torch.equal(seen.amin(0), training.best_errors)
    errors = (training.best_net().logits(validation.images).argmax(-1) != validation.labels).sum(-1)
    assert torch.equal(errors, training.best_errors)


def test_soft_targets_without_a_teacher_are_refused(toy):
    with pytest.raises(ValueError, match="teacher"):
        trainer([MemberSpec(0, 2.0, 0.5)], transfer_set(toy, soft=False), NOISY)


def test_members_must_have_the_same_number_of_examples(toy):
    members = [MemberSpec(0, examples=torch.arange(10)), MemberSpec(0, examples=torch.arange(20))]
    with pytest.raises(ValueError, match="number of examples"):
        trainer(members, transfer_set(toy, soft=False), NOISY)


def test_schedules():
    def rates(schedule: str, warmup_fraction: float = 0.0) -> list[float]:
        recipe = Recipe(epochs=1, learning_rate=2.0, schedule=schedule, warmup_fraction=warmup_fraction)
        return [recipe.rate(step, 100) for step in (0, 9, 10, 25, 55, 75, 99)]

    assert rates("constant") == [2.0] * 7
    assert rates("linear") == pytest.approx([2, 1.82, 1.8, 1.5, 0.9, 0.5, 0.02])
    assert rates("linear", 0.1) == pytest.approx([2 / 11, 20 / 11, 2, 150 / 90, 1, 50 / 90, 2 / 90])
    cosine = [2 / 11, 20 / 11, 2, 1.8660254, 1, 0.3571768, 0.0006092]
    assert rates("cosine", 0.1) == pytest.approx(cosine, rel=1e-4)


def test_saved_tensors_come_back(tmp_path):
    tensors = {"a": torch.randn(3, 4), "b": torch.arange(5), "c": torch.randn(2).to(torch.bfloat16)}
    files.save_tensors(tmp_path / "file", tensors, {"step": 3})
    read_back, about = files.load_tensors(tmp_path / "file")
    assert about == {"step": 3} and all(torch.equal(tensors[name], read_back[name]) for name in tensors)
