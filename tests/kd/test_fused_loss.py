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
    temperature, hard_label_weight = (torch.tensor(one, dtype=hidden.dtype) for one in settings)
    return kd.distillation_loss(student, logits[list(TEACHER)], labels, temperature, hard_label_weight)


def hard(parameters, labels, _):
    return fused_loss.loss(*parameters, labels)


def plain_hard(parameters, labels, _):
    hidden, weight, bias = parameters
    return kd.hard_target_loss(torch.baddbmm(bias, hidden, weight), labels)


@pytest.mark.parametrize(("one", "other"), [(ours, plain), (hard, plain_hard)])
def test_loss_and_gradients_are_those_of_the_plain_formula(given, one, other):
    parameters, labels, logits = given
    upstream = torch.tensor([1.0, 2.0, -0.5], dtype=torch.float64)
    found = []
    for make in (one, other):
        request_metadata = [parameter.clone().requires_grad_() for parameter in parameters]
        losses = make(request_metadata, labels, logits)
        (losses * upstream).sum().backward()
        found.append([losses.detach(), *(parameter.grad for parameter in request_metadata)])
    for mine, theirs in zip(*found, strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-12, rtol=1e-9)


def test_logits_far_apart_make_no_infinity(given):
    (hidden, weight, bias), labels, logits = given
    parameters = [one.float().requires_grad_() for one in (hidden, 1e3 * weight, bias)]
    losses = ours(parameters, labels, 1e3 * logits.float())
    losses.sum().backward()
    expected = plain([one.detach().double() for one in parameters], labels, 1e3 * logits)
    torch.testing.assert_close(losses.detach().double(), expected, rtol=1e-4, atol=1e-4)
    assert all(bool(one.grad.isfinite().all()) for one in parameters)


def test_in_bf16_the_loss_is_near_and_the_gradient_points_the_same_way(given):
    parameters, labels, logits = given
    found = []
    for dtype in (torch.float64, torch.bfloat16):
        hidden = parameters[0].to(dtype).requires_grad_()
        rest = [one.float() if dtype == torch.bfloat16 else one for one in parameters[1:]]
        rest = [one.clone().requires_grad_() for one in rest]
        losses = ours([hidden, *rest], labels, logits)
        losses.sum().backward()
        found.append((losses.detach().double(), rest[0].grad.double()))
    (exact, gradient), (near, rounded) = found
    torch.testing.assert_close(near, exact, rtol=0.02, atol=0.02)
    assert float((gradient * rounded).sum() / (gradient.norm() * rounded.norm())) > 0.999
