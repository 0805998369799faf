"""Equation 5: both solvers against each other, autograd and a general optimizer; the dustbin's correction."""

import math
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize

from repro.specialists import inference

CLASSES, SUBSETS = 7, torch.tensor([[0, 1, 2], [1, 3, 5], [2, 3, 4], [0, 5, 6]])


def cases(seed: int, count: int = 12, classes: int = CLASSES, subsets: torch.Tensor = SUBSETS, spread: float = 1.0):
    """Return independent random probabilities of a generalist and its specialists, in float64.

    Image 0 has no active specialist, image 1 has all of them, the others have random ones.
    """
    draw = torch.Generator().manual_seed(seed)
    generalist = (spread * torch.randn(count, classes, generator=draw, dtype=torch.float64)).softmax(-1)
    active = torch.rand(count, len(subsets), generator=draw) < 0.5
    active[0], active[1] = False, True
    pairs = active.nonzero(as_tuple=True)
    outputs = (len(pairs[0]), subsets.shape[1] + 1)
    specialists = (spread * torch.randn(outputs, generator=draw, dtype=torch.float64)).softmax(-1)
    return generalist, specialists, pairs, subsets


def plain_objective(q, generalist, specialists, pairs, subsets, case: int) -> float:
    """Compute equation 5 for one image with plain loops."""
    total = sum(p * math.log(p / q[j]) for j, p in enumerate(generalist[case].tolist()) if p > 0)
    for (image, model), outputs in zip(torch.stack(pairs, 1).tolist(), specialists.tolist(), strict=True):
        if image == case:
            special = subsets[model].tolist()
            masses = [q[j] for j in special] + [sum(q[j] for j in range(len(q)) if j not in special)]
            total += sum(p * math.log(p / mass) for p, mass in zip(outputs, masses, strict=True) if p > 0)
    return total


def test_objective_is_equation_5():
    problem = cases(0)
    q = cases(1)[0]
    values = inference.objective(q, *problem)
    expected = [plain_objective(q[case].tolist(), *problem, case) for case in range(len(q))]
    np.testing.assert_allclose(values, expected, rtol=1e-12)


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 10**6), st.floats(0.1, 6))
def test_em_never_increases_the_objective(seed, spread):
    problem = cases(seed, spread=spread)
    values = torch.stack(
        [inference.objective(inference.combine_em(*problem, iterations=n, tolerance=0.0), *problem) for n in range(12)]
    )
    assert float(values.diff(dim=0).max()) < 1e-12
    assert bool((values[-1, 1:] <= values[0, 1:]).all())


@settings(deadline=None, max_examples=12)
@given(st.integers(0, 10**6), st.floats(0.1, 1))
def test_em_and_gradient_descent_agree(seed, spread):
    problem = cases(seed, count=6, spread=spread)
    em = inference.combine_em(*problem, iterations=20_000, tolerance=1e-12)
    descent = inference.combine_gradient(*problem, steps=20_000, tolerance=1e-10)
    torch.testing.assert_close(em, descent, rtol=0, atol=1e-7)
    torch.testing.assert_close(em.sum(-1), torch.ones(len(em), dtype=torch.float64))


@pytest.mark.parametrize("step_size", [1.0, 2.0, 4.0])
def test_gradient_descent_never_increases_the_objective(step_size):
    problem = cases(2, spread=3.0)
    values = torch.stack(
        [
            inference.objective(inference.combine_gradient(*problem, steps=n, step_size=step_size), *problem)
            for n in range(25)
        ]
    )
    assert float(values.diff(dim=0).max()) < 1e-12


@pytest.mark.parametrize("seed", range(4))
def test_em_agrees_with_a_general_optimizer(seed):
    problem = cases(seed, count=3)
    em = inference.combine_em(*problem, iterations=20_000, tolerance=1e-13)
    for case in (1, 2):
        result = optimize.minimize(
            lambda z, case=case: plain_objective(np.exp(z) / np.exp(z).sum(), *problem, case),
            np.zeros(CLASSES),
            method="BFGS",
            options={"gtol": 1e-8},
        )
        np.testing.assert_allclose(em[case], np.exp(result.x) / np.exp(result.x).sum(), atol=1e-5)
        assert float(inference.objective(em, *problem)[case]) <= result.fun + 1e-10


def test_a_descent_step_follows_autograd():
    """A step of 1 / (1 + |A|) with the derived gradient equals a step with autograd's gradient."""
    problem = generalist, _, pairs, _ = cases(3)
    z = generalist.log().requires_grad_()
    inference.objective(z.softmax(-1), *problem).sum().backward()
    models = 1 + torch.bincount(pairs[0], minlength=len(generalist))[:, None]
    stepped = inference.combine_gradient(*problem, steps=1, step_size=1.0, tolerance=0.0)
    torch.testing.assert_close(stepped, (z.detach() - z.grad / models).softmax(-1), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("combine", [inference.combine_em, partial(inference.combine_gradient, steps=100)])
def test_every_specialist_output_changes_its_image_only(combine):
    """A specialist's outputs, with the dustbin, change the result of their image and of no other image."""
    generalist, specialists, pairs, subsets = cases(4)
    before = combine(generalist, specialists, pairs, subsets)
    for pair, case in enumerate(pairs[0].tolist()):
        for output in (0, subsets.shape[1]):
            changed = specialists.clone()
            changed[pair, output] += 0.5
            changed[pair] /= changed[pair].sum()
            moved = (combine(generalist, changed, pairs, subsets) - before).abs().amax(1)
            assert float(moved[case]) > 1e-3
            assert float(moved.sum() - moved[case]) < 1e-4  # other images of the block may take a few more steps


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_without_an_active_specialist_the_generalist_is_unchanged(dtype):
    generalist, specialists, pairs, subsets = cases(5)
    generalist, specialists = generalist.to(dtype), specialists.to(dtype)
    generalist[0, 3] = 0
    no_pairs = (torch.empty(0, dtype=torch.long), torch.empty(0, dtype=torch.long))
    full = torch.rand(len(pairs[0]), CLASSES, dtype=dtype)
    for combine in (inference.combine_em, inference.combine_gradient):
        q = combine(generalist, specialists, pairs, subsets)
        assert q.dtype == dtype and torch.equal(q[0], generalist[0])
        assert not torch.equal(q[1], generalist[1])
        assert torch.equal(combine(generalist, specialists[:0], no_pairs, subsets), generalist)
    assert torch.equal(inference.combine_full(generalist, full, pairs)[0], generalist[0])
    assert torch.equal(inference.combine_full(generalist, full[:0], no_pairs), generalist)


def test_one_specialist_has_a_closed_form():
    """Special classes and dustbin have the mean of both probabilities; the generalist divides the dustbin."""
    generalist = torch.tensor([[0.4, 0.2, 0.3, 0.1]], dtype=torch.float64)
    specialists = torch.tensor([[0.1, 0.7, 0.2]], dtype=torch.float64)
    pairs, subsets = (torch.tensor([0]), torch.tensor([0])), torch.tensor([[0, 1]])
    expected = torch.tensor([[0.25, 0.45, 0.3 * 0.75, 0.3 * 0.25]], dtype=torch.float64)
    torch.testing.assert_close(inference.combine_em(generalist, specialists, pairs, subsets), expected)
    descent = inference.combine_gradient(generalist, specialists, pairs, subsets, tolerance=1e-10)
    torch.testing.assert_close(descent, expected)


def test_block_size_and_order_of_pairs_do_not_matter(monkeypatch):
    generalist, specialists, pairs, subsets = cases(6, count=40)
    exactly = {"iterations": 20_000, "tolerance": 1e-14}
    together = inference.combine_em(generalist, specialists, pairs, subsets, **exactly)
    shuffle = torch.randperm(len(specialists), generator=torch.Generator().manual_seed(0))
    shuffled = (pairs[0][shuffle], pairs[1][shuffle])
    monkeypatch.setattr(inference, "BLOCK", 3 * CLASSES)
    apart = inference.combine_em(generalist, specialists[shuffle], shuffled, subsets, **exactly)
    torch.testing.assert_close(together, apart, rtol=0, atol=1e-10)
    alone = [
        inference.combine_em(
            generalist[case : case + 1], specialists[rows], (pairs[0][rows] * 0, pairs[1][rows]), subsets, **exactly
        )
        for case, rows in ((case, pairs[0] == case) for case in range(40))
    ]
    torch.testing.assert_close(together, torch.cat(alone), rtol=0, atol=1e-10)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_zero_probabilities_are_supported(dtype):
    """The dustbin has the specialist's probability if the generalist is certain of special classes."""
    generalist = torch.tensor([[1, 0, 0, 0], [0, 0, 1, 0], [0.5, 0.5, 0, 0]], dtype=dtype)
    specialists = torch.tensor([[0, 1, 0], [0, 0, 1], [0.25, 0.25, 0.5]], dtype=dtype)
    pairs, subsets = (torch.arange(3), torch.tensor([0, 0, 0])), torch.tensor([[0, 1]])
    expected = torch.tensor([[0.5, 0.5, 0, 0], [0, 0, 1, 0], [0.375, 0.375, 0.125, 0.125]], dtype=dtype)
    em = inference.combine_em(generalist, specialists, pairs, subsets)
    torch.testing.assert_close(em, expected)
    descent = inference.combine_gradient(generalist, specialists, pairs, subsets)
    assert bool(descent.isfinite().all())
    torch.testing.assert_close(descent.sum(-1), torch.ones(3, dtype=dtype))
    assert not bool(inference.objective(em, generalist, specialists, pairs, subsets).isnan().any())


def test_single_precision_is_accurate():
    generalist, specialists, pairs, subsets = cases(7, count=50)
    single = inference.combine_em(generalist.float(), specialists.float(), pairs, subsets)
    exact = inference.combine_em(generalist, specialists, pairs, subsets, iterations=20_000, tolerance=1e-13)
    assert float((single - exact).abs().max()) < 1e-4


def test_active_specialists_cover_one_of_the_most_probable_classes():
    generalist = torch.tensor([[0.1, 0.2, 0.6, 0.1, 0, 0, 0], [0, 0, 0, 0, 0, 0.3, 0.7], [0.05, 0, 0, 0, 0.9, 0, 0.05]])
    subsets = torch.tensor([[0, 1], [1, 2], [2, 5], [5, 6]])
    pairs_of = {
        n: list(zip(*(index.tolist() for index in inference.active_pairs(generalist, subsets, n)), strict=True))
        for n in (1, 2, 100)
    }
    assert pairs_of[1] == [(0, 1), (0, 2), (1, 3)]
    assert pairs_of[2][:5] == [(0, 0), (0, 1), (0, 2), (1, 2), (1, 3)]
    assert pairs_of[100] == [(case, index) for case in range(3) for index in range(4)]
    logs = inference.active_pairs(generalist.log(), subsets, 1)
    assert torch.equal(torch.stack(logs), torch.tensor(pairs_of[1]).T)


def test_arithmetic_mean_minimizes_the_sum_of_divergences():
    generalist, _, pairs, _ = cases(8)
    draw = torch.Generator().manual_seed(0)
    outputs = torch.randn(len(pairs[0]), CLASSES, generator=draw, dtype=torch.float64).softmax(-1)

    def total(q: torch.Tensor) -> torch.Tensor:
        return inference.kl(generalist, q).index_add(0, pairs[0], inference.kl(outputs, q[pairs[0]]))

    mean = inference.combine_full(generalist, outputs, pairs)
    torch.testing.assert_close(mean[1], torch.cat([generalist[1:2], outputs[pairs[0] == 1]]).mean(0))
    z = mean.log().requires_grad_()
    total(z.softmax(-1)).sum().backward()
    assert float(z.grad.abs().max()) < 1e-12
    for _ in range(20):
        other = (mean.log() + 0.1 * torch.randn(mean.shape, generator=draw, dtype=torch.float64)).softmax(-1)
        assert bool((total(other) > total(mean)).all())


def test_correction_of_2_percent_sampled_half_and_half_is_log_49():
    assert inference.dustbin_correction(0.5, 0.02) == pytest.approx(math.log(49))
    assert inference.dustbin_correction(0.3, 0.3) == pytest.approx(0)


@pytest.mark.parametrize(("sampled", "natural"), [(0.5, 0.02), (0.5, 0.7), (0.25, 0.1)])
def test_correction_turns_the_optimal_classifier_of_batches_into_that_of_the_data(sampled, natural):
    """Exact posteriors of a discrete image under both class priors, with four special classes and a dustbin of six."""
    draw = torch.Generator().manual_seed(0)
    likelihood = torch.rand(50, 10, generator=draw, dtype=torch.float64)  # of 50 images, given each class
    likelihood /= likelihood.sum(0)
    within = torch.rand(10, generator=draw, dtype=torch.float64)
    special = torch.arange(10) < 4

    def posterior(fraction: float) -> torch.Tensor:
        prior = torch.where(special, fraction * within / within[:4].sum(), (1 - fraction) * within / within[4:].sum())
        joint = likelihood * prior
        outputs = torch.cat([joint[:, :4], joint[:, 4:].sum(1, keepdim=True)], dim=1)
        return outputs / outputs.sum(1, keepdim=True)

    logits = posterior(sampled).log()
    logits[:, -1] += inference.dustbin_correction(sampled, natural)
    torch.testing.assert_close(logits.softmax(-1), posterior(natural))
