"""Training on a GPU: agreement with the CPU, batched against alone, exact resume, precision."""

import pytest
import torch

from repro.training import compute
from repro.training.cuda_graphs import BLOCK, WARMUP_STEPS
from repro.training.mlp import MemberSpec, MLPTrainer, TransferSet
from repro.training.recipe import Recipe
from repro.training.trainer import TrainerContext

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
SIZES = (784, 64, 48, 10)
PLAIN = Recipe(epochs=3, batch_size=50, learning_rate=0.003, warmup_fraction=0.2, weight_decay=0.01, max_norm=1.0)
NOISY = PLAIN.model_copy(
    update={
        "epochs": 8, "input_dropout": 0.2, "hidden_dropout": 0.5, "max_translation": 1,
        "weight_averaging_fraction": 0.3,
    }
)  # fmt: skip
SGD = {
    "optimizer": "sgd", "learning_rate": 0.05, "momentum": 0.95, "initial_momentum": 0.5, "initial_weight_sd": 0.05,
}  # fmt: skip


def trainer(toy, members, recipe, device="cuda", precision="fp32", checkpoint=None) -> MLPTrainer:
    draw = torch.Generator().manual_seed(5)
    teachers = 4 * torch.randn(2, len(toy.train), 10, generator=draw)
    context = TrainerContext(
        recipe=recipe,
        compute=compute.choose(device, precision),
        checkpoint=checkpoint,
        validation=toy.split("validation"),
    )
    transfer = TransferSet(toy.train.images, toy.train.labels, teachers)
    return MLPTrainer(sizes=SIZES, members=members, transfer=transfer, context=context)


def finish(training: MLPTrainer) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    losses = [snapshot.loss.cpu() for snapshot in training.run(6)]
    return [parameter.detach().cpu().clone() for parameter in training.net.parameters()], losses


@pytest.fixture
def members() -> list[MemberSpec]:
    """Members of two seeds, two sets of examples and two teachers."""
    half = torch.arange(600)
    return [
        MemberSpec(3, 20.0, 0.1, half),
        MemberSpec(3, 2.0, 0.5, half, 1),
        MemberSpec(4, float("inf"), 0.5, half + 600, 1),
    ]


@pytest.mark.parametrize("changes", [{}, SGD], ids=["adamw", "sgd"])
def test_losses_and_weights_agree_with_the_cpu(toy, members, changes):
    recipe = PLAIN.model_copy(update=changes)
    (on_cpu, cpu_losses), (on_gpu, losses) = (finish(trainer(toy, members, recipe, d)) for d in ("cpu", "cuda"))
    for a, b in zip(cpu_losses, losses, strict=True):
        torch.testing.assert_close(a, b, rtol=2e-3, atol=1e-4)
    a, b = (torch.cat([weights.flatten() for weights in net]) for net in (on_cpu, on_gpu))
    assert float((a - b).norm() / a.norm()) < 1e-2  # AdamW amplifies rounding where gradients are small


@pytest.mark.parametrize("changes", [{}, SGD], ids=["adamw", "sgd"])
def test_a_member_of_a_batch_is_the_network_trained_alone(toy, members, changes):
    recipe = NOISY.model_copy(update=changes)
    together, _ = finish(trainer(toy, members, recipe))
    for m, member in enumerate(members):
        alone, _ = finish(trainer(toy, [member], recipe))
        for a, b in zip(alone, together, strict=True):
            torch.testing.assert_close(a[0], b[m], rtol=1e-2, atol=2e-3)


@pytest.mark.parametrize("changes", [{}, SGD], ids=["adamw", "sgd"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("at", [1, BLOCK, BLOCK + 5])
def test_killed_and_resumed_ends_bit_identical(toy, members, tmp_path, changes, precision, at):
    recipe = NOISY.model_copy(update=changes)
    expected, _ = finish(trainer(toy, members, recipe, precision=precision))
    first = trainer(toy, members, recipe, precision=precision, checkpoint=tmp_path / "checkpoint")
    assert first.steps > BLOCK + 5 + WARMUP_STEPS
    for _ in range(at):
        first._train_step()
    first.save()
    resumed, _ = finish(trainer(toy, members, recipe, precision=precision, checkpoint=tmp_path / "checkpoint"))
    assert all(torch.equal(a, b) for a, b in zip(expected, resumed, strict=True))


def test_batches_are_those_of_the_cpu(toy, members):
    recipe = NOISY.model_copy(update={"max_translation": 0})
    on_cpu, on_gpu = (trainer(toy, members, recipe, device) for device in ("cpu", "cuda"))
    for step in (0, 5, BLOCK - 1, BLOCK + 1, BLOCK, 3):  # not one after another, because no step is taken between
        on_gpu.buffers.seek(step)
        for a, b in zip(on_cpu.batch(step), on_gpu.batch(step), strict=True):
            assert torch.equal(a, b.cpu())


def test_dropout_is_drawn_for_each_seed_and_layer(toy, members):
    buffers = trainer(toy, members, NOISY).buffers
    buffers.seek(0)
    first, second = (buffers.dropout.hidden_mask(layer, 50, 400).factors(torch.float32) for layer in (0, 1))
    assert first.unique().tolist() == [0.0, 2.0] and float(first.mean()) == pytest.approx(1, abs=0.02)
    assert torch.equal(first[0], first[1]) and not torch.equal(first[0], first[2])
    assert not torch.equal(first, second)


def test_fp32_is_not_tf32():
    compute.choose("cuda", "fp32")
    a, b = torch.randn(2, 512, 512, generator=torch.Generator().manual_seed(0)).unbind()
    exact, product = a.double() @ b.double(), (a.cuda() @ b.cuda()).cpu().double()
    assert float((product - exact).norm() / exact.norm()) < 1e-5  # TF32 would be near 3e-4
