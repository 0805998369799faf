"""Section 5.4: generalist and specialists put together, equation 5.

For an image, let p^g be the generalist's probabilities and A the active specialists, those whose special
classes S^m meet the generalist's n most probable ones. Equation 5 asks for the q over all classes that
minimises

    KL(p^g, q) + sum over m in A of KL(p^m, q),

where p^m has one probability for each class of S^m and one for the dustbin, all other classes together;
for that term q is summed over the dustbin too.

Everything here treats all images at once. An image and a specialist active on it are a *pair*; ``pairs``
holds the number of the image and that of the specialist, and row i of ``specialists`` is what the
specialist of pair i says of the image: the classes of its subset in their order, the dustbin last.
"""

import math
from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor

Pairs = tuple[Int[Tensor, "pair"], Int[Tensor, "pair"]]

# The least probability of the generalist that q can start from: a class at 0 would stay there.
FLOOR = 1e-30
# Probabilities (images times classes) worked on at a time, so that they stay in the processor's cache.
BLOCK = 1 << 19


def dustbin_correction(special_share_in_training: float, special_share_in_truth: float) -> float:
    """What to add to a specialist's dustbin logit, in nats (section 5.2).

    A share h of its training cases is special, a share pi of the true ones. By Bayes' rule the classifier
    that is best in training says of an image x

        P(dustbin | x) / P(special class c | x) = (1 - h) P(x | dustbin) / (h P(c | special) P(x | c)),

    and the truth has 1 - pi and pi in the place of 1 - h and h. The second over the first is the proportion
    by which special cases are oversampled, (1 - pi) / pi * h / (1 - h); its log turns the one into the
    other. Special classes of 2% of the data, drawn for half of every batch, give log 49.

    Args:
        special_share_in_training: h, between 0 and 1, neither included.
        special_share_in_truth: pi, between 0 and 1, neither included.
    """
    h, pi = special_share_in_training, special_share_in_truth
    return math.log((1 - pi) / pi * h / (1 - h))


def active_pairs(generalist: Float[Tensor, "case classes"], subsets: Int[Tensor, "specialist size"], n: int) -> Pairs:
    """All pairs of an image and a specialist that knows one of its ``n`` most probable classes.

    Args:
        generalist: probabilities or their logs; only their order matters.

    Returns:
        Images and specialists, sorted by image and then by specialist; none for an image that nobody knows.
    """
    top = generalist.topk(min(n, generalist.shape[-1]), dim=-1).indices
    special = ~_outside(subsets, generalist).bool()
    where, which = special.T[top].any(1).nonzero(as_tuple=True)
    return where, which


def combine_em(
    generalist: Float[Tensor, "case classes"],
    specialists: Float[Tensor, "pair outputs"],
    pairs: Pairs,
    subsets: Int[Tensor, "specialist size"],
    iterations: int = 1000,
    tolerance: float = 1e-6,
) -> Float[Tensor, "case classes"]:
    """Equation 5's minimum by expectation-maximisation, which has no step size.

    The dustbin is a class unseen: given q, its probability is spread over its classes in proportion to q
    (expectation), after which every model gives a probability for every class and the best q is their
    arithmetic mean (maximisation; see ``combine_full``). By the log-sum inequality no step raises the
    objective, and as that is convex in q, the fixed point is its minimum.

    Args:
        iterations: at most so many.
        tolerance: a block of images is finished when no probability changes by more in a step.

    Returns:
        q; for an image without an active specialist the generalist's probabilities, bit for bit.
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
    """Equation 5's minimum the paper's way: q = softmax(z) at T = 1, gradient descent on z from log p^g.

    With r^m for p^m whose dustbin is spread over its classes in proportion to q, the gradient is

        dC / dz = (1 + |A|) q - (p^g + sum over m in A of r^m),

    so that it vanishes where a step of ``combine_em`` stands still. C curves upwards by (1 + |A|) / 2 at
    most, so a step of ``step_size`` / (1 + |A|) never raises it up to a step size of 4; 2, one over the
    bound, is surest to lower it. The paper names neither start, steps nor step size. Descent is slow where
    q is small: z of a class moves in proportion to its probability.

    Args:
        steps: at most so many.
        step_size: in units of 1 / (1 + number of active specialists).
        tolerance: a block of images is finished when no entry of the gradient is larger than 1 + |A| times
            this, which is when a step of ``combine_em`` would change no probability by more.

    Returns:
        q, as ``combine_em`` does.
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
    """Equation 5's minimum where specialists too give a probability for every class (section 6.1).

    The sum of KL(p, q) over models is least where q is their arithmetic mean.
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
    """Equation 5's value in nats: KL(p^g, q) + sum over active m of KL(p^m, q)."""
    where, which = pairs
    special = q[where].gather(1, subsets[which])
    dustbin = (q @ _outside(subsets, q).T)[where, which]
    terms = kl(specialists, torch.cat([special, dustbin[:, None]], dim=1))
    return kl(generalist, q).index_add(0, where, terms)


def kl(p: Float[Tensor, "*rows class"], q: Float[Tensor, "*rows class"]) -> Float[Tensor, "*rows"]:
    """KL(p, q) in nats of each row; a class of p = 0 adds nothing."""
    return (torch.xlogy(p, p) - torch.xlogy(p, q)).sum(-1)


def _outside(subsets: Int[Tensor, "specialist size"], like: Tensor) -> Float[Tensor, "specialist classes"]:
    """1 for the classes of each specialist's dustbin, 0 for its special ones."""
    return like.new_ones(len(subsets), like.shape[-1]).scatter(1, subsets, 0)


class _Problem:
    """Equation 5 of some images: what stays the same from step to step."""

    def __init__(
        self,
        generalist: Float[Tensor, "case classes"],
        specialists: Float[Tensor, "pair outputs"],
        pairs: Pairs,
        subsets: Int[Tensor, "specialist size"],
    ):
        where, which = pairs
        self.generalist = generalist.clamp_min(FLOOR)
        self.outside = _outside(subsets, generalist)
        # 1 + |A| of each image.
        self.models = 1 + torch.bincount(where, minlength=len(generalist)).to(generalist.dtype)[:, None]
        # p^g + sum over m of p^m on S^m; and the dustbins' probabilities, 0 where a specialist is not active.
        self.known = self.generalist.index_put((where[:, None], subsets[which]), specialists[:, :-1], accumulate=True)
        self.dustbins = generalist.new_zeros(len(generalist), len(subsets))
        self.dustbins[where, which] = specialists[:, -1]

    def completed(self, q: Float[Tensor, "case classes"]) -> Float[Tensor, "case classes"]:
        """p^g + sum over active m of r^m: p^m on S^m, its dustbin spread over the others in proportion to q."""
        mass = (q @ self.outside.T).clamp_min(FLOOR)
        return self.known + q * ((self.dustbins / mass) @ self.outside)


def _in_blocks(
    solve: Callable[[_Problem], Tensor],
    generalist: Float[Tensor, "case classes"],
    specialists: Float[Tensor, "pair outputs"],
    pairs: Pairs,
    subsets: Int[Tensor, "specialist size"],
) -> Float[Tensor, "case classes"]:
    """Solve a block of images at a time; those without an active specialist are left as they are.

    Images with equally many active specialists need about equally many steps, so they come together.
    """
    where, which = pairs
    active = torch.bincount(where, minlength=len(generalist))
    order = active.argsort(stable=True)
    place = torch.empty_like(order).scatter(0, order, torch.arange(len(order), device=order.device))[where]
    q, each = generalist.clone(), max(1, BLOCK // generalist.shape[-1])
    for start in range(int((active == 0).sum()), len(order), each):
        cases = order[start : start + each]
        inside = (place >= start) & (place < start + each)
        q[cases] = solve(
            _Problem(generalist[cases], specialists[inside], (place[inside] - start, which[inside]), subsets)
        )
    return q
