"""The loss fused with the output layer against ``kd.distillation_loss`` and autograd."""

import pytest
import torch

from repro import kd
from repro.kd import fused_loss
from repro.kd.fused_loss import SoftTargets

MODELS, BATCH, UNITS, CLASSES = 3, 2 * fused_loss.BLOCK + 7, 5, 11
TEACHER, TEMPERATURE, HARD_WEIGHT = (0, 1, 0), (1.0, 5.0, 2.0), (0.5, 0.0, 0.9)


@pytest.fixture
def given():
    draw = torch.Generator().manual_seed(0)
    make = lambda *shape: torch.randn(*shape, generator=draw, dtype=torch.float64)  # noqa: E731
    parameters = [make(MODELS, BATCH, UNITS), 3 * make(MODELS, UNITS, CLASSES), make(MODELS, 1, CLASSES)]
    return parameters, torch.randint(CLASSES, (BATCH,), generator=draw), 3 * make(2, BATCH, CLASSES)


def ours(parameters, labels, logits):
    return fused_loss.loss(*parameters, labels, SoftTargets(logits, TEACHER, TEMPERATURE, HARD_WEIGHT))


def plain(parameters, labels, logits):
    hidden, weight, bias = parameters
    student, settings = torch.baddbmm(bias, hidden, weight), (TEMPERATURE, HARD_WEIGHT)
    temperature, hard_label_weight = (torch.tensor(values, dtype=hidden.dtype) for values in settings)
    return kd.distillation_loss(student, logits[list(TEACHER)], labels, temperature, hard_label_weight)


def hard(parameters, labels, _):
    return fused_loss.loss(*parameters, labels)


def plain_hard(parameters, labels, _):
    hidden, weight, bias = parameters
    return kd.hard_target_loss(torch.baddbmm(bias, hidden, weight), labels)


@pytest.mark.parametrize(("fused", "plain_loss"), [(ours, plain), (hard, plain_hard)])
def test_loss_and_gradients_are_those_of_the_plain_formula(given, fused, plain_loss):
    parameters, labels, logits = given
    upstream = torch.tensor([1.0, 2.0, -0.5], dtype=torch.float64)
    results = []
    for compute in (fused, plain_loss):
        inputs = [parameter.clone().requires_grad_() for parameter in parameters]
        losses = compute(inputs, labels, logits)
        (losses * upstream).sum().backward()
        results.append([losses.detach(), *(parameter.grad for parameter in inputs)])
    for actual, expected in zip(*results, strict=True):
        torch.testing.assert_close(actual, expected, atol=1e-12, rtol=1e-9)


def test_second_derivatives_are_refused(given):
    parameters, labels, logits = given
    inputs = [parameter.clone().requires_grad_() for parameter in parameters]
    (gradient,) = torch.autograd.grad(ours(inputs, labels, logits).sum(), inputs[:1], create_graph=True)
    with pytest.raises(RuntimeError, match="does not require grad"):
        gradient.square().sum().backward()


def test_large_logits_give_finite_losses_and_gradients(given):
    (hidden, weight, bias), labels, logits = given
    parameters = [parameter.float().requires_grad_() for parameter in (hidden, 1e3 * weight, bias)]
    losses = ours(parameters, labels, 1e3 * logits.float())
    losses.sum().backward()
    expected = plain([parameter.detach().double() for parameter in parameters], labels, 1e3 * logits)
    torch.testing.assert_close(losses.detach().double(), expected, rtol=1e-4, atol=1e-4)
    assert all(bool(parameter.grad.isfinite().all()) for parameter in parameters)


def test_in_bf16_loss_and_gradient_are_close_to_float64(given):
    parameters, labels, logits = given
    results = []
    for dtype in (torch.float64, torch.bfloat16):
        hidden = parameters[0].to(dtype).requires_grad_()
        rest = [parameter.float() if dtype == torch.bfloat16 else parameter for parameter in parameters[1:]]
        rest = [parameter.clone().requires_grad_() for parameter in rest]
        losses = ours([hidden, *rest], labels, logits)
        losses.sum().backward()
        results.append((losses.detach().double(), rest[0].grad.double()))
    (exact, gradient), (near, rounded) = results
    torch.testing.assert_close(near, exact, rtol=0.02, atol=0.02)
    assert float((gradient * rounded).sum() / (gradient.norm() * rounded.norm())) > 0.999
