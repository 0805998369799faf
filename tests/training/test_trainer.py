"""Steps against a plain loop, evaluation in fp32 and without dropout, and selection of the best snapshot."""

from functools import partial

import pytest
import torch
from conftest import CLASSES
from samples import NOISY, SIZES, transfer_set
from torch.nn import functional as F

from repro.kd.losses import hard_target_loss
from repro.models.conv import ConvNet
from repro.models.mlp import BatchedMLP
from repro.training import compute
from repro.training.images import ImageTrainer, ImageTransferSet
from repro.training.mlp import MemberSpec, MLPTrainer
from repro.training.random_streams import BatchSampler, Dropout
from repro.training.recipe import Recipe
from repro.training.trainer import TrainerContext

CPU = compute.choose("cpu", "fp32")


def trainer(members, data, recipe, folder=CPU, validation=None):
    context = TrainerContext(recipe=recipe, compute=folder, validation=validation)
    return MLPTrainer(sizes=SIZES, members=members, transfer=data, context=context)


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_every_step_is_that_of_a_plain_loop(toy, optimizer):
    """Dropout, schedule, decay, momentum and the bound on norms included."""
    changed = {"optimizer": optimizer, "schedule": "cosine", "max_translation": 0, "epochs": 0.5}
    if optimizer == "sgd":
        changed["initial_momentum"] = 0.5
    recipe, data = NOISY.model_copy(update=changed), transfer_set(toy)
    ours = trainer([MemberSpec(3, 4.0, 0.3)], data, recipe)
    layers = (ours.net.weights, ours.net.biases)
    weights, biases = ([single[0].detach().clone().requires_grad_() for single in layer] for layer in layers)
    kind = torch.optim.AdamW if optimizer == "adamw" else partial(torch.optim.SGD, momentum=0.9, nesterov=True)
    plain = kind([*weights, *biases], lr=1.0, weight_decay=0.01)
    for step in range(ours.steps):
        at, noise = BatchSampler(3, torch.arange(1200), 50).indices(step), Dropout([3], step, 0.2, 0.5)
        x = noise.drop_inputs(data.images[at])[0]
        for n, (weight, bias) in enumerate(zip(weights[:-1], biases[:-1], strict=True)):
            x = torch.relu(x @ weight + bias) * noise.hidden_mask(n, 50, weight.shape[1]).factors(x.dtype)[0]
        logits, teacher = x @ weights[-1] + biases[-1], data.teacher[at]
        soft = F.kl_div((logits / 4).log_softmax(1), (teacher / 4).softmax(1), reduction="batchmean")
        plain.zero_grad()
        (0.7 * 16 * soft + 0.3 * F.cross_entropy(logits, data.labels[at])).backward()
        plain.param_groups[0]["lr"] = recipe.rate(step, ours.steps)
        if optimizer == "sgd":
            plain.param_groups[0]["momentum"] = round(0.5 + 0.4 * min(1.0, step / (0.5 * ours.steps)), 2)
        plain.step()
        with torch.no_grad():
            for weight in weights[:-1]:
                weight.mul_((1.0 / weight.norm(dim=0)).clamp_max(1.0))
    for _ in ours.run():
        pass
    assert ours.steps == 12
    for mine, theirs in zip([*ours.net.weights, *ours.net.biases], [*weights, *biases], strict=True):
        torch.testing.assert_close(mine[0], theirs, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("drop", [0.2, 0.5])
def test_inputs_are_dropped_as_often_as_it_says_and_keep_their_mean(drop):
    snapshots = Dropout([0, 1], 5, drop, 0.0).drop_inputs(torch.ones(400, 500))
    assert float((snapshots == 0).float().mean()) == pytest.approx(round(256 * drop) / 256, abs=0.005)
    assert float(snapshots.mean()) == pytest.approx(1, abs=0.01) and not torch.equal(snapshots[0], snapshots[1])


def test_in_bf16_the_last_layer_and_all_that_is_judged_are_exact():
    net, inputs = BatchedMLP((784, 64, 64, 10), [0], torch.bfloat16), torch.rand(20, 784)
    exact = torch.baddbmm(net.biases[-1], net.hidden(inputs).float(), net.weights[-1])
    assert torch.equal(net(inputs), exact)
    assert torch.equal(net.logits(inputs), BatchedMLP((784, 64, 64, 10), [0]).logits(inputs))


def test_in_bf16_it_learns_the_same_with_weights_in_fp32(toy):
    recipe, snapshots = Recipe(epochs=4, batch_size=50, learning_rate=0.003), []
    for precision in ("fp32", "bf16"):
        training = trainer([MemberSpec(3, 4.0, 0.3)], transfer_set(toy), recipe, compute.choose("cpu", precision))
        (*_, last) = training.run(4)
        assert {single.dtype for single in training.net.parameters()} == {torch.float32}
        snapshots.append(float(last.loss))
    assert snapshots[0] != snapshots[1] and snapshots[0] == pytest.approx(snapshots[1], rel=0.03)


def test_a_convolutional_net_learns_in_bf16(stripy):
    recipe, snapshots = Recipe(epochs=3, batch_size=80, learning_rate=0.01), []
    for precision in ("fp32", "bf16"):
        training = images(stripy, ConvNet(1, 4, CLASSES, 0), recipe, compute.choose("cpu", precision))
        (*_, last) = training.run(3)
        snapshots.append(float(last.loss))
    assert snapshots[0] != snapshots[1] and snapshots[0] == pytest.approx(snapshots[1], rel=0.1)


def images(data, net, recipe, folder=CPU, horizontal_flip=False):
    order = [BatchSampler(0, torch.arange(len(data.train)), 80)]
    objective = lambda logits, labels, _: hard_target_loss(logits, labels)  # noqa: E731
    return ImageTrainer(
        net=net,
        samplers=order,
        transfer=ImageTransferSet(data.train.images, data.train.labels, horizontal_flip=horizontal_flip),
        objective=objective,
        num_examples=len(data.train),
        context=TrainerContext(recipe=recipe, compute=folder),
    )


def test_an_image_is_judged_by_itself(stripy):
    net, some = ConvNet(1, 4, CLASSES, 0).train(), stripy.test.images[:30]
    before = {name: value.clone() for name, value in net.state_dict().items()}
    torch.testing.assert_close(net.logits(some)[:, :3], net.logits(some[:3]))
    assert net.training and all(torch.equal(before[name], value) for name, value in net.state_dict().items())


def test_half_of_the_images_are_mirrored_left_to_right(stripy):
    training = images(
        stripy, ConvNet(1, 4, CLASSES, 0), Recipe(epochs=1, batch_size=80, learning_rate=0.01), horizontal_flip=True
    )
    seen, plain = training.batch(0)[0], stripy.train.images[training.batch_indices(0)]
    best_weights, turned = ((seen == single).flatten(1).all(1) for single in (plain, plain.flip(-1)))
    assert bool((best_weights | turned).all()) and 20 < int(turned.sum()) < 60


def test_the_best_snapshot_is_selected_for_each_member(toy):
    recipe = Recipe(epochs=2, batch_size=50, learning_rate=0.003)
    members, validation = [MemberSpec(0), MemberSpec(1)], toy.split("validation")
    training = trainer(members, transfer_set(toy, False), recipe, validation=validation)
    errors = iter(torch.tensor([[5, 9], [3, 9], [4, 2], [3, 8]]))
    training.validation_errors = lambda examples: next(errors)
    seen = [{name: value.clone() for name, value in single.net.state_dict().items()} for single in training.run(4)]
    best = training.best_net().state_dict()
    assert training.best_step.tolist() == [24, 36]
    assert all(torch.equal(best[name][0], seen[1][name][0]) for name in best)
    assert all(torch.equal(best[name][1], seen[2][name][1]) for name in best)
