"""Section 5.4: combination of generalist and specialists by equation 5.

For an image, let p^g be the generalist's probabilities and A the active specialists, those with one of the
generalist's n most probable classes among their special classes S^m. Equation 5 defines the distribution q over all
classes that minimizes

    KL(p^g, q) + sum over m in A of KL(p^m, q),

where p^m has one probability for each class of S^m and one for the dustbin, all other classes together; in that
term q is summed over the dustbin's classes.

All functions take many images at once. An image and a specialist active on it are a *pair*; ``pairs`` holds the
index of the image and that of the specialist. Row i of ``specialists`` has the probabilities of pair i: the classes of
the subset in their order, then the dustbin.
"""

import math
from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor

Pairs = tuple[Int[Tensor, "pair"], Int[Tensor, "pair"]]

# Lower bound of the generalist's probabilities that q starts from: a class at 0 would stay at 0.
FLOOR = 1e-30
# Number of probabilities (images times classes) in a block, so that a block fits the processor's cache.
BLOCK = 1 << 19


def dustbin_correction(sampled_fraction: float, natural_fraction: float) -> float:
    """Return the correction of a specialist's dustbin logit for oversampling, in nats (section 5.2).

    A fraction h of the training cases is special, but a fraction pi of the data. By Bayes' rule the optimal classifier
    of the training distribution has

        P(dustbin | x) / P(special class c | x) = (1 - h) P(x | dustbin) / (h P(c | special) P(x | c)),

    and that of the data has 1 - pi and pi in place of 1 - h and h. The ratio of the second to the first is the
    proportion by which special cases are oversampled, (1 - pi) / pi * h / (1 - h); its log is the correction. If the
    special classes are 2% of the data and half of every batch, it is log 49.

    Args:
        sampled_fraction: h, greater than 0 and less than 1.
        natural_fraction: pi, greater than 0 and less than 1.
    """
    h, pi = sampled_fraction, natural_fraction
    return math.log((1 - pi) / pi * h / (1 - h))


def active_pairs(generalist: Float[Tensor, "case classes"], subsets: Int[Tensor, "specialist size"], n: int) -> Pairs:
    """Return all pairs of an image and a specialist that covers one of its ``n`` most probable classes.

    Args:
        generalist: probabilities or their logs; only their order matters.

    Returns:
        Indices of images and of specialists, sorted by image and then by specialist. An image may have no pair.
    """
    top = generalist.topk(min(n, generalist.shape[-1]), dim=-1).indices
    special = ~_outside(subsets, generalist).bool()
    image, model = special.T[top].any(1).nonzero(as_tuple=True)
    return image, model


def combine_em(
    generalist: Float[Tensor, "case classes"],
    specialists: Float[Tensor, "pair outputs"],
    pairs: Pairs,
    subsets: Int[Tensor, "specialist size"],
    iterations: int = 1000,
    tolerance: float = 1e-6,
) -> Float[Tensor, "case classes"]:
    """Minimize equation 5 by expectation-maximization, which has no step size.

    The class within the dustbin is latent. Expectation: given q, the dustbin's probability is spread over its classes
    in proportion to q. Maximization: every model then has a probability for every class, and the best q is their
    arithmetic mean (see ``combine_full``). By the log-sum inequality no step increases the objective. The objective is
    convex in q, so the fixed point is its minimum.

    Args:
        iterations: largest number of steps.
        tolerance: a block of images is finished when no probability changes by more in a step.

    Returns:
        q; for an image without an active specialist exactly the generalist's probabilities.
    """

    def solve(problem: "_Problem") -> Tensor:
        q = problem.generalist
        for _ in range(iterations):
            last, q = q, problem.completed(q) / problem.models
            if float((q - last).abs().max()) <= tolerance:
                break
        return q

    return _in_blocks(solve, generalist, specialists, pairs, subsets)


def combine_gradient(
    generalist: Float[Tensor, "case classes"],
    specialists: Float[Tensor, "pair outputs"],
    pairs: Pairs,
    subsets: Int[Tensor, "specialist size"],
    steps: int = 1000,
    step_size: float = 2.0,
    tolerance: float = 1e-6,
) -> Float[Tensor, "case classes"]:
    """Minimize equation 5 as the paper does: q = softmax(z) at T = 1, gradient descent on z from log p^g.

    Let r^m be p^m with the dustbin spread over its classes in proportion to q. The gradient is

        dC / dz = (1 + |A|) q - (p^g + sum over m in A of r^m),

    which is zero at the fixed point of ``combine_em``. The curvature of C is at most (1 + |A|) / 2, so a step of
    ``step_size`` / (1 + |A|) never increases C for step sizes up to 4; the default 2 is the inverse of the bound. The
    paper specifies neither start, steps nor step size. Descent is slow where q is small, because the gradient of a
    class is proportional to its probability.

    Args:
        steps: largest number of steps.
        step_size: in units of 1 / (1 + number of active specialists).
        tolerance: a block of images is finished when no entry of the gradient is larger than 1 + |A| times this, that
            is when a step of ``combine_em`` would change no probability by more.

    Returns:
        q, as ``combine_em``.
    """

    def solve(problem: "_Problem") -> Tensor:
        z = problem.generalist.log()
        for _ in range(steps):
            q = z.softmax(-1)
            gradient = problem.models * q - problem.completed(q)
            z = z - step_size / problem.models * gradient
            if float((gradient / problem.models).abs().max()) <= tolerance:
                break
        return z.softmax(-1)

    return _in_blocks(solve, generalist, specialists, pairs, subsets)


def combine_full(
    generalist: Float[Tensor, "case classes"], specialists: Float[Tensor, "pair classes"], pairs: Pairs
) -> Float[Tensor, "case classes"]:
    """Minimize equation 5 where specialists also have a probability for every class (section 6.1).

    The sum of KL(p, q) over models is smallest where q is their arithmetic mean.
    """
    models = 1 + torch.bincount(pairs[0], minlength=len(generalist))
    return generalist.index_add(0, pairs[0], specialists) / models[:, None]


def objective(
    q: Float[Tensor, "case classes"],
    generalist: Float[Tensor, "case classes"],
    specialists: Float[Tensor, "pair outputs"],
    pairs: Pairs,
    subsets: Int[Tensor, "specialist size"],
) -> Float[Tensor, "case"]:
    """Return equation 5's value in nats: KL(p^g, q) + sum over active m of KL(p^m, q)."""
    image, model = pairs
    special = q[image].gather(1, subsets[model])
    dustbin = (q @ _outside(subsets, q).T)[image, model]
    terms = kl(specialists, torch.cat([special, dustbin[:, None]], dim=1))
    return kl(generalist, q).index_add(0, image, terms)


def kl(p: Float[Tensor, "*rows class"], q: Float[Tensor, "*rows class"]) -> Float[Tensor, "*rows"]:
    """Return KL(p, q) in nats of each row; a class with p = 0 contributes 0."""
    return (torch.xlogy(p, p) - torch.xlogy(p, q)).sum(-1)


def _outside(subsets: Int[Tensor, "specialist size"], like: Tensor) -> Float[Tensor, "specialist classes"]:
    """Return 1 for the classes of each specialist's dustbin, 0 for its special classes."""
    return like.new_ones(len(subsets), like.shape[-1]).scatter(1, subsets, 0)


class _Problem:
    """Terms of equation 5 for some images that do not depend on q."""

    def __init__(
        self,
        generalist: Float[Tensor, "case classes"],
        specialists: Float[Tensor, "pair outputs"],
        pairs: Pairs,
        subsets: Int[Tensor, "specialist size"],
    ):
        image, model = pairs
        self.generalist = generalist.clamp_min(FLOOR)
        self.outside = _outside(subsets, generalist)
        # 1 + |A| of each image.
        self.models = 1 + torch.bincount(image, minlength=len(generalist)).to(generalist.dtype)[:, None]
        # p^g + sum over m of p^m on S^m; and the dustbins' probabilities, 0 where a specialist is not active.
        self.known = self.generalist.index_put((image[:, None], subsets[model]), specialists[:, :-1], accumulate=True)
        self.dustbins = generalist.new_zeros(len(generalist), len(subsets))
        self.dustbins[image, model] = specialists[:, -1]

    def completed(self, q: Float[Tensor, "case classes"]) -> Float[Tensor, "case classes"]:
        """Return p^g + sum over active m of r^m: p^m on S^m, the dustbin spread over the others in proportion to q."""
        mass = (q @ self.outside.T).clamp_min(FLOOR)
        return self.known + q * ((self.dustbins / mass) @ self.outside)


def _in_blocks(
    solve: Callable[[_Problem], Tensor],
    generalist: Float[Tensor, "case classes"],
    specialists: Float[Tensor, "pair outputs"],
    pairs: Pairs,
    subsets: Int[Tensor, "specialist size"],
) -> Float[Tensor, "case classes"]:
    """Solve a block of images at a time; images without an active specialist keep the generalist's probabilities.

    Images are sorted by their number of active specialists, as equal numbers need about equally many steps.
    """
    image, model = pairs
    active = torch.bincount(image, minlength=len(generalist))
    order = active.argsort(stable=True)
    place = torch.empty_like(order).scatter(0, order, torch.arange(len(order), device=order.device))[image]
    q, block = generalist.clone(), max(1, BLOCK // generalist.shape[-1])
    for start in range(int((active == 0).sum()), len(order), block):
        cases = order[start : start + block]
        inside = (place >= start) & (place < start + block)
        q[cases] = solve(
            _Problem(generalist[cases], specialists[inside], (place[inside] - start, model[inside]), subsets)
        )
    return q
