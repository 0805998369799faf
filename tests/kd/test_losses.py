"""Equations 1 to 4 against plain float64 arithmetic, and the properties that make them what they are."""

import doctest
import math

import jaxtyping
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from repro import kd
from repro.kd import losses

STUDENT = torch.tensor([[1.0, -2.0, 0.5], [0.0, 3.0, -1.0]], dtype=torch.float64)
TEACHER = torch.tensor([[2.0, 0.0, -1.0], [-1.0, 4.0, 1.0]], dtype=torch.float64)
LABELS = torch.tensor([0, 1])

logits = st.lists(st.floats(-20, 20), min_size=4, max_size=4)


def plain_softmax(row: list[float], temperature: float) -> list[float]:
    """Equation 1, letter by letter."""
    top = [math.exp(z / temperature) for z in row]
    return [t / sum(top) for t in top]


def plain_soft_loss(student: torch.Tensor, teacher: torch.Tensor, temperature: float) -> float:
    """T^2 times the sum over classes of p log(p / q), averaged over cases only."""
    total = 0.0
    for z, v in zip(student.tolist(), teacher.tolist(), strict=True):
        q, p = plain_softmax(z, temperature), plain_softmax(v, temperature)
        total += sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))
    return temperature**2 * total / len(student)


@pytest.mark.parametrize("temperature", [1.0, 2.5, 20.0])
def test_soft_targets_are_equation_1(temperature):
    expected = [plain_softmax(row, temperature) for row in TEACHER.tolist()]
    np.testing.assert_allclose(kd.soften(TEACHER, temperature), expected, rtol=1e-12)


@pytest.mark.parametrize("temperature", [1.0, 2.5, 20.0])
def test_soft_target_loss_is_the_plain_sum(temperature):
    ours = kd.soft_target_loss(STUDENT, TEACHER, temperature)
    assert float(ours) == pytest.approx(plain_soft_loss(STUDENT, TEACHER, temperature), rel=1e-12)


def test_the_example_in_the_documentation():
    assert doctest.testmod(losses) == (0, 4)


def test_golden_values():
    """Worked out with scipy: a change of T^2, of the mean over cases or of the sum over classes shows."""
    assert float(kd.soft_target_loss(STUDENT, TEACHER, 4.0)) == pytest.approx(0.6919494506, abs=1e-9)
    hard = (
        -(math.log(plain_softmax(STUDENT[0].tolist(), 1)[0]) + math.log(plain_softmax(STUDENT[1].tolist(), 1)[1])) / 2
    )
    assert float(kd.hard_target_loss(STUDENT, LABELS)) == pytest.approx(hard, rel=1e-12)
    regression = kd.logit_regression_loss(STUDENT, TEACHER)
    d = (STUDENT - TEACHER).numpy()
    d = d - d.mean(1, keepdims=True)
    assert float(regression) == pytest.approx((d**2).sum() / (2 * 3 * 2), rel=1e-12)


@pytest.mark.parametrize("temperature", [1.0, 4.0, 20.0, math.inf])
@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_gradients_match_finite_differences(temperature, weight):
    student = STUDENT.clone().requires_grad_()
    assert torch.autograd.gradcheck(
        lambda z: kd.distillation_loss(z, TEACHER, LABELS, torch.tensor(temperature), weight), student
    )


@pytest.mark.parametrize("temperature", [1.0, 3.0, 20.0])
def test_gradient_of_soft_targets_is_equation_2_times_T_squared(temperature):
    student = STUDENT.clone().requires_grad_()
    kd.soft_target_loss(student, TEACHER, temperature).backward()
    expected = temperature**2 * kd.exact_gradient(STUDENT, TEACHER, temperature) / len(STUDENT)
    torch.testing.assert_close(student.grad, expected)


def test_hard_targets_keep_their_weight_when_the_temperature_changes():
    """With T^2 the soft gradient tends to a limit as T grows, instead of vanishing as 1 / T^2."""
    sizes = []
    for temperature in (20.0, 40.0, 80.0):
        student = STUDENT.clone().requires_grad_()
        kd.soft_target_loss(student, TEACHER, temperature).backward()
        sizes.append(float(student.grad.norm()))
    assert max(sizes) / min(sizes) < 1.05


@settings(deadline=None, max_examples=60)
@given(logits, logits)
def test_loss_tends_to_logit_regression_at_high_temperature(student, teacher):
    z, v = (torch.tensor([row], dtype=torch.float64) for row in (student, teacher))
    limit = float(kd.logit_regression_loss(z, v))
    assert float(kd.soft_target_loss(z, v, 1e5)) == pytest.approx(limit, rel=1e-2, abs=1e-4)


@settings(deadline=None, max_examples=60)
@given(logits, logits, st.floats(0.5, 50))
def test_loss_is_zero_for_equal_logits_only(student, teacher, temperature):
    z, v = (torch.tensor([row], dtype=torch.float64) for row in (student, teacher))
    assert float(kd.soft_target_loss(z, z + 3.0, temperature)) == pytest.approx(0, abs=1e-8)
    apart = (kd.soften(z, temperature) - kd.soften(v, temperature)).abs().max()
    assert float(kd.soft_target_loss(z, v, temperature)) >= float(apart) ** 2 / 2 - 1e-9


@settings(deadline=None, max_examples=60)
@given(logits, st.floats(0.5, 20), st.floats(1.1, 5))
def test_only_logits_over_temperature_matter(student, temperature, factor):
    z = torch.tensor([student], dtype=torch.float64)
    torch.testing.assert_close(kd.soften(z * factor, temperature * factor), kd.soften(z, temperature))


def test_ratio_of_gradients_tends_to_one():
    """Section 2.1, for zero-mean logits."""
    z, v = STUDENT - STUDENT.mean(-1, keepdim=True), TEACHER - TEACHER.mean(-1, keepdim=True)
    distances = []
    for temperature in (5.0, 50.0, 500.0):
        ratio = kd.exact_gradient(z, v, temperature) / kd.high_temperature_gradient(z, v, temperature)
        distances.append(float((ratio - 1).abs().max()))
    assert distances[0] > distances[1] > distances[2] and distances[2] < 0.01


def test_each_member_has_its_own_temperature_and_weight():
    z = torch.stack([STUDENT, 2 * STUDENT, STUDENT + 1])
    temperature, weight = torch.tensor([1.0, 20.0, math.inf]), torch.tensor([0.0, 0.3, 0.5])
    together = kd.distillation_loss(z, TEACHER, LABELS, temperature, weight)
    for m in range(3):
        alone = kd.distillation_loss(z[m], TEACHER, LABELS, float(temperature[m]), float(weight[m]))
        torch.testing.assert_close(together[m], alone, check_dtype=False)


def test_student_gets_a_gradient_at_every_temperature_and_weight():
    """Neither side of the loss is cut off from the student by a detach."""
    for temperature, weight in ((4.0, 0.0), (4.0, 1.0), (20.0, 0.1), (math.inf, 0.0)):
        student = STUDENT.clone().requires_grad_()
        kd.distillation_loss(student, TEACHER, LABELS, temperature, weight).backward()
        assert float(student.grad.abs().min()) > 0


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("temperature", [1.0, 20.0, 300.0])
def test_logits_in_half_precision_lose_their_own_rounding_only(dtype, temperature):
    """The loss has no rounding of its own: at T = 300 it would be -169 in bf16, and T^2 would overflow in fp16."""
    draw = torch.Generator().manual_seed(0)
    student, teacher = (3 * torch.randn(6, 5, generator=draw, dtype=torch.float64).to(dtype) for _ in range(2))
    labels, results = torch.arange(6) % 5, []
    for wide in (torch.float64, dtype):
        logits = student.to(wide).requires_grad_()
        loss = kd.distillation_loss(logits, teacher.to(wide), labels, temperature, 0.1)
        loss.backward()
        results.append((loss.detach().double(), logits.grad.double()))
    assert loss.dtype == torch.float32
    torch.testing.assert_close(results[1], results[0], rtol=2**-8, atol=1e-3)
    alone = kd.soft_target_loss(student, teacher, temperature)
    torch.testing.assert_close(alone, kd.soft_target_loss(student.float(), teacher.float(), temperature))
    assert kd.soften(student, temperature).dtype == torch.float32


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"teacher": TEACHER[:1]}, "the teacher's"),
        ({"teacher": TEACHER[:, :2]}, "the teacher's"),
        ({"labels": LABELS[:1]}, "labels of shape"),
        ({"temperature": torch.full((2,), 2.0)}, "one per model"),
        ({"hard_label_weight": torch.full((2,), 0.5)}, "one per model"),
        ({"temperature": 0.0}, "above 0"),
        ({"temperature": -math.inf}, "above 0"),
        ({"temperature": math.nan}, "above 0"),
    ],
)
def test_sizes_that_would_be_broadcast_and_impossible_temperatures_are_refused(change, message, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # as for users, whose calls it does not check
    valid = {"teacher": TEACHER, "labels": LABELS, "temperature": 2.0, "hard_label_weight": 0.5}
    kd.distillation_loss(STUDENT, **valid)
    with pytest.raises(ValueError, match=message):
        kd.distillation_loss(STUDENT, **valid | change)


def test_ensemble_means():
    pair = torch.stack([STUDENT, TEACHER])
    arithmetic = kd.soften(kd.arithmetic_mean(pair, 2.0), 2.0)
    torch.testing.assert_close(arithmetic, (kd.soften(STUDENT, 2.0) + kd.soften(TEACHER, 2.0)) / 2)
    geometric = (kd.soften(STUDENT, 1.0) * kd.soften(TEACHER, 1.0)).sqrt()
    torch.testing.assert_close(kd.soften(kd.geometric_mean(pair), 1.0), geometric / geometric.sum(-1, keepdim=True))
