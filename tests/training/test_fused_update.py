"""Updates in one pass against PyTorch's, and training with them against training without, in fp32 and bf16."""

import copy

import numba
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from samples import NOISY, SIZES, transfer_set

from repro.kd import fused_loss
from repro.models.mlp import BatchedMLP
from repro.training import compute, kernels, mlp
from repro.training.fused_update import FusedUpdate, WeightCopy
from repro.training.mlp import MemberSpec, MLPTrainer
from repro.training.optimizers import SGD, AdamW, Optimizer
from repro.training.random_streams import Dropout, Mask
from repro.training.trainer import TrainerContext

KINDS = (AdamW, SGD)
MODELS, ROWS, UNITS = 2, 19, 23


@pytest.fixture(params=[torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
def dtype(request):
    """Type of the products."""
    return request.param


def prepared(
    kind: type[Optimizer], decay: float = 0.1, dtype: torch.dtype = torch.bfloat16, units: int = UNITS
) -> tuple[BatchedMLP, Optimizer]:
    """A net with one hidden layer, and an optimizer in the middle of training."""
    net = BatchedMLP([ROWS, units, 5], range(MODELS), dtype)
    optimizer = kind(net.parameters(), weight_decay=decay)
    optimizer.rate, optimizer.momentum = 0.01, 0.9
    for state in optimizer.state:
        for name, value in state.items():
            value.copy_(torch.tensor(6.0) if name == "step" else torch.rand(value.shape) + 0.1)
    return net, optimizer


def updated(net: BatchedMLP, optimizer: Optimizer, gradient: torch.Tensor, max_norm: float | None) -> FusedUpdate:
    fused = FusedUpdate(net, optimizer, max_norm)
    fused.copies[0].gradient.copy_(gradient)
    fused.step()
    return fused


@pytest.mark.parametrize("max_norm", [None, 1.2, 100.0])
@pytest.mark.parametrize("units", [UNITS, 32])
@pytest.mark.parametrize("kind", KINDS)
def test_an_update_is_that_of_pytorch(kind, max_norm, dtype, units):
    torch.manual_seed(0)
    net, optimizer = prepared(kind, dtype=dtype, units=units)
    plain, plain_optimizer = prepared(kind, units=units)
    gradient = torch.randn(MODELS, ROWS, units).to(dtype)
    for ours, theirs in zip(optimizer.state, plain_optimizer.state, strict=True):
        for name, value in ours.items():
            theirs[name].copy_(value)
    fused = updated(net, optimizer, gradient, max_norm)
    plain.weights[0].grad = gradient.float()
    plain_optimizer.step()
    if max_norm is not None:
        plain.clip_weight_norms(max_norm)
    torch.testing.assert_close(net.weights[0], plain.weights[0], rtol=1e-5, atol=1e-7)
    for name, value in optimizer.state[0].items():
        torch.testing.assert_close(value, plain_optimizer.state[0][name], rtol=1e-5, atol=1e-7)
    assert torch.equal(fused.copies[0].value, net.weights[0].to(dtype))
    assert fused.copies[0].is_weight == (dtype == torch.float32 and units == 32)
    if max_norm == 1.2:
        assert float(net.weights[0].detach().norm(dim=1).max()) == pytest.approx(1.2, rel=1e-5)
    assert torch.equal(net.weights[1], plain.weights[1]) and len(fused.copies) == 1, "the last layer is fp32"


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_is_updated_alike_alone_and_whatever_the_number_of_threads(kind, dtype):
    results = []
    for threads, models in ((1, 2), (2, 2), (1, 1)):
        torch.manual_seed(0)
        net, optimizer = prepared(kind, dtype=dtype)
        gradient = torch.randn(MODELS, ROWS, UNITS)
        if models == 1:
            alone = BatchedMLP(net.sizes, [0], dtype)
            alone.load_state_dict({name: value[:1] for name, value in net.state_dict().items()})
            single = kind(alone.parameters(), weight_decay=0.1)
            single.rate, single.momentum = optimizer.rate, optimizer.momentum
            for ours, both in zip(single.state, optimizer.state, strict=True):
                for name, value in ours.items():
                    value.copy_(both[name][:1] if value.dim() else both[name])
            net, optimizer = alone, single
        fused = FusedUpdate(net, optimizer, 0.5)
        numba.set_num_threads(min(threads, numba.config.NUMBA_NUM_THREADS))
        fused.copies[0].gradient.copy_(gradient[:models])
        fused.step()
        results.append(net.weights[0].detach()[0])
    assert torch.equal(results[0], results[1]) and torch.equal(results[0], results[2])


@given(st.lists(st.floats(width=32), min_size=1, max_size=40))
def test_copies_are_rounded_as_pytorch_does(numbers):
    weight = torch.tensor(numbers).view(1, 1, -1)
    result = WeightCopy(weight, torch.bfloat16)
    zeros = np.zeros(weight.shape, np.float32)
    bits = (result.value.view(torch.uint16).numpy(), np.zeros(weight.shape, np.uint16))
    still = tuple(np.float32(0) for _ in range(3))
    kernels.sgd(weight.clone().numpy(), *bits, zeros, result.sums, still, np.float32(0))
    finite = weight.isfinite()  # an infinite weight times no decay is NaN
    assert torch.equal(result.value[finite], weight.bfloat16()[finite])
    assert result.value[~finite].isnan().all()


def dropped(values: torch.Tensor, mask: Mask) -> torch.Tensor:
    return torch.where(mask.drawn >= mask.threshold, values.float() * mask.scale, 0).to(values.dtype)


@pytest.mark.parametrize("models", [1, 2])
def test_dropout_is_that_of_pytorch(models, dtype):
    """Units are dropped alike for inputs, one batch or one for each model, and after a ReLU, which passes NaN on."""
    torch.manual_seed(0)
    values, noise = torch.randn(models, 37, ROWS).to(dtype), Dropout([3, 4], 6, 0.2, 0.5)
    values[:, 0, :4] = torch.tensor([0.0, -0.0, torch.inf, -torch.inf])
    weight = WeightCopy(torch.zeros(2, ROWS, UNITS), dtype)
    mask = noise.input_mask(37, ROWS)
    assert torch.equal(weight.drop(values, mask), dropped(values, mask))
    assert weight.drop(values, None) is values
    output, mask = values.expand(2, -1, -1).clone(), noise.hidden_mask(1, 37, ROWS)
    weight.relu_and_drop(output, mask)
    assert torch.equal(output, dropped(values.relu(), mask))
    both_signs = torch.tensor([torch.nan, -torch.nan]).to(dtype).expand(2, 37, 2).contiguous()
    weight.relu_and_drop(both_signs, Mask(torch.full((2, 37, 2), 9, dtype=torch.uint8), 1))
    assert both_signs.isnan().all()


@pytest.mark.parametrize("scale", [1.0, 2.0])
def test_the_gradient_of_relu_and_dropout_is_that_of_pytorch(scale, dtype):
    torch.manual_seed(0)
    gradient, output = torch.randn(2, 37, UNITS).to(dtype), torch.randn(2, 37, UNITS).relu().to(dtype)
    before, to_bias = WeightCopy(torch.zeros(2, ROWS, UNITS), dtype).relu_backward(gradient, output, scale)
    expected = gradient * scale * (output > 0)
    assert torch.equal(before, expected)
    torch.testing.assert_close(to_bias, expected.float().sum(1, keepdim=True), rtol=1e-5, atol=1e-5)


def test_numbers_of_another_type_are_refused():
    with pytest.raises(numba.TypingError):
        WeightCopy(torch.zeros(1, 2, 3), torch.float32).relu_backward(*torch.zeros(2, 1, 4, 3).double(), 1.0)


def test_the_output_layer_of_speech_writes_its_gradient_to_the_copy(dtype):
    torch.manual_seed(0)
    hidden, weight, labels = torch.randn(2, 9, 6).to(dtype), torch.randn(2, 6, 7), torch.arange(9) % 7
    result = WeightCopy(weight, dtype)
    gradients = []
    for given_copy in (None, result):
        leaf = weight.clone().requires_grad_()
        loss = fused_loss.loss(hidden, leaf, torch.zeros(2, 1, 7, requires_grad=True), labels, copy=given_copy)
        loss.sum().backward()
        gradients.append(leaf.grad)
    assert gradients[1] is None
    torch.testing.assert_close(result.gradient.float(), gradients[0], rtol=2**-7, atol=1e-4)
    to_logits = result.products(hidden)
    WeightCopy(weight, dtype).loss_backward(to_logits, torch.zeros(2, 1, 7), labels, None)
    assert torch.equal(result.gradient, torch.bmm(hidden.transpose(1, 2), to_logits))


def trained(
    toy, recipe, monkeypatch, fused: bool, precision: str = "bf16", **context
) -> tuple[MLPTrainer, list[float]]:
    with monkeypatch.context() as patch:
        if not fused:
            patch.setattr(mlp, "fused_update", lambda *_: None)
        members = [MemberSpec(0, 20.0, 0.1), MemberSpec(1, 2.0, 0.1)]
        training = MLPTrainer(
            sizes=SIZES, members=members, transfer=transfer_set(toy),
            context=TrainerContext(recipe=recipe, compute=compute.choose("cpu", precision), **context),
        )  # fmt: skip
    losses = [snapshot.loss.mean().item() for snapshot in training.run(5)]
    return training, losses


@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-4), ("bf16", 0.02)])
@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_training_learns_alike_with_and_without_fused_updates(toy, monkeypatch, optimizer, precision, tolerance):
    recipe = NOISY.model_copy(update={"optimizer": optimizer})
    (ours, losses), (plain, plain_losses) = (
        trained(toy, recipe, monkeypatch, fused, precision) for fused in (True, False)
    )
    assert ours.fused is not None and plain.fused is None
    assert losses == pytest.approx(plain_losses, rel=tolerance) and losses[-1] < losses[0]
    norms = ours.net.weights[0].detach().norm(dim=1)
    assert recipe.max_norm is not None and float(norms.max()) <= recipe.max_norm * 1.0001


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_training_resumes_bit_for_bit(toy, tmp_path, monkeypatch, precision):
    monkeypatch.setattr(MLPTrainer, "_checkpoint_due", lambda training: training.step == 7)
    whole, _ = trained(toy, NOISY, monkeypatch, True, precision, checkpoint=tmp_path / "checkpoint")
    monkeypatch.setattr(MLPTrainer, "_checkpoint_due", lambda training: False)
    resumed, _ = trained(toy, NOISY, monkeypatch, True, precision, checkpoint=tmp_path / "checkpoint")
    assert resumed.seconds > 0
    for name, value in whole.net.state_dict().items():
        assert torch.equal(value, resumed.net.state_dict()[name]), name


def test_other_devices_train_without_copies():
    net, optimizer = prepared(AdamW)
    assert mlp.fused_update(net, optimizer, None, compute.Compute(torch.device("cuda"), "bf16")) is None


def test_kernels_are_compiled_where_no_cache_can_be_written(monkeypatch):
    calls, net_and_optimizer = [], prepared(AdamW)
    whole = kernels.adamw

    def full_disk(*arguments):
        calls.append(len(arguments[0]))
        if len(calls) == 1:
            raise OSError(28, "No space left on device")
        return whole(*arguments)

    monkeypatch.setattr(kernels, "adamw", full_disk)
    before = copy.deepcopy(net_and_optimizer[0].weights[0])
    updated(*net_and_optimizer, torch.ones(MODELS, ROWS, UNITS), None)
    assert calls == [0, MODELS] and not torch.equal(before, net_and_optimizer[0].weights[0])
    calls.clear()
    mixed = BatchedMLP([5, 16, ROWS, 3], range(MODELS))  # in fp32, one layer has no copy and one has
    FusedUpdate(mixed, AdamW(mixed.parameters()), None)
    assert calls == [0, 0], "each kind is compiled at the start"

    def no_folder(**options):
        if options.get("cache"):
            raise RuntimeError("cannot cache function: no locator available")
        return lambda function: function

    monkeypatch.setattr(kernels, "njit", no_folder)
    assert kernels.compiled(len) is len
