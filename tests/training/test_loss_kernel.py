"""The compiled loss on logits in fp32 and bf16 against the plain formula and autograd."""

import itertools

import pytest
import torch

from repro import kd
from repro.kd.fused_loss import SoftTargets
from repro.training import kernels
from repro.training.fused_update import WeightCopy

BATCH, CLASSES = 37, 45
TEACHER, TEMPERATURE, HARD_WEIGHT = (0, 1, 0, 1, 0), (1.0, 5.0, 2.0, 5.0, 1.0), (0.5, 0.0, 0.9, 1.0, 0.0)


@pytest.fixture(autouse=True)
def _threads():
    kernels.match_threads()


@pytest.fixture(params=[torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
def given(request):
    torch.manual_seed(0)
    logits, labels = 4 * torch.randn(len(TEACHER), BATCH, CLASSES), torch.randint(CLASSES, (BATCH,))
    bias = torch.randn(len(TEACHER), 1, CLASSES)
    return logits.to(request.param), bias, labels, 4 * torch.randn(2, BATCH, CLASSES).bfloat16()


def soft_targets(teachers, *models):
    of_models = [tuple(values[model] for model in models or range(5)) for values in (TEACHER, TEMPERATURE, HARD_WEIGHT)]
    return SoftTargets(teachers, *of_models)


def computed(logits, bias, labels, soft):
    gradient = logits.clone()
    losses, to_bias = WeightCopy(torch.zeros(len(logits), 1, CLASSES), logits.dtype).loss_backward(
        gradient, bias, labels, soft
    )
    return losses, gradient.float(), to_bias


@pytest.mark.parametrize("cached", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("soft", [True, False])
def test_loss_and_gradients_are_those_of_the_plain_formula(given, soft, cached):
    logits, bias, labels, teachers = given
    exact = (logits + bias).double().requires_grad_()
    if soft:
        temperature, weight = (torch.tensor(values).double() for values in (TEMPERATURE, HARD_WEIGHT))
        expected = kd.distillation_loss(exact, teachers[list(TEACHER)].double(), labels, temperature, weight)
    else:
        expected = kd.hard_target_loss(exact, labels)
    expected.sum().backward()
    losses, gradient, to_bias = computed(logits, bias, labels, soft_targets(teachers.to(cached)) if soft else None)
    torch.testing.assert_close(losses.double(), expected.detach(), rtol=1e-5, atol=1e-5)
    precision = 2**-8 if logits.dtype == torch.bfloat16 else 1e-5
    torch.testing.assert_close(gradient.double(), exact.grad, rtol=precision, atol=1e-7)
    torch.testing.assert_close(to_bias.double(), exact.grad.sum(1, keepdim=True), rtol=1e-4, atol=1e-6)


def test_each_model_is_computed_as_it_is_alone_and_with_any_number_of_threads(given):
    logits, bias, labels, teachers = given
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        kernels.match_threads()
        together = computed(logits, bias, labels, soft_targets(teachers))
        torch.set_num_threads(1)
        kernels.match_threads()
        for model in range(len(TEACHER)):
            this = slice(model, model + 1)
            alone = computed(logits[this], bias[this], labels, soft_targets(teachers, model))
            for all_models, single in zip(together, alone, strict=True):
                assert torch.equal(all_models[model], single[0])
    finally:
        torch.set_num_threads(threads)
        kernels.match_threads()


@pytest.mark.parametrize(("value", "soft"), list(itertools.product((torch.nan, -torch.nan, torch.inf), (True, False))))
def test_logits_that_are_not_finite_give_a_loss_of_nan(given, value, soft):
    logits, bias, labels, teachers = given
    logits[2, 5, 7] = value
    losses, _, _ = computed(logits, bias, labels, soft_targets(teachers) if soft else None)
    assert losses.isnan().tolist() == [model == 2 for model in range(len(TEACHER))]


def test_large_logits_give_finite_losses_and_gradients(given):
    logits, bias, labels, teachers = given
    results = computed(1e4 * logits, bias, labels, soft_targets(1e4 * teachers))
    assert all(bool(result.isfinite().all()) for result in results)
